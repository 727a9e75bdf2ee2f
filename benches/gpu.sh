#!/usr/bin/env bash
# The engine on a GPU, beside transformers on the same GPU. Two steps, since a machine with a GPU often has no network:
#
#   benches/gpu.sh pack FOLDER     on any machine: builds, and puts all that is needed into FOLDER
#   benches/gpu.sh run FOLDER      on the machine with the GPU: parity, benchmark, one table (FOLDER/RESULTS.md)
#
# `run` wants Python with torch (CUDA) and transformers, and FOLDER/onnxruntime: a wheel of onnxruntime-gpu, unpacked
# there by `pack` if one is named by ONNXRUNTIME_WHEEL. CUDA's and cuDNN's libraries are taken from that Python's packages.
#
# Settings, as variables: DEVICE (cuda), EXPORTS ("fp16 fp32 cuda-fp16": precisions of target plain, and of target cuda;
# without the last on DEVICE=cpu, which has no operators for it), TOKENS (20), REPEAT (20), PYTHON (python3), TOKENIZER (for
# pack: a folder with a Florence-2 tokenizer.json), CHECKPOINT (of run: instead of a random one of base's size), SIDE (of its
# pictures, 768). DEVICE=cpu tries the script out without a GPU; there, compiling transformers takes many minutes.
set -euo pipefail
export ORT_DISABLE_TELEMETRY=1

here=$(cd "$(dirname "$0")" && pwd)
[ $# -eq 2 ] || { sed -n '2,/^set/p' "$0" | sed '$d; s/^# \?//'; exit 2; }
action=$1
mkdir -p "$2"
folder=$(cd "$2" && pwd)
device=${DEVICE:-cuda}
exports="fp16 fp32 cuda-fp16"
[ "$device" = cpu ] && exports="fp16 fp32"
exports=${EXPORTS:-$exports}
tokens=${TOKENS:-20}
repeat=${REPEAT:-20}
python=${PYTHON:-python3}

pack() {
    local root=$here/..
    : "${TOKENIZER:?name a folder with the tokenizer.json of a Florence-2 checkpoint}"
    cargo build --release --manifest-path "$root/Cargo.toml" -p florence2-cli
    mkdir -p "$folder/pictures" "$folder/tokenizer"
    cp "$root/target/release/florence2" "$folder/"
    cp "$here/gpu.sh" "$here"/gpu/*.py "$folder/"
    cp "$root"/models/demo/scenes/*.png "$folder/pictures/"
    cp "$TOKENIZER"/*.json "$folder/tokenizer/"
    if [ -n "${ONNXRUNTIME_WHEEL:-}" ]; then
        "$python" -m zipfile -e "$ONNXRUNTIME_WHEEL" "$folder/onnxruntime"
    fi
    echo "packed; on the machine with the GPU: $folder/gpu.sh run $folder"
}

# Where the libraries are that ONNX Runtime's CUDA provider needs: in the packages `nvidia-*` of the Python.
nvidia_libraries() {
    "$python" - <<'PYTHON'
import site
from pathlib import Path

roots = [Path(root) / "nvidia" for root in [*site.getsitepackages(), site.getusersitepackages()]]
print(":".join(str(lib) for root in roots for lib in sorted(root.glob("*/lib"))))
PYTHON
}

florence2() {
    "$folder/florence2" "$@"
}

# An export of the checkpoint, made once: of a precision, for target cuda if its name begins so.
export_once() {
    local out=$folder/work/$1 target=plain
    case $1 in cuda-*) target=cuda ;; esac
    if [ ! -e "$out/config.json" ]; then
        florence2 export "$folder/work/checkpoint" --target "$target" --precision "${1#cuda-}" --out "$out" >&2
    fi
    echo "$out"
}

# Whether the answers on the device are those of a model on the processor.
parity() {
    local model=$1 name=$2 least=$3 reference=$4
    echo "## Parity of $name on $device with the processor"
    florence2 compare --reference "$reference" --candidate "$model" --candidate-device "$device" --max-new-tokens 50 \
        --fail-below "$least" "$folder"/pictures/*.png
    echo
}

run() {
    if [ -d "$folder/onnxruntime" ]; then
        ORT_DYLIB_PATH=$(find "$folder/onnxruntime" -name 'libonnxruntime.so*' -print -quit)
        export ORT_DYLIB_PATH
    fi
    LD_LIBRARY_PATH=$(nvidia_libraries):${LD_LIBRARY_PATH:-}
    export LD_LIBRARY_PATH
    local work=$folder/work
    mkdir -p "$work"

    florence2 devices
    if [ ! -e "$work/checkpoint/config.json" ]; then
        if [ -n "${CHECKPOINT:-}" ]; then
            cp -r "$CHECKPOINT" "$work/checkpoint"
        else
            florence2 export --random base --seed 20 --tokenizer "$folder/tokenizer" --out "$work/fp32"
            mv "$work/fp32/checkpoint" "$work/checkpoint"
        fi
    fi
    {
        # Trained weights: every token must be the same. Random ones: tokens lie closer to each other.
        parity demo "the demo model" 1 demo
        for name in $exports; do
            parity "$(export_once "$name")" "$name" 0 "$(export_once "${name#cuda-}")"
        done
        if [ "$device" = cuda ] && florence2 devices | grep -q '^tensorrt *yes'; then
            DEVICE=tensorrt device=tensorrt parity demo "the demo model" 1 demo
        fi
    } 2>&1 | tee "$work/parity.txt"

    local models=()
    for name in $exports; do models+=(-m "$(export_once "$name")"); done
    florence2 bench "${models[@]}" --device "$device" --num-beams 1,3 --batch 1,8 --tokens "$tokens" \
        --repeat "$repeat" --save "$work/bench.json" || true

    rm -f "$work"/transformers-*.json
    local dtype=float16
    [ "$device" = cpu ] && dtype=float32
    local number=0
    for settings in "--attention sdpa" "--attention eager" "--attention sdpa --compile"; do
        number=$((number + 1))
        # shellcheck disable=SC2086 # several words
        "$python" "$folder/transformers_worker.py" "$work/checkpoint" --tokenizer "${CHECKPOINT:-$folder/tokenizer}" \
            --device "$device" --dtype "$dtype" --tokens "$tokens" --repeat "$repeat" ${SIDE:+--side "$SIDE"} $settings \
            > "$work/transformers-$number.json" || echo "transformers $settings failed" >&2
    done
    "$python" "$folder/gpu_table.py" "$work" | tee "$folder/RESULTS.md"
}

case $action in
    pack) pack ;;
    run) run ;;
    *) echo "there is no action $action; they are pack and run" >&2; exit 2 ;;
esac
