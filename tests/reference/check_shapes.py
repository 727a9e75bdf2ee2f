"""Compares answers on images of many shapes with transformers, with both image backends: python check_shapes.py [options]

For each checkpoint it exports the graphs in fp32, makes images of random shapes (landscape, portrait, taller than the
target and hardly wider, at the limit where Pillow changes its order of passes, tiny, strips, as large as the target),
and asks the program and transformers three tasks with three beams, once with Pillow's arithmetic and once with
torchvision's. All tokens must be equal. Where transformers' tokens in float32 differ, those in float64 decide:
only rounding may have made the difference.

The images of the demo model are scenes of its trainer, those of other checkpoints noise on slopes. Needs ONNX Runtime as
the program does; takes minutes.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import AutoProcessor, Florence2ForConditionalGeneration

from check_real_size import cargo, remember_images
from common import ROOT, checkpoint_folder
from pins import require

sys.path.insert(0, str(ROOT / "models" / "training"))
from curriculum import FULL
from scenes import compose, draw

TASKS = {"<OD>": "od", "<CAPTION>": "caption", "<OCR_WITH_REGION>": "ocr-with-region"}
BACKENDS = ["pillow", "torchvision"]
MAX_NEW_TOKENS = {"demo": 120}
# The smallest side that scenes are drawn with; smaller ones are made of these.
LEAST_DRAWN = 64


def shapes(rng, target, count):
    """Widths and heights, of each kind in turn."""

    def between(least, most):
        return int(rng.integers(least, most + 1))

    def hardly_wider():
        width = between(target // 2, target * 9 // 8)
        return width, target + 2 * max(0, width - target) + between(1, target)

    def at_the_limit():
        width = between(target, target * 3 // 2)
        return width, target + 2 * (width - target) + between(-1, 1)

    def strip():
        return between(1, 5), between(target, 6 * target)

    kinds = [
        lambda: (between(target, 4 * target), between(target // 2, target * 3 // 2)),
        lambda: (between(target // 2, target * 3 // 2), between(target, 4 * target)),
        hardly_wider,
        lambda: hardly_wider()[::-1],
        at_the_limit,
        lambda: (between(1, 24), between(1, 24)),
        lambda: (between(3 * target, 6 * target), between(3 * target, 6 * target)),
        lambda: (target, between(1, 3 * target)),
        lambda: (between(1, 3 * target), target),
        strip,
        lambda: strip()[::-1],
        lambda: (target, target),
    ]
    return [kinds[index % len(kinds)]() for index in range(count)]


def slopes(rng, width, height):
    """Noise on slopes."""
    y, x = np.mgrid[0:height, 0:width][..., None] / max(width, height)
    slope = 128 + 90 * np.sin(rng.uniform(-9, 9, 3) * x + rng.uniform(-9, 9, 3) * y + rng.uniform(0, 6, 3))
    noise = rng.normal(0, rng.uniform(2, 60), (height, width, 3))
    return Image.fromarray((slope + noise).clip(0, 255).astype(np.uint8))


def scene(seed, width, height):
    """A scene of the demo model's trainer."""
    drawn = draw(compose(seed, FULL)[0], (max(width, LEAST_DRAWN), max(height, LEAST_DRAWN)))
    return drawn.resize((width, height)).convert("RGB")


def make_images(name, folder, target, count, seed):
    """Writes the images; returns their paths."""
    rng = np.random.Generator(np.random.PCG64(seed))
    paths = []
    for index, (width, height) in enumerate(shapes(rng, target, count)):
        image = scene(f"shapes/{seed}/{index}", width, height) if name == "demo" else slopes(rng, width, height)
        paths.append(folder / f"{index:04}-{width}x{height}.png")
        image.save(paths[-1])
    return paths


class Reference:
    """transformers' model and processors of a checkpoint."""

    def __init__(self, folder, max_new_tokens):
        self.settings = dict(num_beams=3, max_new_tokens=max_new_tokens)
        self.models = {}
        for dtype in (torch.float32, torch.float64):
            model = Florence2ForConditionalGeneration.from_pretrained(folder, dtype=dtype, attn_implementation="eager")
            remember_images(model.eval())
            self.models[dtype] = model
        self.processors = {
            "pillow": AutoProcessor.from_pretrained(folder, backend="pil"),
            # The default backend.
            "torchvision": AutoProcessor.from_pretrained(folder),
        }
        kinds = {name: type(processor.image_processor).__name__ for name, processor in self.processors.items()}
        assert kinds == {"pillow": "CLIPImageProcessorPil", "torchvision": "CLIPImageProcessor"}, kinds

    def target(self):
        """The side in pixels of the model's input."""
        return self.processors["pillow"].image_processor.size["height"]

    def inputs(self, backend, image, task):
        """The model's inputs."""
        return self.processors[backend](text=task, images=image, return_tensors="pt")

    def answer(self, inputs, dtype=torch.float32):
        """The tokens of the best beam, without the start token."""
        inputs = {**inputs, "pixel_values": inputs["pixel_values"].to(dtype)}
        return self.models[dtype].generate(**inputs, **self.settings)[0, 1:].tolist()


def our_answers(bundle, backend, paths, settings):
    """The program's tokens by file name and task."""
    lines = cargo(
        "florence2-cli", "--", "run", "--quiet", "--model", bundle, "--image-backend", backend,
        "--task", ",".join(TASKS.values()), "--num-beams", settings["num_beams"],
        "--max-new-tokens", settings["max_new_tokens"], "--format", "jsonl", *paths,
    ).splitlines()
    return {(Path(line["path"]).name, line["task"]): line["token_ids"] for line in map(json.loads, lines)}


def check(name, folder, count, seed):
    """Compares one checkpoint's answers; returns whether all are equal."""
    bundle, images = folder / "bundle", folder / "images"
    images.mkdir()
    cargo("florence2-cli", "--", "export", checkpoint_folder(name), "--out", bundle, "--force")
    reference = Reference(checkpoint_folder(name), MAX_NEW_TOKENS.get(name, 24))
    paths = make_images(name, images, reference.target(), count, seed)
    wrong, others, values, different_values, theirs = 0, 0, 0, 0, {}
    for backend in BACKENDS:
        ours = our_answers(bundle, backend, paths, reference.settings)
        equal, close, different = 0, 0, 0
        for path in paths:
            image = Image.open(path)
            for task in TASKS:
                inputs = reference.inputs(backend, image, task)
                key, found = (path.name, task), ours[path.name, task]
                theirs[backend, *key] = answer = reference.answer(inputs)
                if found == answer:
                    equal += 1
                elif found == (exact := reference.answer(inputs, torch.float64)):
                    close += 1
                    print(f"  {backend} {path.name} {task}: transformers' float64 answers as we do, its float32 does not")
                else:
                    different += 1
                    print(f"  {backend} {path.name} {task}\n    ours {found}\n    f32  {answer}\n    f64  {exact}")
        print(f"{name}, {backend}: {len(ours)} answers, {equal} equal, {close} equal to float64's only, "
              f"{different} different", flush=True)
        wrong += different
    for path in paths:
        image = Image.open(path)
        first, second = (reference.inputs(backend, image, "<OD>").pixel_values for backend in BACKENDS)
        values, different_values = values + first.numel(), different_values + ((first - second).abs() > 1e-3).sum().item()
        others += sum(theirs[BACKENDS[0], path.name, task] != theirs[BACKENDS[1], path.name, task] for task in TASKS)
    print(f"{name}: between the backends, {different_values / values:.2%} of the resized values and {others} of "
          f"{len(paths) * len(TASKS)} of transformers' answers differ")
    return not wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", nargs="*", default=["base-like", "large-like", "demo"])
    parser.add_argument("--images", type=int, default=48, help="how many, for each checkpoint [default: %(default)s]")
    parser.add_argument("--seed", type=int, default=1, help="of the shapes and images [default: %(default)s]")
    arguments = parser.parse_args()
    require("torchvision")
    passed = True
    for name in arguments.checkpoints:
        with tempfile.TemporaryDirectory() as folder:
            passed &= check(name, Path(folder), arguments.images, arguments.seed)
    sys.exit(0 if passed else "FAILED")


if __name__ == "__main__":
    main()
