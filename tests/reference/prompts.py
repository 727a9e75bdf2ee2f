"""Every task with its input, and free prompts."""

import json
from dataclasses import dataclass

import torch

from tasks import PROMPTS_WITH_INPUT, PROMPTS_WITHOUT_INPUT

FREE = ["What is in this picture?", "<GENERATE_TAGS>", "Où est l'étoile bleue ? 星はどこ？ 🎯"]


@dataclass
class Prompt:
    """One question to the model."""

    # The task's tag; none for a free prompt.
    task: str | None
    # The text that follows the tag, or the free prompt.
    input: str
    # The box in pixels that `input` writes as location tokens, for the tasks that take one.
    region: list[float] | None = None

    @property
    def text(self):
        """The text for transformers' processor."""
        return (self.task or "") + self.input


def any_inputs(size):
    """Inputs of the tasks that need one, for any image of `size`."""

    def box(*fractions):
        return [round(fraction * side, 3) for fraction, side in zip(fractions, size * 2)]

    return {
        "<CAPTION_TO_PHRASE_GROUNDING>": "A red circle, a blue star and a sign.",
        "<REFERRING_EXPRESSION_SEGMENTATION>": "the red circle",
        "<OPEN_VOCABULARY_DETECTION>": "blue star",
        "<REGION_TO_SEGMENTATION>": box(0.1234, 0.2345, 0.6128, 0.7654),
        "<REGION_TO_CATEGORY>": box(0.3057, 0.1056, 0.9083, 0.4321),
        "<REGION_TO_DESCRIPTION>": box(0.0003, 0.0004, 0.9996, 0.9998),
        "<REGION_TO_OCR>": box(0.4321, 0.5432, 0.8765, 0.9876),
    }


def scene_inputs(annotation):
    """Inputs for a scene of the demo model, by its annotation."""
    scene = json.loads(annotation.read_text(encoding="utf-8"))
    shapes = [thing for thing in scene["objects"] if "text" not in thing]
    signs = [thing for thing in scene["objects"] if "text" in thing]

    def around(thing):
        """Shifts the annotated box, which may lie on the edges of bins."""
        return [round(value + shift, 2) for value, shift in zip(thing["bbox"], (-0.2, -0.2, 0.3, 0.3))]

    return {
        "<CAPTION_TO_PHRASE_GROUNDING>": scene["caption"],
        "<REFERRING_EXPRESSION_SEGMENTATION>": f"the {shapes[0]['description']}",
        "<OPEN_VOCABULARY_DETECTION>": shapes[1]["description"],
        "<REGION_TO_SEGMENTATION>": around(shapes[1]),
        "<REGION_TO_CATEGORY>": around(shapes[0]),
        "<REGION_TO_DESCRIPTION>": around(shapes[-1]),
        "<REGION_TO_OCR>": around((signs or shapes)[0]),
    }


def all_prompts(processor, size, inputs):
    """The 15 tasks with `inputs`, and the free prompts, for an image of `size` (width, height)."""
    prompts = [Prompt(task, "") for task in PROMPTS_WITHOUT_INPUT]
    for task in PROMPTS_WITH_INPUT:
        given = inputs[task]
        prompts.append(Prompt(task, given) if isinstance(given, str) else
                       Prompt(task, locations(processor, given, size), given))
    return prompts + [Prompt(None, text) for text in FREE]


def locations(processor, box, size):
    """A box in pixels as four location tokens."""
    for value, side in zip(box, size * 2):
        assert 0.001 < value * 1000 / side % 1 < 0.999, f"{value} of {side} pixels lies on the edge of a bin"
    bins = processor.post_processor.quantize(torch.tensor([box], dtype=torch.float64), size)[0].tolist()
    return "".join(f"<loc_{index}>" for index in bins)
