"""Makes tests/fixtures/tiny*.onnx and outer_scope.onnx: graphs of one or two nodes for the tests of sessions.

    pip install onnx==1.23.2
    python tests/reference/make_tiny_onnx.py
"""

import struct
from pathlib import Path

from onnx import TensorProto, checker, helper, save_model

FIXTURES = Path(__file__).parent.parent / "fixtures"
WEIGHTS = [float(i) for i in range(12)]


def model(nodes, inputs, outputs, initializers=()):
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, list(initializers))
    made = helper.make_model(
        graph,
        producer_name="florence2-tests",
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    return made


def tensor(name, dtype, dims):
    return helper.make_tensor_value_info(name, dtype, dims)


def main():
    x = tensor("x", TensorProto.FLOAT, ["batch", 3])
    mask = tensor("mask", TensorProto.INT64, ["batch", None])

    # y = x + x, and a second input and output of another type.
    tiny = model(
        [helper.make_node("Add", ["x", "x"], ["y"]), helper.make_node("Identity", ["mask"], ["mask_out"])],
        [x, mask],
        [tensor("y", TensorProto.FLOAT, ["batch", 3]), tensor("mask_out", TensorProto.INT64, ["batch", None])],
    )
    helper.set_model_props(tiny, {"florence2.layers": "6", "florence2.note": "größer"})
    checker.check_model(tiny)
    save_model(tiny, FIXTURES / "tiny.onnx")

    # y = x @ w, with w in a file beside the graph.
    w = helper.make_tensor("w", TensorProto.FLOAT, [3, 4], struct.pack("<12f", *WEIGHTS), raw=True)
    external = model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], [x], [tensor("y", TensorProto.FLOAT, ["batch", 4])], [w]
    )
    (FIXTURES / "tiny_external.onnx_data").unlink(missing_ok=True)
    save_model(
        external,
        FIXTURES / "tiny_external.onnx",
        save_as_external_data=True,
        location="tiny_external.onnx_data",
        size_threshold=0,
        convert_attribute=False,
    )

    # An input that is no tensor.
    sequence = helper.make_tensor_sequence_value_info("xs", TensorProto.FLOAT, None)
    length = model(
        [helper.make_node("SequenceLength", ["xs"], ["n"])], [sequence], [tensor("n", TensorProto.INT64, [])]
    )
    checker.check_model(length)
    save_model(length, FIXTURES / "tiny_sequence.onnx")

    # A branch whose output is a value from outside, as some published merged decoders have it. ONNX Runtime refuses it.
    flag = tensor("use_cache_branch", TensorProto.BOOL, [1])
    logits = tensor("logits", TensorProto.FLOAT, ["batch", 3])
    branches = {
        "then_branch": helper.make_graph([], "then", [], [logits]),
        "else_branch": helper.make_graph([helper.make_node("Neg", ["x"], ["negated"])], "else", [],
                                         [tensor("negated", TensorProto.FLOAT, ["batch", 3])]),
    }
    nodes = [helper.make_node("Add", ["x", "x"], ["logits"]),
             helper.make_node("If", ["use_cache_branch"], ["chosen"], **branches)]
    save_model(model(nodes, [x, flag], [tensor("chosen", TensorProto.FLOAT, ["batch", 3])]), FIXTURES / "outer_scope.onnx")


if __name__ == "__main__":
    main()
