#!/usr/bin/env bash
# cargo's RUSTC_WRAPPER for brief.sh: the crates of this repository and the targets count their
# edges and comparisons for libFuzzer; dependencies do not, which also compiles them faster.
# All of these flags are stable.
set -euo pipefail

name=
for ((i = 1; i < $#; i++)); do
    if [ "${!i}" = --crate-name ]; then
        next=$((i + 1))
        name=${!next}
    fi
done

case "$name" in
mpcc_* | frame | importer | plan_file | plan_text | program_text | weights_file)
    exec "$@" --cfg fuzzing -Cpasses=sancov-module \
        -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
        -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares
    ;;
*) exec "$@" ;;
esac
