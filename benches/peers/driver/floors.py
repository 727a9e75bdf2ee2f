"""The operations and bytes that each stage needs at least, from the model's dimensions."""

import json
from dataclasses import dataclass

# "Locate the objects with category name in the image." in Florence-2's tokens, `<s>` and `</s>` included.
PROMPT_TOKENS = 13
# Bits per weight, including the scales of int4's blocks of 32.
WEIGHT_BITS = {"fp32": 32, "int8": 8, "int4": 4.5}


@dataclass
class Work:
    """Operations (a multiply-add is two) in products with weights, and in the rest: attention and convolutions."""

    linear: int
    rest: int

    def seconds(self, machine, precision):
        """Seconds at the machine's rates of matrix products; 4-bit weights at the rate of int8."""
        rate = machine["fp32" if precision == "fp32" else "int8"]
        return self.linear / rate + self.rest / machine["fp32"]


class Model:
    """The work of a checkpoint's stages, from its dimensions."""

    def __init__(self, checkpoint, side):
        config = json.loads((checkpoint / "config.json").read_text())
        self.vision_config, self.text_config = config["vision_config"], config["text_config"]
        self.side = side

    def tokens(self):
        """The number of tokens that the text encoder reads: image tokens, their mean, the prompt."""
        stride = 1
        for factor in self.vision_config["patch_stride"]:
            stride *= factor
        return (self.side // stride) ** 2 + 1 + PROMPT_TOKENS

    def vision(self):
        """DaViT. A block of a stage has a spatial and a channel half, each with projections (4 C² per token), MLP (8 C²),
        two depthwise 3×3 convolutions, and attention over a window's tokens or a group's channels."""
        config = self.vision_config
        linear = rest = 0
        side, before = self.side, config["in_channels"]
        stages = zip(config["embed_dim"], config["depths"], config["num_groups"], config["patch_size"],
                     config["patch_stride"])
        for dim, depth, groups, patch, stride in stages:
            side //= stride
            tokens = side * side
            rest += tokens * patch * patch * before * dim
            linear += depth * tokens * 24 * dim * dim
            rest += depth * tokens * dim * (4 * 9 + 2 * config["window_size"] ** 2 + 2 * dim // groups)
            before = dim
        linear += (tokens + 1) * before * config["projection_dim"]
        return Work(2 * linear, 2 * rest)

    def text_encoder(self):
        """BART's encoder, and the keys and values of the decoder's cross-attention caches."""
        config, tokens = self.text_config, self.tokens()
        dim = config["d_model"]
        layer = 4 * dim * dim + 2 * dim * config["encoder_ffn_dim"]
        linear = tokens * (config["encoder_layers"] * layer + config["decoder_layers"] * 2 * dim * dim)
        rest = config["encoder_layers"] * 2 * tokens * tokens * dim
        return Work(2 * linear, 2 * rest)

    def step_bytes(self, precision):
        """The bytes that a decoder step reads: all weights, including those of the logits, except the cross-attention's key
        and value projections; and the cross-attention cache in f32, once for all beams."""
        config = self.text_config
        dim, layers = config["d_model"], config["decoder_layers"]
        weights = layers * (6 * dim * dim + 2 * dim * config["decoder_ffn_dim"]) + config["vocab_size"] * dim
        return weights * WEIGHT_BITS[precision] / 8 + layers * 2 * self.tokens() * dim * 4
