"""Initialises a model with the weights of a checkpoint that may have another tokenizer and image size."""

import json
import math
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import Florence2ForConditionalGeneration

from model import GRID

# Weights with a row, or a value, for each token.
TOKEN_ROWS = (
    "model.language_model.shared.weight", "model.language_model.encoder.embed_tokens.weight",
    "model.language_model.decoder.embed_tokens.weight", "lm_head.weight",
)
# Positions in the encoder's input: the image tokens, then the prompt. BART's first position is row 2.
SEQUENCE_ROWS = "model.language_model.encoder.embed_positions.weight"
FIRST_POSITION = 2
# Positions of the image tokens' rows and columns.
GRID_ROWS = (
    "model.multi_modal_projector.image_position_embed.row_embeddings.weight",
    "model.multi_modal_projector.image_position_embed.column_embeddings.weight",
)


@torch.no_grad()
def warm_start(model, tokenizer, folder):
    """Copies the weights of the checkpoint in `folder` into `model`, whose `tokenizer` it is.

    Rows of tokens are found by the token's text; a new token starts as the mean of its old pieces. Positions of image
    tokens are interpolated, so that they mean the same location in an image, and those of prompts are moved to follow them.
    All else must have the same shape.
    """
    folder = Path(folder)
    start = Florence2ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).state_dict()
    rows = _rows(tokenizer, Tokenizer.from_file(str(folder / "tokenizer.json")))
    processor = json.loads((folder / "preprocessor_config.json").read_text())
    grid = math.isqrt(processor["image_seq_length"] - 1)
    weights = model.state_dict()
    for name, weight in weights.items():
        old = start[name]
        if name in TOKEN_ROWS:
            weight.copy_(torch.stack([old[row].mean(0) for row in rows]))
        elif name in GRID_ROWS:
            weight.copy_(old)
            weight[:GRID] = _resampled(old[:grid].T[None], GRID)[0].T
        elif name == SEQUENCE_ROWS:
            _place(weight, old, grid)
        elif weight.shape == old.shape:
            weight.copy_(old)
        else:
            raise ValueError(f"{name} is {list(old.shape)} in {folder}, and {list(weight.shape)} here: start without it")


def _rows(tokenizer, old):
    """For each token, the rows of the old tokenizer's tokens that stand for it."""
    known = old.get_vocab()
    rows = []
    for token in range(tokenizer.get_vocab_size()):
        name = tokenizer.id_to_token(token)
        pieces = [known[name]] if name in known else old.encode(tokenizer.decode([token]), add_special_tokens=False).ids
        rows.append(pieces)
    return rows


def _resampled(values, count):
    """Values at the middles of n cells along each of the last axes, at those of `count` cells."""
    mode = "linear" if values.ndim == 3 else "bilinear"
    return torch.nn.functional.interpolate(values, size=count, mode=mode, align_corners=False)


def _place(weight, old, grid):
    """Fills the positions of a sequence from those of one whose images have `grid` × `grid` tokens and their mean."""
    width = old.shape[1]
    first, image, prompt = FIRST_POSITION, FIRST_POSITION + 1, FIRST_POSITION + 1 + grid * grid
    table = _resampled(old[image:prompt].T.reshape(1, width, grid, grid), GRID).reshape(width, -1).T
    table = torch.cat([old[: first + 1], table, old[prompt:]])
    reach = min(len(table), len(weight))
    weight[:reach] = table[:reach]
