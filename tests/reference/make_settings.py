"""Answers of `base-like` under other generation settings, in groups whose members answer differently."""

from PIL import Image

from common import GOLDEN, IMAGES, ROOT, load, versions, write_json
from generation import BEAMS, GREEDY, generate
from prompts import all_prompts, any_inputs

IMAGE = IMAGES / "shapes-320x200.png"


def vary(name, values, **common):
    """Variants of one setting."""
    return [{name: value} | common for value in values]


UNFORCED = {"forced_bos_token_id": None, "forced_eos_token_id": None}
FOUR = {"num_beams": 4, "num_return_sequences": 4}
# Group: the search it varies, the task it is about, its variants, how many different answers they give.
GROUPS = {
    "length_penalty": (BEAMS, "<REGION_TO_SEGMENTATION>", vary("length_penalty", [0.2, 1.0, 2.0, -1.0]), 3),
    "length_penalty, exhaustive search": (
        BEAMS, "<DETAILED_CAPTION>", vary("length_penalty", [0.2, 1.0, 2.0, -1.0], early_stopping="never"), 2),
    "early_stopping": (
        BEAMS, "<DETAILED_CAPTION>", vary("early_stopping", [False, True, "never"], length_penalty=2.0), 2),
    "early_stopping, all beams": (
        BEAMS, "<REGION_PROPOSAL>", vary("early_stopping", [False, True, "never"], length_penalty=1.3, **FOUR), 2),
    "no_repeat_ngram_size": (BEAMS, "<REGION_TO_DESCRIPTION>", vary("no_repeat_ngram_size", [0, 2, 3]), 3),
    "no_repeat_ngram_size, greedy": (GREEDY, "<REGION_TO_DESCRIPTION>", vary("no_repeat_ngram_size", [0, 2, 3]), 3),
    "repetition_penalty": (BEAMS, "<OCR>", vary("repetition_penalty", [1.0, 1.3]), 2),
    "repetition_penalty, greedy": (GREEDY, "<OCR>", vary("repetition_penalty", [1.0, 1.3]), 2),
    "min_new_tokens": (BEAMS, "<REGION_TO_SEGMENTATION>", vary("min_new_tokens", [0, 12]), 2),
    "min_new_tokens, greedy": (GREEDY, "<REGION_TO_SEGMENTATION>", vary("min_new_tokens", [0, 12]), 2),
    "max_new_tokens": (BEAMS, "<REGION_TO_OCR>", vary("max_new_tokens", [1, 2, 3]), 3),
    "max_new_tokens, greedy": (GREEDY, "<REGION_TO_OCR>", vary("max_new_tokens", [1, 2, 3]), 3),
    # Ends without `</s>`: truncated.
    "max_new_tokens, nothing forced": (BEAMS, "<OCR>", vary("max_new_tokens", [1, 2, 3, 8], **UNFORCED), 4),
    "max_new_tokens, nothing forced, greedy": (GREEDY, "<OCR>", vary("max_new_tokens", [1, 2, 3, 8], **UNFORCED), 4),
    "num_return_sequences": (
        BEAMS, "<REGION_TO_SEGMENTATION>", vary("num_return_sequences", [1, 3], num_beams=4), 2),
    "num_beams": (BEAMS, "<REGION_TO_OCR>", vary("num_beams", [2, 3, 5]), 3),
    # 1012 and 1327 are among the first tokens of the answer without them.
    "eos_token_id": (BEAMS, "<OCR>", vary("eos_token_id", [[2], [2, 1012], [2, 1327, 1012]], length_penalty=2.0), 2),
    "eos_token_id, greedy": (GREEDY, "<OCR>", vary("eos_token_id", [[2], [2, 1327], [2, 1327, 1012]]), 3),
}


def make():
    """Writes `settings.json`."""
    model, processor = load("base-like")
    image = Image.open(IMAGE).convert("RGB")
    prompts = {prompt.task: prompt for prompt in all_prompts(processor, image.size, any_inputs(image.size))}
    groups = []
    for name, (search, task, variants, different) in GROUPS.items():
        inputs = processor(text=prompts[task].text, images=image, return_tensors="pt")
        cases = []
        for variant in variants:
            settings = search | {"max_new_tokens": 24} | variant
            cases.append({"settings": settings, **generate(model, inputs, settings)})
        answers = {str(case["sequences"]) for case in cases}
        assert len(answers) >= different, f"{name}: {len(answers)} different answers, not {different}"
        groups.append({
            "name": name,
            "task": task,
            "input": prompts[task].input,
            "input_ids": inputs.input_ids[0, processor.num_image_tokens :].tolist(),
            "cases": cases,
        })
    write_json(GOLDEN / "base-like" / "settings.json", {
        "versions": versions(), "image": str(IMAGE.relative_to(ROOT)), "groups": groups,
    })


if __name__ == "__main__":
    make()
