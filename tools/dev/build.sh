# shellcheck shell=bash
# Part of ./dev: the build, and the smoke test of what it made.

# What every build needs beside a compiler.
ensure_build_tools() {
    local wanted=1.89 found
    have cargo || die "cargo is missing: install Rust $wanted or newer with rustup"
    found=$(rustc --version | cut -d' ' -f2)
    [[ $(printf '%s\n' "$wanted" "$found" | sort -V | head -n 1) == "$wanted" ]] \
        || die "Rust $found is too old: $wanted or newer is needed (rustup update stable)"
    local -a missing=()
    have cmake || missing+=(cmake)
    have ninja || missing+=(ninja-build)
    have ccache || missing+=(ccache)
    have pkg-config || missing+=(pkg-config)
    have make || missing+=(make)
    # rustc links with `cc`, whatever compiles the C++.
    have cc || missing+=(gcc libc6-dev)
    if ((${#missing[@]})); then
        install_packages "${missing[@]}"
    fi
}

binary=

# Builds until a compiler's binary passes the smoke decode. Sets `binary`. build CARGO-ARGUMENTS
build() {
    local stamp status
    ensure_build_tools
    while choose_compiler; do
        ! asks_for vulkan "$@" || ensure_vulkan
        say "building (the first time takes a few minutes: llama.cpp is compiled)"
        cargo build --release --locked --bin strixhalo "$@" >&2 || die "the build failed, see above"
        stamp=$CARGO_TARGET_DIR/release/.strixhalo-decoded
        [[ ! $stamp -nt $binary ]] || return 0
        status=0
        smoke_decode || status=$?
        case $status in
            0) touch "$stamp"; return ;;
            1) die "the new binary does not answer, see above" ;;
        esac
        say "what $CC made crashes at a prompt"
        tried+=" $CC"
    done
    die "no compiler on this machine makes a working binary (tried:${tried:- none})"
}
