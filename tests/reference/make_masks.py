"""Makes the masks that pycocotools rasterises from polygons: fixture of `tests/processing/masks.rs`."""

import json
import random
from pathlib import Path

import numpy as np
from pycocotools import mask

from pins import require

OUT = Path(__file__).parents[1] / "fixtures" / "postprocess" / "masks.json"


def located(rng, size, corners):
    """Corners at the centres of location bins in float32, as answers have them, in the digits of JSON."""
    bins = [rng.randrange(1000) for _ in range(2 * corners)]
    return [float(str(np.float32(np.float32(bin + 0.5) * np.float32(size[i % 2]) / np.float32(1000)))) for i, bin in enumerate(bins)]


def main():
    require("pycocotools", "numpy")
    rng = random.Random(22)
    cases = []
    for number in range(60):
        size = (rng.randrange(1, 90), rng.randrange(1, 70))
        polygons = [located(rng, size, rng.randrange(3, 12)) for _ in range(1 + number % 3)]
        cases.append((size, polygons))
    cases += [
        ((10, 8), [[0, 0, 10, 0, 10, 8, 0, 8]]),  # whole
        ((10, 8), [[2, 2, 2, 2, 7, 2, 7, 6, 7, 6, 2, 6]]),  # corners twice
        ((10, 8), [[1, 1, 9, 7, 1, 1]]),  # no area
        ((10, 8), [[-4, -3, 15.5, -3, 15.5, 4, -4, 4]]),  # beyond the edges
        ((10, 8), [[1, 1, 9, 7, 9, 1, 1, 7]]),  # crosses itself
        ((10, 8), [[0, 0, 5, 0, 5, 8, 0, 8], [5, 0, 10, 0, 10, 8, 5, 8]]),  # halves
        ((10, 8), [[1, 1, 4, 1, 4, 4, 1, 4], [2, 2, 3, 2, 3, 3, 2, 3]]),  # one in the other
        ((1, 1), [[0, 0, 1, 0, 1, 1]]),
        ((640, 480), [located(rng, (640, 480), 40)]),
    ]
    records = []
    for (width, height), polygons in cases:
        found = mask.merge(mask.frPyObjects(polygons, height, width))
        record = {"width": width, "height": height, "polygons": polygons, "counts": found["counts"].decode()}
        records.append(record | {"area": int(mask.area(found))})
    OUT.write_text("[\n" + ",\n".join(json.dumps(record) for record in records) + "\n]\n")


if __name__ == "__main__":
    main()
