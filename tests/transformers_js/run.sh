#!/bin/sh
# Exports the fixture checkpoints and the demo model, runs them unchanged in transformers.js, and compares its greedy
# tokens with the golden ones. Wants node (20 or later), npm and cargo; gets the packages of package-lock.json.
set -eu
export ORT_DISABLE_TELEMETRY=1
cd "$(dirname "$0")"
npm ci --ignore-scripts --no-audit --no-fund
bundles=$(mktemp -d)
trap 'rm -rf "$bundles"' EXIT
for name in base-like large-like demo; do
    checkpoint=../fixtures/checkpoints/$name
    [ "$name" = demo ] && checkpoint=../../models/demo/checkpoint
    cargo run -q -p florence2-export --example export -- "$checkpoint" "$bundles/$name" >/dev/null
    node greedy.mjs "$bundles/$name" "../fixtures/golden/$name"
done
