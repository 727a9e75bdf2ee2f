#!/usr/bin/env bash
# Compares the public interface of each library with .ci/api/CRATE.txt. `.ci/api.sh --update` writes these files.
set -euo pipefail
cd "$(dirname "$0")/.."

# rustdoc's JSON has another format in other versions: see .ci/api/Cargo.toml.
rustdoc=$(rustdoc --version | cut -d' ' -f2)
case $rustdoc in
1.95.*) ;;
*) echo "the public interface is not compared: rustdoc is $rustdoc, not 1.95" >&2; exit 0 ;;
esac

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
