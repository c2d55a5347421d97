# shellcheck shell=bash disable=SC2154 # packages.sh sets cache
# Part of ./dev: all checks that run no test.

parse_nix() { nix-instantiate --parse "$@" >/dev/null; }

# The lock file has what flake.nix asks for; needs no network.
lock_matches() { nix flake lock path:. --no-update-lock-file; }

# Advisories come from a database on the network, the other checks from the lock file alone.
check_dependencies() {
    local -a checks=(bans licenses sources)
    if cargo deny fetch db >&2; then
        checks+=(advisories)
    else
        say "skipped: advisories, as their database cannot be fetched (see above)"
    fi
    cargo deny --all-features check --hide-inclusion-graph "${checks[@]}"
}

# install_tools CRATE...: those whose program, which has the crate's name up to a "_", is missing.
install_tools() {
    local crate
    for crate in "$@"; do
        ! have "${crate%%_*}" || continue
        say "building $crate into $cache/tools"
        RUSTFLAGS='' CARGO_TARGET_DIR=$cache/target-tools \
            cargo install --locked --root "$cache/tools" "$crate" >&2 || say "$crate could not be built"
    done
}

# lint_step TOOL COMMAND...: runs the command where the tool is there.
lint_step() {
    if ! have "$1"; then
        say "skipped: $1 is not installed"
        return
    fi
    shift
    say "== $*"
    "$@" >&2 || { say "failed: $*"; failed=1; }
}

lint() {
    local -a nix_files python_files scripts
    mapfile -t nix_files < <(git ls-files '*.nix')
    mapfile -t scripts < <(git ls-files dev .ci/run '*.sh')
    mapfile -t python_files < <(git ls-files '*.py')
    ensure_build_tools
    choose_compiler || die "no compiler"
    PATH="$PATH:$cache/tools/bin"
    if [[ ${1:-} == --install-tools ]]; then
        install_tools cargo-deny deadnix nixfmt_rs
    fi
    lint_step cargo cargo fmt --check
    lint_step cargo cargo fmt --check --manifest-path fuzz/Cargo.toml
    lint_step cargo cargo clippy --release --locked --all-targets -- -D warnings
    lint_step cargo cargo clippy --release --locked --all-targets --no-default-features -- -D warnings
    lint_step cargo-deny check_dependencies
    lint_step shellcheck shellcheck "${scripts[@]}"
    if ensure_nix; then
        lint_step nix-instantiate parse_nix "${nix_files[@]}"
        lint_step nix lock_matches
    fi
    lint_step nixfmt nixfmt --check "${nix_files[@]}"
    lint_step statix statix check .
    lint_step deadnix deadnix --fail "${nix_files[@]}"
    lint_step python3 env PYTHONPYCACHEPREFIX="$cache/pycache" python3 -m compileall -q "${python_files[@]}"
    ((failed == 0))
}
