"""Writes a held-out evaluation set in the form of `docs/evaluation.md`: `python dataset.py FOLDER [--scenes 500]`.

The scenes are drawn from seeds that training never uses, at the full difficulty, in several sizes and formats; each is asked
one question of every task that it gives one for.
"""

import argparse
import json
import math
import random
from pathlib import Path

from annotations import WEIGHTS, ask
from curriculum import FULL
from scenes import compose, draw

# Square roots of the areas, in pixels.
SIDES = (256, 320, 384, 448, 512)
PNG_SHARE = 0.25
JPEG_QUALITY = 92


def pixels(values, size):
    """Coordinates x, y, x, y, ... of the unit square, in pixels."""
    return [round(value * size[index % 2], 2) for index, value in enumerate(values)]


def _truth(truth, size):
    """A truth with its coordinates in pixels."""
    if "text" in truth:
        return truth

    def instance(values):
        scaled = dict(values)
        for key in values.keys() & {"bbox", "quad"}:
            scaled[key] = pixels(values[key], size)
        if "polygons" in values:
            scaled["polygons"] = [pixels(polygon, size) for polygon in values["polygons"]]
        return scaled

    return {"instances": [instance(values) for values in truth["instances"]]}


def scene_of(seed):
    """The image of a seed, and its samples as `scenes.jsonl` holds them."""
    scene, _ = compose(seed, FULL)
    rng = scene.random("questions")
    side = rng.choice(SIDES)
    size = (round(side * math.sqrt(scene.aspect)), round(side / math.sqrt(scene.aspect)))
    samples = [
        {
            "task": sample.task,
            "input": sample.input,
            "region": sample.region and pixels(sample.region, size),
            "truth": _truth(sample.truth, size),
        }
        for sample in filter(None, (ask(rng, scene, task) for task in WEIGHTS))
    ]
    return draw(scene, size), samples


def write(folder, scenes, split):
    """Writes images and `scenes.jsonl`."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "scenes.jsonl", "w") as lines:
        for index in range(scenes):
            image, samples = scene_of(f"{split}/{index}")
            if random.Random(f"{split}/{index}/format").random() < PNG_SHARE:
                name = f"{index:04}.png"
                image.save(folder / name)
            else:
                name = f"{index:04}.jpg"
                image.save(folder / name, quality=JPEG_QUALITY)
            entry = {"image": name, "width": image.width, "height": image.height, "samples": samples}
            lines.write(json.dumps(entry) + "\n")


def main():
    parser = argparse.ArgumentParser(description="Writes a held-out evaluation set.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scenes", type=int, default=500)
    parser.add_argument("--split", default="evaluation", help="first part of the seeds; training's is `train`")
    options = parser.parse_args()
    if options.split == "train":
        parser.error("the seeds of `train` are those of the training")
    write(options.folder, options.scenes, options.split)


if __name__ == "__main__":
    main()
