"""Quick scores during training, by transformers' `generate`; `florence2 eval` gives the final ones."""

import functools
import random
import re

import torch
from PIL import Image, ImageDraw

from annotations import ask
from curriculum import FULL
from data import encode_prompts, scene_pixels
from model import normalization
from scenes import compose

TASKS = (
    "<OD>", "<CAPTION>", "<OCR>", "<REGION_TO_OCR>", "<REGION_TO_CATEGORY>", "<CAPTION_TO_PHRASE_GROUNDING>",
    "<OPEN_VOCABULARY_DETECTION>", "<REFERRING_EXPRESSION_SEGMENTATION>",
)
MOST_TOKENS = 128
BATCH = 128


@functools.lru_cache(maxsize=2 * len(TASKS))
def held_out(task, count, stage=FULL):
    """`count` scenes that training never draws, each with a question."""
    found, index = [], 0
    while len(found) < count:
        scene, backdrop = compose(f"held-out/{index}", stage)
        sample = ask(random.Random(f"held-out/{index}/{task}"), scene, task)
        if sample:
            found.append((scene_pixels(scene, backdrop), sample))
        index += 1
    return found


@torch.inference_mode()
def answers(model, tokenizer, questions, beams):
    """The model's answers to (pixels, sample), without special tokens except locations."""
    device = next(model.parameters()).device
    mean, std = normalization()
    texts = []
    for start in range(0, len(questions), BATCH):
        batch = questions[start : start + BATCH]
        ids, mask = encode_prompts(tokenizer, [sample.prompt for _, sample in batch])
        pixels = (torch.stack([pixels for pixels, _ in batch]).float() - mean) / std
        generated = model.generate(
            input_ids=ids.to(device), attention_mask=mask.to(device), pixel_values=pixels.to(device),
            max_new_tokens=MOST_TOKENS, num_beams=beams, do_sample=False,
        )
        for row in generated.tolist():
            texts.append(re.sub("<s>|</s>|<pad>", "", tokenizer.decode(row, skip_special_tokens=False)).strip())
    return texts


def _bins(text):
    return [(int(bin) + 0.5) / 1000 for bin in re.findall(r"<loc_(\d+)>", text)]


def _instances(text):
    """(label, box) of an answer of labels, each followed by boxes."""
    found = []
    for label, run in re.findall(r"([^<]+)((?:<loc_\d+>)+)", text):
        values = _bins(run)
        found += [(label.strip(), values[i : i + 4]) for i in range(0, len(values) - 3, 4)]
    return found


def _iou(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0, width) * max(0, height)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union > 0 else 0.0


def _detection(texts, samples):
    """F1 at IoU 0.5 and mean IoU of the boxes found."""
    right, wrong, missed, overlaps = 0, 0, 0, []
    for text, sample in zip(texts, samples):
        truth = [(instance["label"], instance["bbox"]) for instance in sample.truth["instances"]]
        for label, box in _instances(text):
            best = max((t for t in truth if t[0] == label), key=lambda t: _iou(box, t[1]), default=None)
            if best and _iou(box, best[1]) >= 0.5:
                truth.remove(best)
                overlaps.append(_iou(box, best[1]))
                right += 1
            else:
                wrong += 1
        missed += len(truth)
    f1 = 2 * right / max(1, 2 * right + wrong + missed)
    return f1, sum(overlaps) / max(1, len(overlaps))


def _mask(values, side=256):
    image = Image.new("1", (side, side))
    if len(values) >= 6:
        points = [(x * side, y * side) for x, y in zip(values[::2], values[1::2])]
        ImageDraw.Draw(image).polygon(points, fill=1)
    return torch.frombuffer(bytearray(image.convert("L").tobytes()), dtype=torch.uint8) > 0


def _mask_iou(texts, samples):
    total = 0.0
    for text, sample in zip(texts, samples):
        found, truth = _mask(_bins(text)), _mask(sample.truth["instances"][0]["polygons"][0])
        total += float((found & truth).sum() / max(1, int((found | truth).sum())))
    return total / len(texts)


def _exact(texts, samples):
    answered = [re.sub(r"<loc_\d+>", "", text).strip() for text in texts]
    return sum(text == sample.truth["text"] for text, sample in zip(answered, samples)) / len(texts)


def evaluate(model, tokenizer, count, beams=1, stage=FULL):
    """Scores on `count` held-out questions of each task, by name."""
    scores = {}
    model.eval()
    for task in TASKS:
        questions = held_out(task, count, stage)
        texts, samples = answers(model, tokenizer, questions, beams), [sample for _, sample in questions]
        name = task.strip("<>").lower()
        if "instances" not in samples[0].truth:
            scores[f"{name} exact"] = _exact(texts, samples)
        elif "polygons" in samples[0].truth["instances"][0]:
            scores[f"{name} mask IoU"] = _mask_iou(texts, samples)
        else:
            scores[f"{name} F1"], scores[f"{name} IoU"] = _detection(texts, samples)
    model.train()
    return scores
