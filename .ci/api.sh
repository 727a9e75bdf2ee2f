#!/usr/bin/env bash
# Compares the public interface of each library with .ci/api/CRATE.txt. `.ci/api.sh --update` writes these files.
set -euo pipefail
cd "$(dirname "$0")/.."

for crate in florence2 florence2-export florence2-layout; do
    RUSTDOC="$PWD/.ci/rustdoc" cargo rustdoc --quiet --locked -p "$crate" --all-features -- -Z unstable-options --output-format json
    now=target/doc/$crate.api.txt
    cargo run --quiet --locked -p florence2-api -- "target/doc/${crate//-/_}.json" > "$now"
    if [ "${1:-}" = --update ]; then
        cp "$now" ".ci/api/$crate.txt"
    elif ! diff -u ".ci/api/$crate.txt" "$now"; then
        echo "$crate: the public interface changed. If it is meant to: .ci/api.sh --update, and CHANGELOG.md" >&2
        exit 1
    fi
done
