"""Charts: images full of small signs, from which a model learns letters.

A scene has a sign or two, a chart has about ten: each image teaches several times as many letters. Only single regions of
it are asked about, since nobody could say in which order its signs stand.
"""

import random

from backgrounds import background
from scenes import ASPECTS, LAYOUT, Scene, sign, sign_tilt, text_and_board
from shapes import Frame, bounds

ROWS = (3, 4)
# The minimum number of signs; fewer would not give enough questions.
LEAST_SIGNS = 4
# Share of a row's height that its boards take.
FILL = (0.65, 0.9)


def chart(seed, stage):
    """The chart of a seed (a string) and its background, as `scenes.compose` gives them."""
    seed = f"{seed}/chart"
    rng = random.Random(seed)
    scene = Scene(rng.choice(ASPECTS), [], [], stage.clutter, stage.wear, seed)
    while len(scene.layers) < LEAST_SIGNS:
        scene.layers = _rows(rng, stage, scene.aspect)
    scene.things = scene.layers
    return scene, background(scene.random("background"), LAYOUT, scene.clutter)


def _rows(rng, stage, aspect):
    """Fills rows with signs."""
    boards, rows = [], rng.randint(*ROWS)
    for row in range(rows):
        left = rng.uniform(0.01, 0.1)
        while (board := _board(rng, stage, aspect, left, (row + 0.5) / rows, rng.uniform(*FILL) / rows)).box[2] <= 0.99:
            boards.append(board)
            left = board.box[2] + rng.uniform(0.01, 0.06)
    return boards


def _board(rng, stage, aspect, left, middle, height):
    """A sign of some height, right of `left`."""
    text, font, half = text_and_board(rng, stage)
    tilt = sign_tilt(rng)
    # Of letters of height 1.
    _, _, reach_x, reach_y = bounds(Frame(0, 0, 1, tilt, aspect).place([(-half[0], half[1]), half, (half[0], -half[1])]))
    letters = height / (2 * reach_y)
    thing = sign(rng, text, font, half, Frame(left + letters * reach_x, middle, letters, tilt, aspect))
    thing.box = bounds(thing.outline)
    return thing
