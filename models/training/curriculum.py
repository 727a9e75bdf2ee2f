"""How hard scenes are, and how that grows during training."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """Bounds within which scenes are drawn. Lengths are fractions of the square root of the picture's area."""

    # Most things in a scene, and the chance that one may lie over others.
    things: int
    overlap: float
    # Chance of small shapes (radius below `scenes.SMALL`).
    small: float
    # Least height of letters, and most letters of a sign.
    letter_height: float
    letters: int
    # Chance that a scene has a sign at all, and that it has a second one.
    sign: float
    second_sign: float
    # Busyness of backgrounds; blur, noise and JPEG artefacts: 0 to 1.
    clutter: float
    wear: float


# What the finished model is trained on and measured with.
FULL = Stage(
    things=5, overlap=0.5, small=0.5, letter_height=0.048, letters=8, sign=0.7, second_sign=0.25, clutter=1.0, wear=1.0
)

# Shares of the training at which a stage begins. The first must stay easy until the model looks at the picture at all:
# without it, training sits for long on a plateau of plausible answers.
CURRICULUM = (
    (0.00, Stage(1, 0.0, 0.0, 0.14, 2, 0.40, 0.0, 0.2, 0.2)),
    (0.06, Stage(2, 0.0, 0.2, 0.11, 3, 0.60, 0.0, 0.4, 0.4)),
    (0.14, Stage(3, 0.2, 0.3, 0.08, 4, 0.75, 0.1, 0.7, 0.7)),
    (0.24, Stage(4, 0.4, 0.4, 0.06, 6, 0.80, 0.2, 1.0, 1.0)),
    (0.36, FULL),
)
FULL_BEGINS = CURRICULUM[-1][0]


def stage(progress):
    """The stage at `progress` (0 to 1) of the training."""
    return [stage for begin, stage in CURRICULUM if begin <= progress][-1]
