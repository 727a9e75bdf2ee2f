"""Compares the plain graphs in 8 and 4 bits with those that ONNX Runtime's own quantizers make of the fp32 graphs.

    python check_quantized.py CHECKPOINT

Each weight that is quantised must hold the same numbers: bnb4 byte by byte, q4, int8 and uint8 up to
rounding. Needs onnx, onnx_ir, onnxruntime and numpy, and cargo.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.matmul_bnb4_quantizer import MatMulBnb4Quantizer
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

ROOT = Path(__file__).resolve().parents[2]
GRAPHS = ["vision_encoder", "encoder_model", "decoder_model", "decoder_with_past_model"]
SUFFIXES = {"fp32": "", "int8": "_int8", "uint8": "_uint8", "q4": "_q4", "bnb4": "_bnb4"}


def export(checkpoint, folder):
    for precision in SUFFIXES:
        command = ["cargo", "run", "-q", "-p", "florence2-export", "--example", "export", "--", checkpoint, folder]
        subprocess.run([*command, "--precision", precision], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def nodes(model, kinds):
    return [node for node in model.graph.node if node.op_type in kinds]


def values(model):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def pairs(ours, theirs, kinds, inputs):
    """The weights of corresponding nodes, ours and theirs, by the node's position; scales as float32."""
    left, right = values(ours), values(theirs)
    ours, theirs = nodes(ours, kinds), nodes(theirs, kinds)
    assert len(ours) == len(theirs) > 0, (len(ours), len(theirs))
    for node, other in zip(ours, theirs):
        yield node.name, [(left[node.input[i]], right[other.input[i]]) for i in inputs]


def unpacked(packed):
    return np.stack([packed & 15, packed >> 4], -1).astype(np.int32)


def check_bnb4(name, ours, plain, _):
    quantizer = MatMulBnb4Quantizer(plain, MatMulBnb4Quantizer.NF4, 64)
    quantizer.process()
    for _, ((packed, other), (scales, other_scales)) in pairs(ours, quantizer.model.model, ["MatMulBnb4"], [1, 2]):
        assert (packed == other).all() and (scales == other_scales).all(), name


def check_q4(name, ours, plain, _):
    quantizer = MatMulNBitsQuantizer(plain, block_size=32, is_symmetric=True)
    quantizer.process()
    equal = []
    for _, ((packed, other), (scales, other_scales)) in pairs(ours, quantizer.model.model, ["MatMulNBits"], [1, 2]):
        # Where a block has its largest magnitude with either sign, either may be the one that is met.
        restored = [
            (unpacked(values).reshape(scales.size, -1) - 8) * scales.reshape(-1, 1)
            for values, scales in ((packed, scales), (other, other_scales))
        ]
        steps = np.abs(scales.reshape(-1, 1))
        np.testing.assert_allclose(steps, np.abs(other_scales.reshape(-1, 1)), rtol=1e-6)
        assert (np.abs(restored[0] - restored[1]) <= 1.001 * steps).all(), name
        equal += [restored[0] == restored[1]]
    assert np.mean(np.concatenate([blocks.reshape(-1) for blocks in equal])) > 0.99, name


def check_bytes(name, ours, plain, folder):
    unsigned = "uint8" in name
    onnx.save(plain, folder / "plain.onnx")
    quantize_dynamic(
        folder / "plain.onnx", folder / "theirs.onnx", op_types_to_quantize=["MatMul"], per_channel=True,
        weight_type=QuantType.QUInt8 if unsigned else QuantType.QInt8,
    )
    theirs = onnx.load(folder / "theirs.onnx")
    left, right = values(ours), values(theirs)
    kind = "uint8" if unsigned else "int8"
    weights = [node.input[1].removesuffix(f".{kind}") for node in nodes(ours, ["MatMulInteger"])]
    assert len(weights) == len(nodes(theirs, ["MatMulInteger"])) > 0
    for weight in weights:
        for part, other in ((kind, "quantized"), (f"{kind}_zero", "zero_point")):
            part, other = left[f"{weight}.{part}"], right[f"{weight}_{other}"]
            assert part.dtype == other.dtype and part.shape == other.shape, (name, weight)
            assert np.abs(part.astype(int) - other.astype(int)).max() <= 1, (name, weight, part, other)


CHECKS = {"bnb4": check_bnb4, "q4": check_q4, "int8": check_bytes, "uint8": check_bytes}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        export(arguments.checkpoint.resolve(), folder)
        for precision, check in CHECKS.items():
            for graph in GRAPHS:
                ours = onnx.load(folder / "onnx" / f"{graph}{SUFFIXES[precision]}.onnx")
                check(f"{graph} {precision}", ours, onnx.load(folder / "onnx" / f"{graph}.onnx"), folder)
            print(f"{precision}: as ONNX Runtime's")


if __name__ == "__main__":
    main()
