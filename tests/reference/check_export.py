"""Checks exported graphs against transformers:

    python check_export.py [--target T] [--precision P] [--float16-io] [CHECKPOINT...]

Makes small random checkpoints of several shapes, exports them and checks the graphs; arguments are folders of further
checkpoints to check. For each graph: `onnx.checker` with full shape inference, only the operators of the target,
and the largest difference from torch relative to the largest magnitude of the reference, within `TOLERANCE`.

Needs the versions of requirements.txt, and cargo.
"""

import argparse
import copy
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from transformers import Florence2Config, Florence2ForConditionalGeneration
from transformers.cache_utils import DynamicCache, EncoderDecoderCache

from pins import require
from fused_layout import StepChecker

# By target and precision. The quantization error of small random models says little of trained ones, but reveals
# mistakes: a wrong scale or a misplaced weight gives 1.
TOLERANCE = {
    ("plain", "fp32"): 1e-4, ("plain", "fp16"): 2e-2, ("plain", "int8"): 0.3, ("plain", "uint8"): 0.3,
    ("plain", "q4"): 0.6, ("plain", "q4f16"): 0.6, ("plain", "bnb4"): 0.6,
    ("cpu", "fp32"): 1e-5, ("cpu", "int8"): 0.3, ("cpu", "int4"): 0.6,
    ("cuda", "fp32"): 1e-5, ("cuda", "fp16"): 2e-2,
}
SUFFIXES = {
    "fp32": "", "fp16": "_fp16", "int8": "_int8", "uint8": "_uint8", "int4": "_q4", "q4": "_q4", "q4f16": "_q4f16",
    "bnb4": "_bnb4",
}
# IR version, and domains with their versions; of the 4-bit plain graphs, ONNX Runtime's too.
FORMATS = {"plain": (8, {"": 17}), "cpu": (10, {"": 20, "com.microsoft": 1}), "cuda": (10, {"": 20, "com.microsoft": 1})}
CONTRIB = {"q4", "q4f16", "bnb4"}
# The operator that multiplies by quantized weights, by precision.
OPERATORS = {"int8": "MatMulInteger", "uint8": "MatMulInteger", "q4": "MatMulNBits", "q4f16": "MatMulNBits", "bnb4": "MatMulBnb4"}
ROOT = Path(__file__).resolve().parents[2]
VISION = dict(
    model_type="florence_vision", embed_dim=[16, 32, 48], depths=[1, 2, 1], num_heads=[2, 4, 3], num_groups=[4, 2, 6],
    patch_size=[7, 3, 3], patch_stride=[4, 2, 2], patch_padding=[3, 1, 1], patch_prenorm=[False, True, True],
    window_size=4, mlp_ratio=2.0, projection_dim=48, max_position_embeddings=9, max_temporal_embeddings=5,
)
TEXT = dict(
    model_type="bart", vocab_size=77, d_model=48, encoder_layers=2, decoder_layers=3, encoder_attention_heads=3,
    decoder_attention_heads=6, encoder_ffn_dim=40, decoder_ffn_dim=32, max_position_embeddings=60,
    activation_function="gelu", bos_token_id=0, pad_token_id=1, eos_token_id=2, decoder_start_token_id=2,
)
# name: (changes of vision, changes of text, image size)
SHAPES = {
    "windows_divide": ({}, {}, 64),
    "windows_pad": (
        dict(window_size=3, qkv_bias=False, patch_prenorm=[True, False, True], activation_function="gelu_new"),
        dict(encoder_layers=3, decoder_layers=1, scale_embedding=True, activation_function="relu"),
        80,
    ),
    "one_window": (
        dict(window_size=20, depths=[1, 1, 2]),
        dict(activation_function="gelu_new", tie_word_embeddings=False), 48,
    ),
}


def random_checkpoint(folder, vision, text, image_size):
    """Draws every tensor, norms and biases too, so that none is trivially zero or one."""
    config = Florence2Config(
        vision_config={**VISION, **vision}, text_config={**TEXT, **text}, image_token_id=76,
        tie_word_embeddings=text.get("tie_word_embeddings", True),
    )
    model = Florence2ForConditionalGeneration(config)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            fan_in = parameter[0].numel() if parameter.dim() > 1 else 1
            if "norm" in name and name.endswith("weight"):
                parameter.copy_(1 + 0.2 * noise)
            elif parameter.dim() == 1:
                parameter.copy_(0.2 * noise)
            else:
                parameter.copy_(noise / fan_in**0.5)
        # An output projection of its own is possible in the layout, a decoder's embeddings are not.
        language_model = model.model.language_model
        for side in (language_model.encoder, language_model.decoder):
            side.embed_tokens.weight.copy_(language_model.shared.weight)
    model.save_pretrained(folder)
    size = {"height": image_size, "width": image_size}
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": size, "crop_size": size}))


class Session(ort.InferenceSession):
    """A graph whose inputs and outputs are converted from and to float32."""

    def __init__(self, path, options):
        super().__init__(path, options, providers=["CPUExecutionProvider"])
        self.halves = {value.name for value in self.get_inputs() if value.type == "tensor(float16)"}

    def run(self, outputs, feed):
        half = lambda name, value: value.astype(np.float16) if name in self.halves else value
        given = super().run(outputs, {name: half(name, value) for name, value in feed.items()})
        return [value.astype(np.float32) for value in given]


class Checker:
    def __init__(self, checkpoint, out, image_size, target, precision, float16_io):
        self.target, self.precision, self.float16_io = target, precision, float16_io
        self.model = Florence2ForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32).eval()
        self.text = self.model.config.text_config
        self.out = out
        self.image_size = image_size
        self.worst = {}
        self.random = np.random.default_rng(3)

    def session(self, name):
        path = self.out / "onnx" / f"{name}{SUFFIXES[self.precision]}.onnx"
        onnx.checker.check_model(str(path), full_check=True)
        graph = onnx.load(path, load_external_data=False)
        ir_version, domains = FORMATS[self.target]
        if self.target == "plain":
            domains = domains | ({"com.microsoft": 1} if self.precision in CONTRIB else {})
            self.check_precision(graph)
        functions = {(function.domain, function.name) for function in graph.functions}
        opsets = domains | {domain: 1 for domain, _ in functions}
        assert {opset.domain: opset.version for opset in graph.opset_import} == opsets, graph.opset_import
        assert graph.ir_version == ir_version
        nodes = [node for part in (graph.graph, *graph.functions) for node in part.node]
        assert all(node.domain in domains or (node.domain, node.op_type) in functions for node in nodes)
        metadata = {entry.key: entry.value for entry in graph.metadata_props}
        named = [metadata[f"florence2.{key}"] for key in ("graph", "target", "precision")]
        assert named == [name, self.target, self.precision], named
        options = ort.SessionOptions()
        options.log_severity_level = 2
        if (self.target, self.precision) == ("cuda", "fp16"):
            return onnx.shape_inference.infer_shapes(graph, strict_mode=True)
        return Session(str(path), options)

    def check_caches(self, graph):
        """Checks that caches have the precision's type, and other float inputs and outputs float32."""
        for value in (*graph.input, *graph.output):
            is_cache = value.name.startswith(("past_key_values.", "present."))
            element = value.type.tensor_type.elem_type
            if is_cache or element in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16):
                half = is_cache or self.float16_io
                assert element == (onnx.TensorProto.FLOAT16 if half else onnx.TensorProto.FLOAT), value.name

    def check_precision(self, graph):
        """Checks that no tensor has a type that the precision excludes."""
        def flattened(graph):
            for node in graph.node:
                yield node
                for attribute in node.attribute:
                    if attribute.HasField("g"):
                        yield from flattened(attribute.g)

        weights = {tensor.name: tensor for tensor in graph.graph.initializer}
        nodes = list(flattened(graph.graph))
        operator = OPERATORS.get(self.precision)
        products = [node for node in nodes if node.op_type == "MatMul" and node.input[1] in weights]
        assert not (operator and products), [node.name for node in products]
        if operator and graph.graph.name != "embed_tokens":
            assert any(node.op_type == operator for node in nodes)
        if self.precision in ("fp16", "q4f16"):
            # Scalars, such as the divisor of a mean, may stay float32.
            floats = [t for t in weights.values() if t.data_type == onnx.TensorProto.FLOAT]
            assert all(not tensor.dims for tensor in floats), [tensor.name for tensor in floats]
        if self.float16_io:
            elements = [value.type.tensor_type.elem_type for value in (*graph.graph.input, *graph.graph.output)]
            assert onnx.TensorProto.FLOAT not in elements

    def same(self, what, ours, theirs):
        theirs = theirs.detach().numpy()
        assert ours.shape == theirs.shape, (what, ours.shape, theirs.shape)
        assert np.isfinite(ours).all(), what
        error = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
        self.worst[what] = max(self.worst.get(what, 0.0), error)
        assert error <= TOLERANCE[self.target, self.precision], f"{what}: {error:.2e}"

    @torch.no_grad()
    def run(self):
        if (self.target, self.precision) == ("cuda", "fp16"):
            # The CPU has no kernels for these operators in float16.
            for name in ("vision_encoder", "text_encoder", "decoder_step"):
                self.check_caches(self.session(name).graph)
            return
        batch = 2
        pixels = self.random.standard_normal((batch, 3, self.image_size, self.image_size)).astype(np.float32)
        vision = self.session("vision_encoder")
        features = vision.run(["image_features"], {"pixel_values": pixels})[0]
        expected = self.model.model.get_image_features(torch.from_numpy(pixels)).pooler_output
        self.same("vision_encoder", features, expected)
        one = vision.run(None, {"pixel_values": pixels[1:]})[0]
        self.same("vision_encoder", one, expected[1:])
        if self.target != "plain":
            # The text side is judged by itself, over exact features.
            sessions = self.session("text_encoder"), self.session("decoder_step")
            on_device = self.target == "cuda"
            StepChecker(self.model, *sessions, self.same, self.random, on_device).run(expected.numpy())
        else:
            self.plain_text_side(features)

    def plain_text_side(self, features):
        batch = features.shape[0]
        ids = self.random.integers(0, self.text.vocab_size, (batch, 5))
        embeds = self.session("embed_tokens").run(["inputs_embeds"], {"input_ids": ids})[0]
        self.same("embed_tokens", embeds, self.model.get_input_embeddings()(torch.from_numpy(ids)))

        inputs = np.concatenate([features, embeds], 1)
        mask = np.ones(inputs.shape[:2], np.int64)
        mask[0, -3:] = 0
        states = self.session("encoder_model").run(
            ["last_hidden_state"], {"attention_mask": mask, "inputs_embeds": inputs}
        )[0]
        encoder = self.model.model.language_model.encoder
        t_mask = torch.from_numpy(mask)
        t_states = encoder(inputs_embeds=torch.from_numpy(inputs), attention_mask=t_mask).last_hidden_state
        self.same("encoder_model", states, t_states)
        self.decoders(mask, states)

    def reference(self, steps, mask, states):
        """torch's logits and caches after each step."""
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        decoder = self.model.model.language_model.decoder
        results = []
        for ids in steps:
            hidden = decoder(
                input_ids=torch.from_numpy(ids), encoder_hidden_states=torch.from_numpy(states),
                encoder_attention_mask=torch.from_numpy(mask), cache=cache, use_cache=True,
            ).last_hidden_state
            results.append((self.model.lm_head(hidden), copy.deepcopy(cache)))
        return results

    def decoders(self, mask, states):
        batch, layers = states.shape[0], self.text.decoder_layers
        heads = self.text.decoder_attention_heads
        # A first step of several tokens, then one, then several again over a past.
        steps = [self.random.integers(0, self.text.vocab_size, (batch, length)) for length in (4, 1, 3)]
        reference = self.reference(steps, mask, states)
        embed = self.session("embed_tokens")
        embeds = [embed.run(None, {"input_ids": ids})[0] for ids in steps]
        first, merged, with_past = map(
            self.session, ("decoder_model", "decoder_model_merged", "decoder_with_past_model")
        )
        kinds = [f"{i}.{a}.{kv}" for i in range(layers) for a in ("decoder", "encoder") for kv in ("key", "value")]
        presents = [f"present.{kind}" for kind in kinds]
        pasts = [f"past_key_values.{kind}" for kind in kinds]
        encoder_inputs = ["encoder_attention_mask", "encoder_hidden_states"]
        names = lambda values: [value.name for value in values]
        assert names(first.get_inputs()) == encoder_inputs + ["inputs_embeds"]
        assert names(first.get_outputs()) == ["logits"] + presents
        assert names(merged.get_inputs()) == encoder_inputs + ["inputs_embeds"] + pasts + ["use_cache_branch"]
        assert names(merged.get_outputs()) == ["logits"] + presents
        assert names(with_past.get_inputs()) == ["encoder_attention_mask", "inputs_embeds"] + pasts
        assert names(with_past.get_outputs()) == ["logits"] + [p for p in presents if ".decoder." in p]

        def check(what, outputs, step, rows=slice(None)):
            logits, cache = reference[step]
            self.same(f"{what} logits", outputs["logits"], logits[rows])
            for i in range(layers):
                for kind, side in (("decoder", cache.self_attention_cache), ("encoder", cache.cross_attention_cache)):
                    if kind == "encoder" and step > 0:
                        continue  # the cached branch gives dummies
                    layer = side.layers[i]
                    self.same(f"{what} caches", outputs[f"present.{i}.{kind}.key"], layer.keys[rows])
                    self.same(f"{what} caches", outputs[f"present.{i}.{kind}.value"], layer.values[rows])

        def call(session, feed):
            return dict(zip(names(session.get_outputs()), session.run(None, feed)))

        def grow(past, outputs):
            return {name: outputs.get(name.replace("past_key_values", "present"), value)
                    if ".decoder." in name else value for name, value in past.items()}

        encoder_feed = {"encoder_attention_mask": mask, "encoder_hidden_states": states}
        outputs = call(first, {**encoder_feed, "inputs_embeds": embeds[0]})
        check("decoder_model", outputs, 0)
        start = {past: outputs[present] for past, present in zip(pasts, presents)}

        past = start
        for step in (1, 2):
            outputs = call(with_past, {"encoder_attention_mask": mask, "inputs_embeds": embeds[step], **past})
            check("decoder_with_past_model", outputs, step)
            past = grow(past, outputs)

        size = self.text.d_model // heads
        empty = {name: np.zeros((batch, heads, 0, size), np.float32) for name in pasts}
        flag = lambda value: {"use_cache_branch": np.array([value])}
        outputs = call(merged, {**encoder_feed, "inputs_embeds": embeds[0], **empty, **flag(False)})
        check("decoder_model_merged first", outputs, 0)
        past = {past: outputs[present] for past, present in zip(pasts, presents)}
        for step in (1, 2):
            outputs = call(merged, {**encoder_feed, "inputs_embeds": embeds[step], **past, **flag(True)})
            check("decoder_model_merged past", outputs, step)
            past = grow(past, outputs)

        # Rows that share one encoder row: its caches have batch 1.
        row = slice(0, 1)
        shared = {n: (np.repeat(v[row], 3, 0) if ".decoder." in n else v[row]) for n, v in start.items()}
        feed = {"encoder_attention_mask": mask[row], "inputs_embeds": np.repeat(embeds[1][row], 3, 0), **shared}
        logits = reference[1][0][row].repeat(3, 1, 1)
        self.same("shared encoder row", call(with_past, feed)["logits"], logits)
        feed = {**feed, "encoder_hidden_states": states[row], **flag(True)}
        self.same("shared encoder row", call(merged, feed)["logits"], logits)
        feed = {"encoder_attention_mask": mask[row], "encoder_hidden_states": states[row],
                "inputs_embeds": np.repeat(embeds[0][row], 3, 0)}
        self.same("shared encoder row", call(first, feed)["logits"], reference[0][0][row].repeat(3, 1, 1))


def check(name, checkpoint, out, image_size, target, precision, float16_io):
    command = ["cargo", "run", "-q", "-p", "florence2-export", "--example", "export", "--", checkpoint, out]
    command += ["--image-size", str(image_size), "--target", target, "--precision", precision]
    command += ["--float16-io", "yes"] if float16_io else []
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    checker = Checker(checkpoint, out, image_size, target, precision, float16_io)
    checker.run()
    print(f"{name} ({image_size} pixels, {target} {precision})")
    for what, error in checker.worst.items():
        print(f"  {what:32} {error:.1e}")


def main():
    require("transformers")
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoints", nargs="*", type=Path)
    parser.add_argument("--target", default="plain", choices=FORMATS)
    parser.add_argument("--precision", default="fp32", choices=SUFFIXES)
    parser.add_argument("--float16-io", action="store_true")
    arguments = parser.parse_args()
    kind = arguments.target, arguments.precision, arguments.float16_io
    with tempfile.TemporaryDirectory() as folder:
        for name, (vision, text, image_size) in SHAPES.items():
            checkpoint = Path(folder) / name
            random_checkpoint(checkpoint, vision, text, image_size)
            check(name, checkpoint, Path(folder) / f"{name}-onnx", image_size, *kind)
        for checkpoint in arguments.checkpoints:
            checkpoint = checkpoint.resolve()
            preprocessor = checkpoint / "preprocessor_config.json"
            size = json.loads(preprocessor.read_text())["size"]["height"] if preprocessor.exists() else 768
            check(checkpoint.name, checkpoint, Path(folder) / f"{checkpoint.name}-onnx", size, *kind)


if __name__ == "__main__":
    main()
