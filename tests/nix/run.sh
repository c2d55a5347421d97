#!/usr/bin/env bash
# Evaluates the NixOS modules. The last line is "N passed, N failed, N skipped".
#
#   tests/nix/run.sh
#
# Environment, all optional: NIX, the nix command (2.18 or later); NIXPKGS_LIB, the lib folder of
# nixpkgs, else <nixpkgs>; of several, such as those of two releases, with colons between them, each
# is tried; STRIXHALO, the server's binary; JSON2TOML, remarshal's converter, which nixpkgs writes
# TOML with. What is missing is named and its tests are skipped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

nix=${NIX:-nix}
passed=0 failed=0 skipped=0
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

finish() {
    echo "$passed passed, $failed failed, $skipped skipped"
    ((failed == 0)) || exit 1
    exit 0
}
pass() { passed=$((passed + 1)); }
release=
fail() { failed=$((failed + 1)); printf 'FAILED %s%s\n' "$release" "$*"; }
skip() { skipped=$((skipped + 1)); printf 'skipped: %s\n' "$*"; }

# Nothing here needs a store, so none is opened. evaluate OPTION EXPRESSION
evaluate() {
    "$nix" --extra-experimental-features nix-command eval --store dummy:// --impure "$1" --expr "$2"
}

# Runs the tests of a file. tests_of FILE ARGUMENTS
tests_of() {
    local file=$1 line
    if ! evaluate --raw "import ./tests/nix/results.nix { file = ./tests/nix/$file; $2 }" \
        >"$scratch/out" 2>"$scratch/err"; then
        fail "$file does not evaluate:"
        cat "$scratch/err"
        return
    fi
    while IFS= read -r line; do
        case $line in
            'ok '*) pass ;;
            *) fail "$file: ${line#FAILED }" ;;
        esac
    done <"$scratch/out"
}

# Each mistake fails, and its message has the words it should. mistakes ARGUMENTS
mistakes() {
    local name wanted tests="import ./tests/nix/mistakes.nix { $1 }"
    local -a names=()
    mapfile -t names < <(evaluate --raw \
        "builtins.concatStringsSep \"\" (map (name: name + \"\\n\") (builtins.attrNames ($tests)))")
    ((${#names[@]})) || fail "mistakes.nix does not evaluate"
    for name in "${names[@]}"; do
        if evaluate --raw "($tests).\"$name\".evaluate" >/dev/null 2>"$scratch/err"; then
            fail "$name is accepted"
            continue
        fi
        # Nix breaks long messages into lines of its own.
        tr -s ' \n' '  ' <"$scratch/err" >"$scratch/message"
        while IFS= read -r wanted; do
            if ! grep -qF -- "$wanted" "$scratch/message"; then
                fail "$name: not told \"$wanted\" but:"
                tail -n 8 "$scratch/err"
                continue 2
            fi
        done < <(evaluate --raw \
            "builtins.concatStringsSep \"\" (map (line: line + \"\\n\") ($tests).\"$name\".says)")
        pass
    done
}

# Settings -> TOML -> the server -> the same values.
# round_trip ARGUMENTS
round_trip() {
    local name
    if [[ ! -x ${STRIXHALO:-} ]]; then
        skip "the round trip through the server: STRIXHALO names no binary"
        return
    fi
    if ! command -v "${JSON2TOML:-json2toml}" >/dev/null; then
        skip "the round trip through the server: no json2toml (pip install -r tests/nix/requirements.txt)"
        return
    fi
    for name in host everything hostile; do
        if ! evaluate --json "(import ./tests/nix/round-trip.nix { $1 }).$name" >"$scratch/$name.json" 2>"$scratch/err"; then
            fail "round-trip.nix: $name does not evaluate:"
            cat "$scratch/err"
        elif "${JSON2TOML:-json2toml}" "$scratch/$name.json" "$scratch/$name.toml" \
            && "$STRIXHALO" config check "$scratch/$name.toml" \
            && env -i "$STRIXHALO" config show --json --config "$scratch/$name.toml" >"$scratch/$name.shown" \
            && python3 tests/nix/same_settings.py "$scratch/$name.json" "$scratch/$name.shown"; then
            pass
        else
            fail "$name: the settings do not survive the way through TOML and the server"
            cat "$scratch/$name.toml"
        fi
    done
}

# The script of the login message with programs that answer, say nothing, fail, hang and are not there.
# says NAME WANTED BODY: with a program of this body, it prints what is wanted and ends well.
says() {
    local shown status=0
    rm -f "$scratch/program"
    # A build of Nix has no /usr/bin/env.
    [[ -z $3 ]] || printf '#!%s\n%s\n' "$BASH" "$3" >"$scratch/program"
    chmod +x "$scratch/program" 2>/dev/null || true
    shown=$(timeout 20 bash nix/modules/login-message.sh "$scratch/program" 2>&1) || status=$?
    if [[ $shown == "$2" && $status == 0 ]]; then
        pass
    else
        fail "login-message.sh, $1: status $status, and it says: $shown"
    fi
}
login_message() {
    # shellcheck disable=SC2016 # the program's variables
    says "a program that is asked for its summary" $'doctor --summary\nand more' 'echo "$@"; echo and more'
    says "a program that says nothing" "" 'exit 0'
    says "a program that fails" "1 check fails" 'echo 1 check fails; echo noise >&2; exit 2'
    says "no program" "" ""
    says "a program that hangs, also when it is told to end" \
        "strixhalo doctor gave no answer within 2 s; the GPU's driver may hang: journalctl -k" \
        'trap "" TERM HUP; echo half a line; exec sleep 6'
}
login_message

if ! "$nix" --version >/dev/null 2>&1; then
    skip "all Nix tests: no nix command"
    finish
fi

tests_of unit-tests.nix ""
tests_of schema-tests.nix ""

# The host as install-strixhalo leaves it: with a file of its own.
cp -r --no-preserve=mode hosts/strixhalo "$scratch/host"
cp --no-preserve=mode tests/systemd/installed.nix "$scratch/host/local.nix"

# modules LIB
modules() {
    local with_lib="lib = import $1;"
    release="$(evaluate --raw "(import $1).trivial.release"): "
    echo "nixpkgs' lib of ${release%: }"
    tests_of app-tests.nix "$with_lib"
    tests_of package-tests.nix "$with_lib"
    tests_of hardware-tests.nix "$with_lib"
    tests_of service-tests.nix "$with_lib"
    tests_of service-check-tests.nix "$with_lib"
    tests_of login-message-tests.nix "$with_lib"
    tests_of host-tests.nix "$with_lib"
    tests_of installer-tests.nix "$with_lib installedHost = $scratch/host;"
    tests_of vm-tests.nix "$with_lib"
    tests_of options-doc-tests.nix "$with_lib"
    tests_of text-tests.nix "$with_lib"
    mistakes "$with_lib"
    round_trip "$with_lib"
}

libs=${NIXPKGS_LIB:-}
if [[ -z $libs ]]; then
    libs=$(evaluate --raw 'toString <nixpkgs/lib>' 2>/dev/null) || libs=
fi
if [[ -z $libs ]]; then
    skip "the modules: no nixpkgs lib (set NIXPKGS_LIB to its folder)"
    finish
fi
while IFS= read -r lib; do
    modules "$lib"
done < <(tr : '\n' <<<"$libs")
finish
