#!/usr/bin/env bash
# Builds all fuzz targets and runs each for SECONDS_EACH seconds (20), from seeds made of the models
# and operator cases of the tree. Works on a stable compiler and without cargo-fuzz: edges are counted
# by the flags in rustc.sh, and libFuzzer comes with libfuzzer-sys (which needs a C++ compiler).
#
#   SECONDS_EACH=300 FUZZ_SEED=0 fuzz/brief.sh importer plan_text     # these targets only, for longer, anew each time
#
# FUZZ_SEED (1) is where libFuzzer begins: the same each time, so that a gate finds what a change has made; 0 is another
# one each time.
#
# What is found is kept: inputs in CARGO_TARGET_DIR/fuzz/corpus, crashes in CARGO_TARGET_DIR/fuzz/crashes.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${SECONDS_EACH:-20}
target=${CARGO_TARGET_DIR:-target}
all=(array frame importer plan_file plan_text program_text weights_file)
[ $# -gt 0 ] || set -- "${all[@]}"

say() { printf '%4s s  %s\n' "$SECONDS" "$1"; }

mkdir -p "$target"
work=$(cd "$target" && pwd)/fuzz
mkdir -p "$work/corpus" "$work/crashes"

say "seeds"
# With the features of the whole workspace, as the tests are built, so that this compiles little.
cargo build --release --workspace --example fuzz_seeds
rm -rf "$work/seeds"
"$work/../release/examples/fuzz_seeds" "$work/seeds"

say "targets"
# The versions that the workspace has; cargo adds those of libFuzzer.
cp Cargo.lock fuzz/Cargo.lock
RUSTC_WRAPPER="$PWD/fuzz/rustc.sh" CARGO_INCREMENTAL=0 CARGO_TARGET_DIR="$work" \
    cargo build --release --manifest-path fuzz/Cargo.toml --bins

failed=()
for name in "$@"; do
    mkdir -p "$work/corpus/$name"
    log="$work/$name.log"
    # Memory and seconds are far above what an input of this size needs.
    if "$work/release/$name" "$work/corpus/$name" "$work/seeds/$name" \
        -seed="${FUZZ_SEED:-1}" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 \
        -artifact_prefix="$work/crashes/$name-" >"$log" 2>&1; then
        say "$name: $(tail -n 1 "$log")"
    else
        say "$name: FAILED"
        tail -n 40 "$log"
        failed+=("$name")
    fi
done

if [ ${#failed[@]} -gt 0 ]; then
    echo "crashes of ${failed[*]}, in $work/crashes; run the target with the file to see it again" >&2
    exit 1
fi
say "no crashes"
