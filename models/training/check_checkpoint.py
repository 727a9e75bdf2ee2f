"""Checks that transformers runs a checkpoint as any other Florence-2: `python check_checkpoint.py CHECKPOINT`.

The processor must give the trainer's inputs for a scene and a task, and the loaded model must answer.
"""

import random
import sys

import torch
from transformers import AutoProcessor, Florence2ForConditionalGeneration

from annotations import WEIGHTS, ask, locations
from curriculum import FULL
from data import encode_prompts, scene_pixels
from model import IMAGE_SIDE, normalization
from scenes import compose, draw


def main():
    processor = AutoProcessor.from_pretrained(sys.argv[1])
    model = Florence2ForConditionalGeneration.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
    scene, backdrop = compose("check/0", FULL)
    image = draw(scene, (IMAGE_SIDE, IMAGE_SIDE), backdrop)
    mean, std = normalization()
    pixels = (scene_pixels(scene, backdrop).float() - mean) / std
    for task in WEIGHTS:
        sample = ask(random.Random(task), scene, task)
        if sample is None:
            continue
        given = locations(sample.region) if sample.region else sample.input or ""
        inputs = processor(images=image, text=task + given, return_tensors="pt")
        ids, _ = encode_prompts(processor.tokenizer.backend_tokenizer, [sample.prompt])
        mine = ids[0][: inputs["input_ids"].shape[1]]
        assert torch.equal(inputs["input_ids"][0], mine) and (ids[0][len(mine) :] == 1).all(), task
        assert (inputs["pixel_values"][0] - pixels).abs().max() < 1e-5
        generated = model.generate(**inputs, max_new_tokens=64)
        text = processor.batch_decode(generated, skip_special_tokens=False)[0]
        answer = processor.post_process_generation(text, task=task, image_size=image.size)
        print(task, "|", str(answer[task])[:100])


if __name__ == "__main__":
    main()
