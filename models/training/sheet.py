"""Draws a sheet of scenes with their annotations: `python sheet.py sheet.png [SEED]`."""

import sys

from PIL import Image, ImageDraw

from curriculum import CURRICULUM, FULL
from scenes import compose, draw
from signs import face

COLUMNS, ROWS, SIDE = 5, 3, 320


def annotated(seed, stage):
    """A scene with boxes, outlines and text quads over it."""
    scene, _ = compose(seed, stage)
    size = (SIDE, round(SIDE / scene.aspect)) if scene.aspect >= 1 else (round(SIDE * scene.aspect), SIDE)
    image = draw(scene, size)
    pen = ImageDraw.Draw(image)

    def pixels(points):
        return [(x * size[0], y * size[1]) for x, y in points]

    for index, thing in enumerate(scene.things, 1):
        x1, y1, x2, y2 = thing.box
        pen.rectangle(pixels([(x1, y1), (x2, y2)]), outline="lime")
        if thing.whole:
            pen.polygon(pixels(thing.corners), outline="magenta")
        if thing.text:
            pen.polygon(pixels(thing.text_quad), outline="cyan")
        label = f"{index} {thing.description}" + (f" {thing.text}" if thing.text else "")
        font = face("DejaVuSans-Bold.ttf", 10)
        pen.text(pixels([(x1, y1)])[0], label, fill="lime", font=font, stroke_width=1, stroke_fill="black")
    return image


def main():
    file, seed = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "sheet"
    stages = [stage for _, stage in CURRICULUM[:-1]] if seed == "curriculum" else [FULL]
    sheet = Image.new("RGB", (COLUMNS * SIDE, ROWS * SIDE))
    for index in range(COLUMNS * ROWS):
        stage = stages[index * len(stages) // (COLUMNS * ROWS)]
        sheet.paste(annotated(f"{seed}/{index}", stage), (index % COLUMNS * SIDE, index // COLUMNS * SIDE))
    sheet.save(file)


if __name__ == "__main__":
    main()
