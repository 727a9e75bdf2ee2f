#!/usr/bin/env bash
# Measures the engine and transformers on the same GPU. Two steps, since a machine with a GPU often has no network:
#
#   benches/gpu.sh pack FOLDER     on any machine: builds, and puts everything needed into FOLDER
#   benches/gpu.sh run FOLDER      on the machine with the GPU: parity, benchmark, one table (FOLDER/RESULTS.md)
#
# `run` requires Python with torch (CUDA) and transformers, and FOLDER/onnxruntime: the wheel of onnxruntime-gpu that
# ONNXRUNTIME_WHEEL names, unpacked by `pack`. CUDA's and cuDNN's libraries are taken from that Python's packages.
#
# Environment variables, with defaults in brackets:
#   DEVICE [cuda]          cpu tests the script without a GPU
#   EXPORTS [fp16 fp32 cuda-fp16; on the CPU fp16 fp32]
#                          precisions of target plain, and with the prefix cuda- of target cuda
#   TOKENS [20]            new tokens of each answer
#   REPEAT [20]            measured rounds
#   ATTENTION [sdpa,eager,sdpa --compile]
#                          settings of transformers, separated by commas; compiling takes many minutes on a CPU
#   PYTHON [python3]
#   FLORENCE2              for pack: the program, instead of building it
#   TOKENIZER              for pack: a folder with a Florence-2 tokenizer.json
#   CHECKPOINT             for run: a checkpoint instead of a random one of base's size
#   SIDE [768]             the side of the images for transformers, in pixels
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
    local program=${FLORENCE2:-$root/target/release/florence2}
    [ -n "${FLORENCE2:-}" ] || cargo build --release --manifest-path "$root/Cargo.toml" -p florence2-cli
    mkdir -p "$folder/images" "$folder/tokenizer"
    cp "$program" "$folder/florence2"
    cp "$here/gpu.sh" "$here"/gpu/*.py "$folder/"
    cp "$root"/models/demo/scenes/*.png "$folder/images/"
    cp "$TOKENIZER"/*.json "$folder/tokenizer/"
    if [ -n "${ONNXRUNTIME_WHEEL:-}" ]; then
        "$python" -m zipfile -e "$ONNXRUNTIME_WHEEL" "$folder/onnxruntime"
    fi
    echo "packed; on the machine with the GPU: $folder/gpu.sh run $folder"
}

# Prints the library folders of the Python's `nvidia-*` packages, which ONNX Runtime's CUDA provider needs.
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

usable() {
    florence2 devices --format json | "$python" -c "
import json, sys
sys.exit(not any(row['device'] == '$1' and row['usable'] for row in json.load(sys.stdin)))"
}

# Exports the checkpoint once, as NAME of EXPORTS; prints the folder.
export_once() {
    local out=$folder/work/$1 target=plain
    case $1 in cuda-*) target=cuda ;; esac
    if [ ! -e "$out/config.json" ]; then
        florence2 export "$folder/work/checkpoint" --target "$target" --precision "${1#cuda-}" --out "$out" >&2
    fi
    echo "$out"
}

# Compares the answers on the device with those of a reference model on the CPU.
parity() {
    local model=$1 name=$2 least=$3 reference=$4
    echo "## Parity of $name on $device with the CPU"
    florence2 compare --reference "$reference" --candidate "$model" --candidate-device "$device" --max-new-tokens 50 \
        --fail-below "$least" "$folder"/images/*.png
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
        # With trained weights, every token must be the same. With random ones, the scores of tokens are too close for that.
        parity demo "the demo model" 1 demo
        for name in $exports; do
            parity "$(export_once "$name")" "$name" 0 "$(export_once "${name#cuda-}")"
        done
        if [ "$device" = cuda ] && usable tensorrt; then
            device=tensorrt parity demo "the demo model" 1 demo
        fi
    } 2>&1 | tee "$work/parity.txt"

    local models=()
    for name in $exports; do models+=(-m "$(export_once "$name")"); done
    florence2 bench "${models[@]}" --device "$device" --num-beams 1,3 --batch 1,8 --tokens "$tokens" \
        --repeat "$repeat" --save "$work/bench.json" || true

    rm -f "$work"/transformers-*.json
    local dtype=float16
    [ "$device" = cpu ] && dtype=float32
    local number=0 all settings
    IFS=, read -ra all <<< "${ATTENTION:-sdpa,eager,sdpa --compile}"
    for settings in "${all[@]}"; do
        number=$((number + 1))
        # shellcheck disable=SC2086 # several words
        "$python" "$folder/transformers_worker.py" "$work/checkpoint" --tokenizer "${CHECKPOINT:-$folder/tokenizer}" \
            --device "$device" --dtype "$dtype" --tokens "$tokens" --repeat "$repeat" ${SIDE:+--side "$SIDE"} --attention $settings \
            > "$work/transformers-$number.json" || echo "transformers $settings failed" >&2
    done
    "$python" "$folder/gpu_table.py" "$work" | tee "$folder/RESULTS.md"
}

case $action in
    pack) pack ;;
    run) run ;;
    *) echo "there is no action $action; they are pack and run" >&2; exit 2 ;;
esac
