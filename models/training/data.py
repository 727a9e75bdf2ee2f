"""Batches: scenes drawn on the fly, several questions about each."""

import os
import random
import resource

import numpy as np
import torch
from tokenizers import Tokenizer
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from annotations import REGIONAL, WEIGHTS, questions
from charts import chart
from curriculum import stage
from model import CATEGORIES, CELL_CHARACTERS, GRID, IMAGE_SIDE, IMAGE_TOKENS
from scenes import compose, draw
from shapes import COLORS
from signs import CHARACTERS, character_centers

_COLORS = list(COLORS)
# Sequence lengths are rounded up to a multiple of this, so that fewer shapes occur.
LENGTH_STEP = 8
# A batch's questions are sorted by the length of their answers and cut into parts: answers have 4 to 110 tokens, and padding
# all to the longest would treble the decoder's work.
PARTS = 4


def scene_pixels(scene, backdrop=None):
    """Pixels [3, 192, 192], u8, of a scene, at the model's input size."""
    image = draw(scene, (IMAGE_SIDE, IMAGE_SIDE), backdrop)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def cells(scene):
    """The contents of each cell of the grid of image tokens, for `model.CellHead`: the thing whose box has its middle there
    (category −1 if none), and the characters, from left to right."""
    category = torch.full((GRID * GRID,), -1)
    color = torch.zeros(GRID * GRID, dtype=torch.long)
    box = torch.zeros(GRID * GRID, 4)
    characters = torch.zeros(GRID * GRID, CELL_CHARACTERS, dtype=torch.long)
    standing = {}
    for thing in scene.layers:
        cell = _cell((thing.box[0] + thing.box[2]) / 2, (thing.box[1] + thing.box[3]) / 2)
        category[cell] = CATEGORIES.index(thing.category)
        color[cell] = _COLORS.index(thing.color)
        box[cell] = torch.tensor(thing.box)
        if thing.text is None:
            continue
        (ox, oy), (ax, ay), _, (bx, by) = thing.text_quad
        for character, along in zip(thing.text, character_centers(thing.text, thing.font)):
            x, y = ox + along * (ax - ox) + (bx - ox) / 2, oy + along * (ay - oy) + (by - oy) / 2
            standing.setdefault(_cell(x, y), []).append((x, CHARACTERS.index(character) + 1))
    for cell, found in standing.items():
        for slot, (_, character) in enumerate(sorted(found)[:CELL_CHARACTERS]):
            characters[cell, slot] = character
    return {"category": category, "color": color, "box": box, "characters": characters}


def _cell(x, y):
    return min(GRID - 1, int(y * GRID)) * GRID + min(GRID - 1, int(x * GRID))


def _padded(rows, value):
    length = -(-max(map(len, rows)) // LENGTH_STEP) * LENGTH_STEP
    return torch.tensor([row + [value] * (length - len(row)) for row in rows])


def encode_prompts(tokenizer, prompts):
    """`input_ids` and `attention_mask` of prompts: image tokens, `<s>`, sentence, `</s>`, padding."""
    image = [tokenizer.token_to_id("<image>")] * IMAGE_TOKENS
    rows = [image + encoding.ids for encoding in tokenizer.encode_batch(prompts)]
    ids = _padded(rows, 1)
    return ids, (ids != 1).long()


class Scenes(IterableDataset):
    """An endless stream of (pixels, questions, cells), as hard as the curriculum says at `progress`."""

    def __init__(self, seed, prompts, progress):
        self.seed, self.prompts, self.progress = seed, prompts, progress

    def __iter__(self):
        worker = get_worker_info()
        stream = f"{self.seed}/{worker.id if worker else 0}"
        rng = random.Random(stream)
        index = 0
        while True:
            now = stage(self.progress.value)
            is_chart = rng.random() < now.charts
            scene, backdrop = (chart if is_chart else compose)(f"{stream}/{index}", now)
            asked = questions(rng, scene, self.prompts, now.reading, REGIONAL if is_chart else WEIGHTS)
            yield scene_pixels(scene, backdrop), asked, cells(scene)
            index += 1


class Collate:
    """Makes a batch: pixels u8 [images, 3, 192, 192], cells, and parts of the questions, each with ids, mask and labels
    [questions, length], and `images`, the index of each question's image."""

    def __init__(self, tokenizer_file):
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        self.tokenizer_file = str(tokenizer_file)
        self.tokenizer = None

    def __call__(self, scenes):
        # Loaded in the worker, so that it need not be sent there.
        self.tokenizer = self.tokenizer or Tokenizer.from_file(self.tokenizer_file)
        asked = [(index, sample) for index, (_, samples, _) in enumerate(scenes) for sample in samples]
        answers = self.tokenizer.encode_batch([sample.answer for _, sample in asked])
        order = sorted(range(len(asked)), key=lambda index: len(answers[index].ids))
        size = -(-len(order) // PARTS)
        return {
            "pixels": torch.stack([pixels for pixels, _, _ in scenes]),
            "cells": {key: torch.stack([cell[key] for _, _, cell in scenes]) for key in scenes[0][2]},
            "parts": [self._part(asked, answers, order[start : start + size]) for start in range(0, len(order), size)],
        }

    def _part(self, asked, answers, chosen):
        ids, mask = encode_prompts(self.tokenizer, [asked[index][1].prompt for index in chosen])
        labels = _padded([answers[index].ids for index in chosen], -100)
        return {"ids": ids, "mask": mask, "labels": labels, "images": torch.tensor([asked[index][0] for index in chosen])}


def loader(seed, images, prompts, progress, tokenizer_file, workers, pin_memory):
    """An endless loader of batches of `images` scenes with `prompts` questions each."""
    # Each tensor on its way from a process holds a file open: with many processes more than the usual 1024.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return DataLoader(
        Scenes(seed, prompts, progress), batch_size=images, collate_fn=Collate(tokenizer_file), num_workers=workers,
        pin_memory=pin_memory, prefetch_factor=2 if workers else None,
    )
