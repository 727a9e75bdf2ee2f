"""Makes tests/fixtures/traced: vision encoders of `base-like` (96x96 pixels), traced at 64x64.

`FORM.onnx.gz` are the graphs, `weights.bin` the external data of all three.
"""

import gzip

from common import FIXTURES, checkpoint_folder
from onnx import TensorProto
from traced import FORMS, scales, traced

FOLDER = FIXTURES / "traced"
CHECKPOINT = "base-like"
TRACED = 64
# Weights of fewer bytes stay in the graph.
SMALLEST = 256


def main():
    FOLDER.mkdir(exist_ok=True)
    weights, offsets = bytearray(), {}
    for form in FORMS:
        model = traced(checkpoint_folder(CHECKPOINT), form, TRACED)
        assert bool(scales(model)) == (form != "eager"), form
        for tensor in model.graph.initializer:
            raw = tensor.raw_data
            if len(raw) < SMALLEST:
                continue
            if raw not in offsets:
                offsets[raw] = len(weights)
                weights += raw
            entries = {"location": "weights.bin", "offset": offsets[raw], "length": len(raw)}
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in entries.items():
                tensor.external_data.add(key=key, value=str(value))
        (FOLDER / f"{form}.onnx.gz").write_bytes(gzip.compress(model.SerializeToString(), 9, mtime=0))
    (FOLDER / "weights.bin").write_bytes(weights)


if __name__ == "__main__":
    main()
