# shellcheck shell=bash
# Part of ./dev: the fuzz targets of fuzz/.

readonly fuzz_targets=(
    requests messages responses native ollama embeddings gguf streams settings templates outputs
)
fuzz_bin=
fuzz_dir=

# libFuzzer finds its way by coverage counters, which these flags put into all Rust code. A host
# build with --target keeps them out of build scripts. Sets `fuzz_bin` and `fuzz_dir`.
build_fuzz_targets() {
    local host flag flags="--cfg fuzzing -C passes=sancov-module"
    host=$(rustc -vV | sed -n 's/^host: //p')
    for flag in level=4 inline-8bit-counters pc-table trace-compares; do
        flags+=" -C llvm-args=-sanitizer-coverage-$flag"
    done
    fuzz_dir=$CARGO_TARGET_DIR/fuzz
    fuzz_bin=$fuzz_dir/$host/release
    RUSTFLAGS=$flags CARGO_TARGET_DIR=$fuzz_dir CARGO_INCREMENTAL=0 \
        cargo build --release --locked --manifest-path fuzz/Cargo.toml --target "$host" >&2
}

# Runs one target. What it finds interesting is kept for the next run, beside the build outputs.
# fuzz_one SECONDS TARGET
fuzz_one() {
    local seconds=$1 target=$2 status=0 log
    local found=$fuzz_dir/corpus/$target crashes=$fuzz_dir/crashes/$target
    log=$fuzz_dir/$target.log
    mkdir -p "$found" "$crashes"
    # Without a backtrace, which would push the message out of what is shown.
    RUST_BACKTRACE=0 "$fuzz_bin/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
        -print_final_stats=1 -artifact_prefix="$crashes/" \
        "$found" "fuzz/corpus/$target" >"$log" 2>&1 || status=$?
    if ((status == 0)); then
        say "fuzz $target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs in $seconds s, no fault"
    else
        tail -n 40 "$log" >&2
        say "fuzz $target: a fault; the input lies in $crashes, and once more with:"
        say "  $fuzz_bin/$target FILE"
    fi
    return "$status"
}

fuzz() {
    local seconds=60 target
    local -a targets=("${fuzz_targets[@]}")
    if [[ ${1:-} =~ ^[0-9]+$ ]]; then
        seconds=$1
        shift
    fi
    (($# == 0)) || targets=("$@")
    for target in "${targets[@]}"; do
        [[ " ${fuzz_targets[*]} " == *" $target "* ]] \
            || die "no fuzz target $target; there are: ${fuzz_targets[*]}"
    done
    ensure_build_tools
    choose_compiler || die "no compiler"
    build_fuzz_targets
    for target in "${targets[@]}"; do
        fuzz_one "$seconds" "$target" || failed=1
    done
    ((failed == 0))
}

# Each target is one test.
fuzz_tests() {
    local target
    say "== fuzz targets"
    if ! build_fuzz_targets; then
        count 1 0 "${#fuzz_targets[@]}" 0
        return
    fi
    for target in "${fuzz_targets[@]}"; do
        if fuzz_one 20 "$target"; then count 0 1 0 0; else count 1 0 1 0; fi
    done
}
