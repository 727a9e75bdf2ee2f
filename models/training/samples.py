"""Writes the demo model's sample scenes, each with its truth: `python samples.py ../demo/scenes`."""

import argparse
import json
import math
from pathlib import Path

from annotations import caption
from curriculum import FULL
from dataset import JPEG_QUALITY, pixels
from scenes import compose, draw

# Square root of an image's area, in pixels.
SIDE = 480
# The files, and the seeds of their scenes: of the split `samples`, which nothing else uses.
SCENES = {
    "hotel.jpg": "samples/46", "zoo.png": "samples/4", "car.png": "samples/72", "open.png": "samples/40",
    "ring.png": "samples/36",
}


def truth(scene, file, size):
    """The annotation of a scene, in pixels of an image of this size."""

    def thing_in_pixels(thing):
        found = {"label": thing.category, "description": thing.description, "bbox": pixels(thing.box, size)}
        if thing.whole:
            found["polygon"] = pixels([value for point in thing.corners for value in point], size)
        if thing.text is not None:
            found |= {"text": thing.text, "text_quad": pixels([value for point in thing.text_quad for value in point], size)}
        return found

    return {
        "image": file, "width": size[0], "height": size[1], "caption": caption(scene.things),
        "objects": [thing_in_pixels(thing) for thing in scene.things],
    }


def write(folder, file, seed):
    """Writes an image and its truth."""
    scene, _ = compose(seed, FULL)
    size = (round(SIDE * math.sqrt(scene.aspect)), round(SIDE / math.sqrt(scene.aspect)))
    path = folder / file
    draw(scene, size).save(path, **({"quality": JPEG_QUALITY} if path.suffix == ".jpg" else {"optimize": True}))
    lines = json.dumps(truth(scene, file, size), indent=1)
    path.with_suffix(".json").write_text(lines + "\n")


def main():
    parser = argparse.ArgumentParser(description="Writes the demo model's sample scenes.")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for file, seed in SCENES.items():
        write(options.folder, file, seed)


if __name__ == "__main__":
    main()
