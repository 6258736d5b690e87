#!/usr/bin/env bash
# Prints the tables of BENCHMARKS.md in Markdown. Needs nothing but the checkout; takes some minutes on a
# machine that does nothing else.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo build --release --workspace --bins
bin="${CARGO_TARGET_DIR:-target}/release"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Model, threads, runs, more arguments: what `mpcc bench` says.
bench() {
    local name=$1 threads=$2 runs=$3
    shift 3
    printf '\n### %s\n\n```\n$ mpcc bench %s.onnx --calibrate %s.npy -i @%s.npy --threads %s --runs %s %s\n' \
        "$name, $threads thread(s) a role${*:+, $*}" "$name" "$name" "$name" "$threads" "$runs" "$*"
    "$bin/mpcc" bench "$work/$name.onnx" --calibrate "$work/$name.npy" -i "@$work/$name.npy" \
        --threads "$threads" --runs "$runs" "$@" 2>/dev/null
    printf '```\n'
}

for name in relu-1m resnet50 vgg16; do
    "$bin/reference-model" "$name" "$work/$name.onnx" "$work/$name.npy"
done
bench relu-1m 1 9
bench resnet50 1 9
bench resnet50 2 9
bench resnet50 1 5 --ring 64
bench vgg16 1 5
