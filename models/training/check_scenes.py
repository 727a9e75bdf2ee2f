"""Checks scenes and annotations mechanically: `python check_scenes.py [SCENES]`; fails at the first error.

The images themselves are measured: each thing is painted alone, and what was painted is compared with its annotation.
"""

import copy
import random
import re
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from tokenizers import Tokenizer

import signs
import tokenizer as tokenizer_builder
from annotations import WEIGHTS, ask
from charts import chart
from curriculum import CURRICULUM, FULL
from data import cells
from reading import clear_order, reading_order
from scenes import LEAST_VISIBLE, _paint, compose
from shapes import ROUND, rasterize

SIDE = 512
# Pixels of 512 by which a box may differ from what is seen: one of the layout grid's 256, and anti-aliasing.
TOLERANCE = 3.5


def painted(scene):
    """Which thing each pixel shows: index + 1 of `scene.layers`, or 0. Found by painting each thing in a colour of its own,
    without shading, border and text."""
    shown = np.zeros((SIDE, SIDE), np.uint8)
    for index, thing in enumerate(scene.layers, 1):
        plain = copy.copy(thing)
        plain.fill, plain.shade, plain.shadow, plain.border, plain.text = (255, 255, 255), (0.0, 0.0), None, 0.0, None
        canvas = Image.new("RGB", (SIDE, SIDE))
        _paint(canvas, plain, SIDE / 256)
        shown[np.asarray(canvas)[..., 0] > 127] = index
    return shown


def check_things(scene):
    """Boxes around what is seen, outlines over what was painted, order, visibility."""
    shown = painted(scene)
    for index, thing in enumerate(scene.layers, 1):
        rows, columns = np.nonzero(shown == index)
        seen = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], float)
        box = np.array(thing.box)
        assert (0 <= box).all() and (box <= 1).all() and (box[2:] - box[:2] > 0.02).all(), (thing, box)
        assert np.abs(box * SIDE - seen).max() <= TOLERANCE, (thing.description, box * SIDE, seen)
        whole = rasterize(thing.outline, (SIDE, SIDE), thing.hole)[0].solid().sum()
        assert len(rows) >= (LEAST_VISIBLE - 0.03) * whole, thing.description
        if thing.whole:
            outline = rasterize(thing.corners, (SIDE, SIDE))[0].solid().sum()
            hole = rasterize(thing.hole, (SIDE, SIDE))[0].solid().sum() if thing.hole else 0
            # A polygon of 16 corners is 2.6 % smaller than its circle.
            least = 0.96 if thing.category in ROUND else 0.98
            assert least <= outline / (len(rows) + hole) <= 1.03, (thing.description, outline, len(rows))
    assert [id(t) for t in scene.things] == [id(t) for t in reading_order(scene.layers)]
    assert clear_order([thing.box for thing in scene.things])


def check_text(scene):
    """The text's ink fills its quad and nothing beyond it; signs are not covered."""
    for thing in filter(lambda thing: thing.text, scene.things):
        assert thing.whole, thing.text
        mask = signs.rasterize_text(thing.text, thing.font, thing.text_quad, (SIDE, SIDE))
        solid = mask.solid()
        rows, columns = np.nonzero(solid)
        ink = [mask.left + columns.min(), mask.top + rows.min(), mask.left + columns.max() + 1, mask.top + rows.max() + 1]
        quad = np.array(thing.text_quad) * SIDE
        # Rotated, the quad's corners may stick out beyond round letters.
        slack = TOLERANCE + 0.1 * (quad[3, 1] - quad[0, 1]) + 0.8 * abs(quad[1, 1] - quad[0, 1])
        around = [*quad.min(0), *quad.max(0)]
        assert np.abs(np.array(around) - ink).max() <= slack, (thing.text, around, ink)


def check_chart(scene):
    """The signs lie within the image, apart from each other, and most letters have a cell of their own."""
    check_text(scene)
    for index, thing in enumerate(scene.layers):
        left, top, right, bottom = thing.box
        assert 0 <= left and 0 <= top and right <= 1 and bottom <= 1, thing.box
        for other in scene.layers[:index]:
            assert other.box[2] <= left or right <= other.box[0] or other.box[3] <= top or bottom <= other.box[1], thing.box
    placed = int((cells(scene)["characters"] > 0).sum())
    assert placed >= 0.9 * sum(len(thing.text) for thing in scene.layers), placed


def check_answers(rng, scene, tokenizer):
    """Answers survive the tokenizer, agree with their truth, and fit the model's length."""
    for task in WEIGHTS:
        sample = ask(rng, scene, task)
        if sample is None:
            continue
        for text in (sample.prompt, sample.answer):
            ids = tokenizer.encode(text).ids
            assert tokenizer.decode(ids, skip_special_tokens=False) == f"<s>{text}</s>", text
            assert tokenizer.token_to_id("<unk>") not in ids and len(ids) <= 128, text
        bins = [int(bin) / 1000 for bin in re.findall(r"<loc_(\d+)>", sample.answer)]
        truth = sample.truth
        if "text" in truth:
            assert re.sub(r"<loc_\d+>", "", sample.answer) == truth["text"]
            values = sample.region or []
        else:
            values = [
                value for instance in truth["instances"]
                for key in ("bbox", "quad", "polygons") if key in instance
                for value in (sum(instance[key], []) if key == "polygons" else instance[key])
            ]
        assert len(bins) == len(values), sample
        assert all(0 <= value - bin < 0.001 or abs(value - bin) < 0.0021 for value, bin in zip(values, bins)), sample


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    with tempfile.TemporaryDirectory() as folder:
        tokenizer_builder.write(folder)
        tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    rng = random.Random(0)
    things, occluded, texts = 0, 0, 0
    for index in range(count):
        scene, _ = compose(f"check/{index}", FULL)
        again, _ = compose(f"check/{index}", FULL)
        assert scene == again, "a seed must make the same scene again"
        check_things(scene)
        check_text(scene)
        check_answers(rng, scene, tokenizer)
        for stage in (stage for _, stage in CURRICULUM if stage.charts):
            check_chart(chart(f"check/{index}", stage)[0])
        assert (cells(scene)["category"] >= 0).any()
        things += len(scene.things)
        occluded += sum(not thing.whole for thing in scene.things)
        texts += sum(thing.text is not None for thing in scene.things)
    print(f"{count} scenes, {things} things, {occluded} of them partly hidden, {texts} texts: all right")


if __name__ == "__main__":
    main()
