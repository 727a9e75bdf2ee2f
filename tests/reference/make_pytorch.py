"""Weights in the formats of `torch.save`: a small checkpoint beside the same in safetensors, and tensors in unusual forms."""

import json
import os
import shutil
import warnings
import zipfile

import torch
from safetensors.torch import load_file, save_file
from transformers import BartConfig, Florence2Config, Florence2ForConditionalGeneration, Florence2VisionConfig

from common import FIXTURES
from pins import require

require("torch", "transformers", "safetensors")
FOLDER = FIXTURES / "pytorch"


def model():
    """A model of 20 000 weights, whose embeddings are tied."""
    torch.manual_seed(0)
    vision = Florence2VisionConfig(
        embed_dim=[8, 12], depths=[1, 2], num_heads=[2, 3], num_groups=[2, 4], patch_size=[7, 3], patch_stride=[4, 2],
        patch_padding=[3, 1], patch_prenorm=[False, True], window_size=4, mlp_ratio=2.0, projection_dim=16,
        max_position_embeddings=7, max_temporal_embeddings=3,
    )
    text = BartConfig(
        vocab_size=30, d_model=16, encoder_layers=1, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=2, encoder_ffn_dim=10, decoder_ffn_dim=14, max_position_embeddings=64,
    )
    return Florence2ForConditionalGeneration(
        Florence2Config(text_config=text.to_dict(), vision_config=vision.to_dict(), image_token_id=29)
    )


def shards(state, folder):
    """Writes two shards and their index, as transformers did."""
    names = sorted(state)
    half = len(names) // 2
    weight_map = {}
    for number, part in enumerate((names[:half], names[half:]), start=1):
        file = f"pytorch_model-0000{number}-of-00002.bin"
        torch.save({name: state[name].clone() for name in part}, folder / file)
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=1) + "\n")


def forms():
    """Tensors that share a storage, lie in part of it, or are not contiguous, of every float type."""
    matrix = torch.arange(24, dtype=torch.float32).reshape(4, 6) / 8
    return {
        "contiguous": matrix,
        "transposed": matrix.t(),
        "rows": matrix[1:3],
        "columns": matrix[:, 1:5:2],
        "parameter": torch.nn.Parameter(matrix[0] + 1),
        "scalar": torch.tensor(0.5),
        "empty": torch.empty(0, 3),
        "ones": matrix[:1].expand(1, 6),
        "float16": matrix.half(),
        "bfloat16": matrix.bfloat16(),
        "float64": matrix.double(),
    }


def main():
    """Writes the fixtures."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    (FOLDER / "sharded").mkdir(parents=True)
    tiny = model()
    tiny.save_pretrained(FOLDER)
    (FOLDER / "generation_config.json").unlink()
    state = tiny.state_dict()
    torch.save(state, FOLDER / "pytorch_model.bin")
    shards(load_file(FOLDER / "model.safetensors"), FOLDER / "sharded")
    saved = forms()
    torch.save(saved, FOLDER / "forms.bin")
    expected = {name: value.detach().float().contiguous().clone() for name, value in saved.items()}
    save_file(expected, FOLDER / "forms.safetensors")
    torch.save(saved, FOLDER / "forms-protocol4.bin", pickle_protocol=4)
    refused()


class Command:
    """An object whose pickle runs a command when Python loads it."""

    def __reduce__(self):
        return os.system, ("true",)


def refused():
    """Files that must not be read as weights."""
    folder = FOLDER / "refused"
    folder.mkdir()
    weights = {"weight": torch.ones(2)}
    torch.save(weights, folder / "legacy.bin", _use_new_zipfile_serialization=False)
    torch.save({"model": weights, "epoch": 3}, folder / "nested.bin")
    torch.save(torch.ones(2), folder / "tensor.bin")
    torch.save({**weights, "expanded": torch.ones(1).expand(1 << 20, 1 << 20)}, folder / "expanded.bin")
    torch.save({**weights, "command": Command()}, folder / "command.bin")
    torch.save(weights, folder / "weights.bin")
    with zipfile.ZipFile(folder / "weights.bin") as archive:
        files = [(name, archive.read(name)) for name in archive.namelist()]
    (folder / "weights.bin").unlink()
    warnings.simplefilter("ignore")
    with zipfile.ZipFile(folder / "duplicate.bin", "w") as archive:
        for name, data in files + files[-1:]:
            archive.writestr(zipfile.ZipInfo(name), data)
    with zipfile.ZipFile(folder / "compressed.bin", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED if "/data/" in name else None)


if __name__ == "__main__":
    main()
