"""Every task, and prompts that are none, with their inputs."""

from dataclasses import dataclass

import torch

from tasks import PROMPTS_WITH_INPUT, PROMPTS_WITHOUT_INPUT

TEXTS = {
    "<CAPTION_TO_PHRASE_GROUNDING>": "A red circle, a blue star and a sign.",
    "<REFERRING_EXPRESSION_SEGMENTATION>": "the red circle",
    "<OPEN_VOCABULARY_DETECTION>": "blue star",
}
# Fractions of width and height, at least 0.02 bins off an edge at the sizes in use.
REGIONS = {
    "<REGION_TO_SEGMENTATION>": (0.1234, 0.2345, 0.6128, 0.7654),
    "<REGION_TO_CATEGORY>": (0.3057, 0.1056, 0.9083, 0.4321),
    "<REGION_TO_DESCRIPTION>": (0.0003, 0.0004, 0.9996, 0.9998),
    "<REGION_TO_OCR>": (0.4321, 0.5432, 0.8765, 0.9876),
}
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
        """What transformers' processor gets."""
        return (self.task or "") + self.input


def all_prompts(processor, size, regions=REGIONS):
    """The 15 tasks and the free prompts, for an image of `size` (width, height)."""
    prompts = [Prompt(task, "") for task in PROMPTS_WITHOUT_INPUT]
    for task in PROMPTS_WITH_INPUT:
        if task in TEXTS:
            prompts.append(Prompt(task, TEXTS[task]))
        else:
            box = [round(fraction * side, 3) for fraction, side in zip(regions[task], size * 2)]
            bins = processor.post_processor.quantize(torch.tensor([box], dtype=torch.float64), size)[0].tolist()
            prompts.append(Prompt(task, "".join(f"<loc_{index}>" for index in bins), box))
    return prompts + [Prompt(None, text) for text in FREE]
