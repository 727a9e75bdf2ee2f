"""The settings that `generate` uses for repositories whose `generation_config.json` and `config.json` disagree."""

import json
import shutil
import tempfile
from pathlib import Path

import torch
from transformers import Florence2ForConditionalGeneration, GenerationConfig

from common import CHECKPOINTS, FIXTURES, versions, write_json

SETTINGS = [
    "decoder_start_token_id", "early_stopping", "eos_token_id", "forced_bos_token_id", "forced_eos_token_id",
    "length_penalty", "no_repeat_ngram_size", "num_beams",
]
# The generation settings in `text_config` of the published large, and its `generation_config.json`.
TEXT = {
    "bos_token_id": 0, "decoder_start_token_id": 2, "early_stopping": True, "eos_token_id": 2, "forced_bos_token_id": 0,
    "forced_eos_token_id": 2, "no_repeat_ngram_size": 3, "num_beams": 3, "pad_token_id": 1,
}
LARGE = {"num_beams": 3, "early_stopping": False}
WHOLE = {"bos_token_id": 0, "decoder_start_token_id": 2, "eos_token_id": 2, "pad_token_id": 1}
MICROSOFT = {"vision_config": {"model_type": "davit", "dim_embed": [256, 512, 1024, 2048]}}


def in_force(config):
    return {name: getattr(config, name) for name in SETTINGS}


def microsoft(text):
    """Microsoft's code makes BART of `text_config` and calls its `generate`: the model's `generation_config` is the one that
    transformers 4 derives from that configuration; `generation_config.json` is ignored."""
    config = GenerationConfig.from_model_config(dict(text))
    config.update(**GenerationConfig._get_default_generation_params(), defaults_only=True)
    return in_force(config)


def native(generation, text):
    """The settings of transformers' own class; `None` if `generate` fails."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        shutil.copytree(CHECKPOINTS / "base-like", folder, dirs_exist_ok=True)
        (folder / "generation_config.json").unlink()
        if generation is not None:
            (folder / "generation_config.json").write_text(json.dumps(generation))
        config = json.loads((folder / "config.json").read_text())
        config["text_config"] |= text
        (folder / "config.json").write_text(json.dumps(config))
        model = Florence2ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    try:
        model.generate(input_ids=torch.tensor([[0, 5, 6, 2]]), max_new_tokens=3)
    except ValueError as error:
        assert "decoder_start_token_id" in str(error), error
        return None
    return in_force(model._prepare_generation_config(None)[0])


def make():
    """Writes `generation/configs.json`."""
    native_form = {"vision_config": {"model_type": "florence_vision", "embed_dim": [8, 16, 32, 48]}}
    cases = [
        {"name": "the published large", "generation_config": LARGE, "config": MICROSOFT | {"text_config": TEXT},
         "in_force": microsoft(TEXT)},
        {"name": "Microsoft's form without generation_config.json", "generation_config": None,
         "config": MICROSOFT | {"text_config": TEXT}, "in_force": microsoft(TEXT)},
    ]
    for name, generation in [
        ("own form, generation_config.json without a start token", LARGE),
        ("own form, generation_config.json without settings of the search", WHOLE),
        ("own form, another generation_config.json", WHOLE | {"num_beams": 5, "early_stopping": "never"}),
        ("own form without generation_config.json", None),
    ]:
        cases.append({"name": name, "generation_config": generation, "config": native_form | {"text_config": TEXT},
                      "in_force": native(generation, TEXT)})
    write_json(FIXTURES / "generation" / "configs.json", {"versions": versions(), "cases": cases})


if __name__ == "__main__":
    make()
