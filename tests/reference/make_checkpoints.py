"""Checkpoints with random weights: `base-like` and `large-like`.

Their structure differs in everything that a config can say; `large-like` is sharded bf16, `base-like` one f32 file.
The weights are larger and more varied than an untrained model's (LayerNorm gains and all biases included), so that
answers depend on image and prompt and no two candidates come close. `make_golden.py` asserts both.
"""

import shutil
from dataclasses import dataclass

import torch
from transformers import BartConfig, Florence2Config, Florence2ForConditionalGeneration, Florence2VisionConfig
from transformers import GenerationConfig

from common import CHECKPOINTS, TOKENIZER, write_json
from tasks import ANSWER_TYPES, POST_PROCESSOR, PROMPTS_WITH_INPUT, PROMPTS_WITHOUT_INPUT

IMAGE_TOKEN, VOCABULARY = 1625, 1626


@dataclass
class Recipe:
    """The settings of a checkpoint."""

    seed: int
    image_size: int
    vision: dict
    text: dict
    dtype: torch.dtype
    shard_size: str
    task_maps: bool
    # Standard deviation of the token embeddings: sets how far apart logits lie.
    embedding: float
    # How much larger the embedding of `</s>` is: sets how often an answer ends by itself.
    end: float


RECIPES = {
    # As base: heads = groups, equal stacks, a window that divides every grid (24, 12, 6, 3).
    "base-like": Recipe(
        seed=0,
        image_size=96,
        vision=dict(
            embed_dim=[8, 16, 32, 48], num_heads=[1, 2, 4, 6], num_groups=[1, 2, 4, 6], depths=[1, 1, 2, 1],
            window_size=3, projection_dim=32, max_position_embeddings=50, max_temporal_embeddings=100,
        ),
        text=dict(
            d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4,
            encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=128,
        ),
        dtype=torch.float32,
        shard_size="1GB",
        task_maps=True,
        embedding=0.45,
        end=1.9,
    ),
    # Unequal in all that may differ; the grids (32, 16, 8, 4) are padded, the last to more than itself.
    "large-like": Recipe(
        seed=0,
        image_size=128,
        vision=dict(
            embed_dim=[12, 24, 40, 64], num_heads=[2, 3, 5, 8], num_groups=[3, 4, 2, 16], depths=[1, 2, 1, 1],
            window_size=5, projection_dim=48, max_position_embeddings=7, max_temporal_embeddings=8,
        ),
        text=dict(
            d_model=48, encoder_layers=3, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=6,
            encoder_ffn_dim=96, decoder_ffn_dim=80, max_position_embeddings=160,
        ),
        dtype=torch.bfloat16,
        shard_size="300KB",
        task_maps=False,
        embedding=0.4,
        end=2.3,
    ),
}


@torch.no_grad()
def randomize(model, recipe):
    """Draws all weights, in the order of their names."""
    generator = torch.Generator().manual_seed(recipe.seed)
    for name, weight in sorted(model.named_parameters()):
        draw = torch.randn(weight.shape, generator=generator)
        if "norm" in name:
            weight.copy_(1 + 0.25 * draw if name.endswith("weight") else 0.1 * draw)
        elif name.endswith("bias"):
            weight.copy_(0.1 * draw)
        elif "shared" in name:
            weight.copy_(recipe.embedding * draw)
            weight[2] *= recipe.end
        elif "embed" in name:
            weight.copy_(draw)
        else:
            fan_in = weight[0].numel()
            gain = 2.0 if "q_proj" in name or "k_proj" in name else 1.2
            weight.copy_(gain * fan_in**-0.5 * draw)


def make(name, recipe):
    """Writes one checkpoint folder."""
    folder = CHECKPOINTS / name
    shutil.rmtree(folder, ignore_errors=True)
    vision = Florence2VisionConfig(drop_path_rate=0.1, **recipe.vision)
    text = BartConfig(
        vocab_size=VOCABULARY, bos_token_id=0, pad_token_id=1, eos_token_id=2, decoder_start_token_id=2,
        forced_eos_token_id=2, activation_function="gelu", scale_embedding=False, **recipe.text,
    )
    config = Florence2Config(
        text_config=text.to_dict(), vision_config=vision.to_dict(), image_token_id=IMAGE_TOKEN
    )
    model = Florence2ForConditionalGeneration(config)
    randomize(model, recipe)
    model.to(recipe.dtype)
    model.generation_config = generation_config()
    model.save_pretrained(folder, max_shard_size=recipe.shard_size)
    write_processor(folder, recipe.image_size, recipe.task_maps)


def generation_config():
    """Florence-2's generation settings."""
    return GenerationConfig(
        bos_token_id=0, pad_token_id=1, eos_token_id=2, decoder_start_token_id=2, forced_bos_token_id=0,
        forced_eos_token_id=2, num_beams=3, early_stopping=True, no_repeat_ngram_size=3,
    )


def write_processor(folder, image_size, task_maps):
    """Preprocessor, processor and tokenizer files; the tokenizer is that of `tokenizer/`, trained on texts of the tasks."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(TOKENIZER / name, folder / name)
    size = {"height": image_size, "width": image_size}
    maps = {
        "tasks_answer_post_processing_type": ANSWER_TYPES,
        "task_prompts_without_inputs": PROMPTS_WITHOUT_INPUT,
        "task_prompts_with_input": PROMPTS_WITH_INPUT,
    }
    write_json(folder / "preprocessor_config.json", {
        "image_processor_type": "CLIPImageProcessor",
        "processor_class": "Florence2Processor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": size,
        "resample": 3,
        "do_center_crop": False,
        "crop_size": size,
        "do_rescale": True,
        "rescale_factor": 0.00392156862745098,
        "do_normalize": True,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "image_seq_length": (image_size // 32) ** 2 + 1,
        **(maps if task_maps else {}),
    })
    write_json(folder / "processor_config.json", {
        "processor_class": "Florence2Processor",
        "num_additional_image_tokens": 0,
        "post_processor_config": POST_PROCESSOR,
    })


if __name__ == "__main__":
    for each in RECIPES.items():
        make(*each)
