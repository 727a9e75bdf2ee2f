"""The difficulty of scenes, and its growth during training."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """Bounds within which scenes are drawn. Lengths are fractions of the square root of the image's area."""

    # Most things in a scene, and the chance that one may lie over others.
    things: int
    overlap: float
    # Chance of small shapes (radius below `scenes.SMALL`).
    small: float
    # Least height of letters, and most letters of a sign.
    letter_height: float
    letters: int
    # Chance that a scene has a sign at all, and that of each further one.
    sign: float
    more_signs: float
    # Share of signs that show a word of the list, rather than letters and digits by chance.
    words: float
    # Busyness of backgrounds; blur, noise and JPEG artefacts: 0 to 1.
    clutter: float
    wear: float
    # Share of images that are charts (`charts.py`).
    charts: float
    # How much more often (or less) than `annotations.WEIGHTS` says the text of signs is asked for.
    reading: float


# The final difficulty, also that of evaluation sets: as hard as five million parameters can learn. Words are read by
# then; lists of everything take the longest.
FULL = Stage(
    things=4, overlap=0.3, small=0.5, letter_height=0.13, letters=6, sign=0.75, more_signs=0.1, words=0.85, clutter=0.8,
    wear=0.5, charts=0.0, reading=0.6,
)

# Shares of the training at which a stage begins. The first must stay easy until the answers depend on the image:
# without it, training sits for long on a plateau of plausible answers. Reading is learnt from charts of signs, each
# with a random letter or two: what is in a region is a question that the model answers early, and a word can be guessed.
CURRICULUM = (
    (0.00, Stage(1, 0.0, 0.0, 0.16, 2, 0.5, 0.0, 0.0, 0.2, 0.2, 0.0, 1.0)),
    (0.06, Stage(2, 0.0, 0.2, 0.16, 2, 0.8, 0.4, 0.0, 0.4, 0.2, 0.3, 2.0)),
    (0.14, Stage(3, 0.0, 0.4, 0.15, 2, 0.9, 0.4, 0.0, 0.4, 0.2, 0.7, 2.0)),
    (0.50, Stage(4, 0.2, 0.4, 0.13, 4, 0.9, 0.2, 0.5, 0.6, 0.4, 0.2, 2.0)),
    (0.60, FULL),
)
# The start of a training from a checkpoint that detects objects but reads badly.
WARM_BEGINS = CURRICULUM[2][0]


def stage(progress):
    """The stage at `progress` (0 to 1) of the training."""
    return [stage for begin, stage in CURRICULUM if begin <= progress][-1]
