"""Shared by the scripts: paths, deterministic torch, checkpoints, JSON."""

import json
from importlib.metadata import version
from pathlib import Path

import torch
from transformers import AutoProcessor, Florence2ForConditionalGeneration, GenerationConfig
from transformers.utils import logging

from pins import require

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests" / "fixtures"
IMAGES = FIXTURES / "images"
CHECKPOINTS = FIXTURES / "checkpoints"
GOLDEN = FIXTURES / "golden"
DEMO = ROOT / "models" / "demo"
# Of the random checkpoints.
TOKENIZER = Path(__file__).resolve().parent / "tokenizer"

require("torch", "transformers", "tokenizers", "pillow")
logging.set_verbosity_error()
logging.disable_progress_bar()
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)


def checkpoint_folder(name):
    """The folder of a checkpoint: the demo model's is in `models`, the random ones' in the fixtures."""
    return DEMO / "checkpoint" if name == "demo" else CHECKPOINTS / name


def load(name):
    """Model (f32 whatever its file holds, eager attention) and processor (Pillow's resize) of a checkpoint.

    The model's own generation config is reduced to the special tokens, so that the keyword arguments of a
    `generate` call, which the fixtures record, are all there is to know about it.
    """
    folder = checkpoint_folder(name)
    model = Florence2ForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    model.generation_config = GenerationConfig(
        bos_token_id=0, pad_token_id=1, eos_token_id=2, decoder_start_token_id=2
    )
    return model, AutoProcessor.from_pretrained(folder, backend="pil")


def write_json(path, value):
    """One line per leaf list or object that fits in a line; floats as given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(value) + "\n", encoding="utf-8")


def render(value, indent=0, width=110):
    """JSON, compact where it fits in `width` or holds numbers only, else one entry per line."""
    line = json.dumps(value, ensure_ascii=False)
    numbers = isinstance(value, list) and all(isinstance(v, (int, float)) for v in value)
    if not isinstance(value, (dict, list)) or not value or numbers or indent + len(line) <= width:
        return line
    pad = " " * (indent + 1)
    if isinstance(value, dict):
        body = [f"{json.dumps(key)}: {render(entry, indent + 1)}" for key, entry in value.items()]
        return "{\n" + ",\n".join(pad + entry for entry in body) + "\n" + " " * indent + "}"
    body = [render(entry, indent + 1) for entry in value]
    return "[\n" + ",\n".join(pad + entry for entry in body) + "\n" + " " * indent + "]"


def versions():
    """The versions of the packages that the values depend on."""
    return {name: version(name) for name in ("torch", "transformers", "tokenizers", "pillow")}


def floats(tensor, digits=6):
    """Numbers for JSON, rounded to `digits` decimals."""
    return [round(float(value), digits) for value in tensor]
