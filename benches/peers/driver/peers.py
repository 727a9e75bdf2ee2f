"""The peers, and the items that each of them can do."""

from dataclasses import dataclass, field

from prepare import PEERS, RELEASE, SIDE

# The faster attention of eager and sdpa (`--attention` measures with the other).
ATTENTION = "sdpa"
TRANSFORMERS_FP32, TRANSFORMERS_BF16 = "transformers fp32", "transformers bf16"
OPENVINO_FP32, OPENVINO_BF16 = "OpenVINO fp32", "OpenVINO bf16"
TRANSFORMERS_JS = "transformers.js fp32"


@dataclass
class Peer:
    """A worker's command, its load request, and the items that it can do."""

    name: str
    command: list
    load: dict
    items: list
    # The beams of an answer.
    beams: int = 3
    environment: dict = field(default_factory=dict)
    # The precision of an export of ours; empty for others.
    precision: str = ""


def peers(checkpoint, exports, threads, interpreter, openvino, attention, library):
    """All peers, ours first."""
    plain = exports["plain fp32"]
    found = [
        Peer(f"florence2 {name}", [RELEASE / "florence2-peers-worker"], {"model": folder, "threads": threads},
             ["vision", "text_encoder", "step_1", "step_3", "answer", "second_task"],
             environment={"ORT_DYLIB_PATH": str(library)} if library else {}, precision=name.split()[1])
        for name, folder in exports.items()
    ]
    for name, dtype in [(TRANSFORMERS_FP32, "float32"), (TRANSFORMERS_BF16, "bfloat16")]:
        found.append(Peer(
            name, [interpreter, PEERS / "workers" / "transformers_worker.py"],
            {"model": checkpoint, "processor": plain, "threads": threads, "dtype": dtype, "attention": attention},
            ["vision", "text_encoder", "step_1", "step_3", "answer"],
            environment={"OMP_NUM_THREADS": str(threads)},
        ))
    found.append(Peer(
        TRANSFORMERS_JS, ["node", PEERS / "workers" / "transformers_js.mjs"], {"model": plain, "threads": threads},
        ["vision", "step_1", "answer"], beams=1,
    ))
    for name, precision in [(OPENVINO_FP32, "f32"), (OPENVINO_BF16, "bf16")]:
        found.append(Peer(
            name, [openvino, PEERS / "workers" / "openvino_worker.py"],
            {"model": plain / "onnx" / "vision_encoder.onnx", "threads": threads, "precision": precision, "side": SIDE},
            ["vision"],
        ))
    for peer in found:
        peer.command = [str(part) for part in peer.command]
        peer.load = {key: value if isinstance(value, int) else str(value) for key, value in peer.load.items()}
    return found
