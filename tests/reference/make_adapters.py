"""PEFT's LoRA adapters of `base-like`, the weights that PEFT merges, and the merged models' answers."""

import shutil

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from PIL import Image
from safetensors.torch import load_file, save_file

from common import FIXTURES, GOLDEN, IMAGES, ROOT, load, versions, write_json
from generation import BEAMS, GREEDY
from make_golden import answer
from pins import require
from prompts import all_prompts, any_inputs

require("peft")
FOLDER = FIXTURES / "adapters"
BASE = "base-like"
IMAGE = "shapes-320x200.png"
SETTINGS = {"greedy": GREEDY | {"max_new_tokens": 24}, "beams": BEAMS | {"max_new_tokens": 24}}
# Every n-th prompt is answered.
PROMPTS = 4
# About as many elements of each merged weight are recorded.
SAMPLES = 128

CONFIGS = {
    # The usual configuration of notebooks: `lm_head` is tied to the embeddings, and some names match no module.
    "notebook": dict(
        r=4, lora_alpha=4, lora_dropout=0.05, bias="none", task_type="CAUSAL_LM", use_rslora=True,
        init_lora_weights="gaussian", inference_mode=False,
        target_modules=["q_proj", "o_proj", "k_proj", "v_proj", "linear", "Conv2d", "lm_head", "fc2"],
    ),
    # Ranks and factors by pattern, trained biases, and modules of their own, one of them tied before.
    "patterns": dict(
        r=4, lora_alpha=16, bias="lora_only", fan_in_fan_out=True, modules_to_save=["lm_head", "image_projection"],
        target_modules=["qkv", "q_proj", "fc1", "out_proj"],
        rank_pattern={r"^model.vision_tower.*qkv": 6, "fc1": 2},
        alpha_pattern={"encoder.layers.0.self_attn.q_proj": 3, r"channel_attn\.qkv": 24},
    ),
    # Embeddings, their tied copies, and convolutions, in bfloat16.
    "embeddings": dict(r=3, lora_alpha=6, target_modules=["shared", "embed_tokens", "lm_head", "conv"]),
}


def train(name, config):
    """Writes an adapter whose weights are random, in place of trained ones."""
    model, _ = load(BASE)
    model = get_peft_model(model, LoraConfig(**config))
    generator = torch.Generator().manual_seed(1)
    for _, weight in sorted(model.named_parameters()):
        if weight.requires_grad:
            weight.data += 0.04 * torch.randn(weight.shape, generator=generator)
    if name == "embeddings":
        model = model.to(torch.bfloat16)
    model.peft_config["default"].base_model_name_or_path = BASE
    model.save_pretrained(FOLDER / name, save_embedding_layers=name == "notebook")
    (FOLDER / name / "README.md").unlink()


def by_older_names(name):
    """Rewrites an adapter with the adapter's name in those of its tensors, in the file of `torch.save`."""
    path = FOLDER / name / "adapter_model.safetensors"
    tensors = load_file(path)
    rename = lambda key: key.replace(".weight", ".default.weight") if ".lora_" in key else key
    renamed = {rename(key): tensor for key, tensor in tensors.items()}
    torch.save(
        {key + ".default" if ".lora_embedding_" in key else key: tensor for key, tensor in renamed.items()},
        FOLDER / name / "adapter_model.bin",
    )
    path.unlink()


def merged(name):
    """The model that PEFT merges, with its base in f32, and its processor."""
    model, processor = load(BASE)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model = PeftModel.from_pretrained(model, FOLDER / name).merge_and_unload()
    after = {key: value for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    return model, processor, after


def make(name, config):
    """Writes the adapter, samples of the weights that it changes, and answers."""
    train(name, config)
    model, processor, weights = merged(name)
    samples = {key: value.flatten()[:: max(1, value.numel() // SAMPLES)].clone() for key, value in weights.items()}
    save_file(samples, FOLDER / name / "merged.safetensors")
    if name == "embeddings":
        by_older_names(name)
    image = Image.open(IMAGES / IMAGE).convert("RGB")
    prompts = all_prompts(processor, image.size, any_inputs(image.size))[::PROMPTS]
    answers = [answer(model, processor, image, prompt, SETTINGS, 3e-4) for prompt in prompts]
    source = str((IMAGES / IMAGE).relative_to(ROOT))
    images = [{"image": source, "size": list(image.size), "prompts": answers}]
    folder = GOLDEN / "adapters" / name
    write_json(folder / "answers.json", {"versions": versions(), "settings": SETTINGS, "images": images})
    decided = sum(entry[search] is not None for entry in answers for search in SETTINGS)
    assert decided > len(answers), f"{name}: only {decided} answers are far enough from others"
    print(name, len(weights), "weights,", decided, "answers of", 2 * len(answers))


if __name__ == "__main__":
    shutil.rmtree(FOLDER, ignore_errors=True)
    for each in CONFIGS.items():
        make(*each)
