"""The model: its configuration, its initial weights, and the auxiliary head of the training."""

import json
import math
import shutil
from pathlib import Path

import torch
from torch import nn
from transformers import BartConfig, Florence2Config, Florence2ForConditionalGeneration, Florence2VisionConfig, GenerationConfig

from annotations import BINS, PROCESSOR
from shapes import COLORS, SHAPES
from signs import CHARACTERS

# 36 tokens of 32×32 pixels and their mean make 37. A window of 12 spans the whole third grid (48, 24, 12, 6).
IMAGE_SIDE = 192
GRID = 6
IMAGE_TOKENS = GRID * GRID + 1
WIDTH = 128

VISION = dict(
    embed_dim=[32, 64, 128, 256], num_heads=[2, 4, 8, 16], num_groups=[2, 4, 8, 16], depths=[1, 1, 3, 1], window_size=12,
    projection_dim=WIDTH, drop_path_rate=0.0, max_position_embeddings=16, max_temporal_embeddings=4,
)
TEXT = dict(
    d_model=WIDTH, encoder_layers=3, decoder_layers=3, encoder_attention_heads=4, decoder_attention_heads=4,
    encoder_ffn_dim=4 * WIDTH, decoder_ffn_dim=4 * WIDTH, max_position_embeddings=256, activation_function="gelu",
    dropout=0.0, bos_token_id=0, pad_token_id=1, eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=2,
)
# Florence-2's settings, except for n-grams: its paragraphs repeat phrases, and blocking them would garble it.
GENERATION = dict(
    bos_token_id=0, pad_token_id=1, eos_token_id=2, decoder_start_token_id=2, forced_bos_token_id=0, forced_eos_token_id=2,
    num_beams=3, early_stopping=True, no_repeat_ngram_size=0,
)

# Classes of a grid cell: the shapes and "sign". Characters per cell, and their classes: none, and each character.
CATEGORIES = [*SHAPES, "sign"]
CELL_CHARACTERS = 5
CHARACTER_CLASSES = 1 + len(CHARACTERS)


def build(tokenizer, seed):
    """An untrained model for a tokenizer."""
    torch.manual_seed(seed)
    text = BartConfig(vocab_size=tokenizer.get_vocab_size(), **TEXT)
    vision = Florence2VisionConfig(**VISION)
    config = Florence2Config(
        text_config=text.to_dict(), vision_config=vision.to_dict(), image_token_id=tokenizer.token_to_id("<image>")
    )
    model = Florence2ForConditionalGeneration(config)
    model.generation_config = GenerationConfig(**GENERATION)
    _smooth_locations(model, tokenizer.token_to_id("<loc_0>"))
    return model


@torch.no_grad()
def _smooth_locations(model, first):
    """Initialises neighbouring location tokens similarly: sines and cosines of the coordinate, from half a wave to 32."""
    weight = model.get_input_embeddings().weight
    position = torch.linspace(0, 1, BINS)[:, None]
    phase = position * math.pi * 2 ** torch.linspace(0, 6, WIDTH // 2)[None]
    waves = torch.cat([phase.sin(), phase.cos()], 1)
    weight[first : first + BINS] = 0.018 * waves + 0.004 * torch.randn(BINS, WIDTH)


def image_features(model, pixels):
    """Image tokens [images, 37, width] of pixels [images, 3, 192, 192], normalised."""
    return model.get_image_features(pixels).pooler_output


class CellHead(nn.Module):
    """Reads from each image token what is in its cell. It is discarded after training: its loss trains the vision encoder
    long before the loss of the answers does."""

    def __init__(self):
        super().__init__()
        self.parts = (1, len(CATEGORIES), len(COLORS), 4, CELL_CHARACTERS * CHARACTER_CLASSES)
        self.linear = nn.Linear(WIDTH, sum(self.parts))

    def forward(self, features, cells):
        """The loss over features [images, 37, width] and `data.cells` of the images."""
        present, category, color, box, characters = self.linear(features[:, 1:].float()).split(self.parts, -1)
        characters = characters.unflatten(-1, (CELL_CHARACTERS, CHARACTER_CLASSES))
        # No indexing by masks: it would make the GPU wait for the CPU at each step.
        some = cells["category"] >= 0
        count = some.sum().clamp(min=1)
        none = torch.full_like(cells["color"], -1)
        rarity = characters.new_ones(CHARACTER_CLASSES)
        rarity[0] = 0.01
        cross_entropy = nn.functional.cross_entropy
        return (
            5 * nn.functional.binary_cross_entropy_with_logits(present[..., 0], some.float())
            + cross_entropy(category.flatten(0, 1), cells["category"].flatten(), ignore_index=-1)
            + cross_entropy(color.flatten(0, 1), torch.where(some, cells["color"], none).flatten(), ignore_index=-1)
            + 10 * ((box.sigmoid() - cells["box"]).abs().mean(-1) * some).sum() / count
            + 4 * cross_entropy(characters.flatten(0, 2), cells["characters"].flatten(), weight=rarity)
        )


def save(model, folder, tokenizer_folder):
    """Writes an ordinary checkpoint: f16 weights, configs, tokenizer, processor files."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: weight.detach().cpu() for name, weight in model.state_dict().items()}
    copy = Florence2ForConditionalGeneration(model.config)
    copy.load_state_dict(weights)
    copy.generation_config = GenerationConfig(**GENERATION)
    copy.to(torch.float16).save_pretrained(folder)
    for name in ("preprocessor_config.json", "processor_config.json", "tokenizer_config.json"):
        shutil.copyfile(PROCESSOR / name, folder / name)
    shutil.copyfile(Path(tokenizer_folder) / "tokenizer.json", folder / "tokenizer.json")


def normalization():
    """Mean and standard deviation [3, 1, 1] of the processor's normalisation, on a scale of 0 to 255."""
    config = json.loads((PROCESSOR / "preprocessor_config.json").read_text())
    return tuple(255 * torch.tensor(config[key]).view(3, 1, 1) for key in ("image_mean", "image_std"))
