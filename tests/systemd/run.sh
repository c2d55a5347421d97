#!/usr/bin/env bash
# Runs the server under a real systemd, with the unit that the NixOS module has. A line for each
# check; the last is "N passed, N failed, N skipped".
#
#   tests/systemd/run.sh [--vm] [BINARY]
#
# BINARY is checked as a service in a container (systemd-nspawn). --vm adds what takes a kernel of
# its own, in an emulated machine: kernel command line, module options, udev, the GPU's devices, and
# install-strixhalo on an empty disk.
# Both boot a small Debian, which is built once. It takes root, a Debian whose apt names a mirror, and
# the packages that are installed when they are missing; where that is not to be had, the checks are
# skipped, and it says why.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tools/dev/packages.sh
source tools/dev/packages.sh
# shellcheck source=tools/dev/debian.sh
source tools/dev/debian.sh
# shellcheck source=tools/dev/nix.sh
source tools/dev/nix.sh

with_machine=
if [[ ${1:-} == --vm ]]; then
    with_machine=yes
    shift
fi
binary=${1:-}
readonly program=/usr/local/bin/strixhalo image=$cache/systemd-guest/image
# An idle machine needs 35 s for the container and 25 s for the machine.
readonly limit=600
passed=0 failed=0 skipped=0
scratch=$(mktemp -d)
child=
# shellcheck disable=SC2317 # the trap runs it
clean_up() {
    local status=$?
    # The guest ends with the script that booted it.
    [[ -z $child ]] || { kill "$child" && wait "$child"; } 2>/dev/null || true
    rm -rf "$scratch"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

skip() {
    skipped=$((skipped + 1))
    echo "skipped: $*"
}
finish() {
    echo "$passed passed, $failed failed, $skipped skipped"
    ((failed == 0)) || exit 1
    exit 0
}
skip_all() {
    skip "the unit under systemd: $*"
    finish
}

# ensure PROGRAM PACKAGE PROGRAM PACKAGE...
ensure() {
    local -a missing=()
    while (($#)); do
        have "$1" || missing+=("$2")
        shift 2
    done
    ((${#missing[@]} == 0)) || (install_packages "${missing[@]}")
}

# The guest's folder of a tier: all it runs and reads.
# prepare JOB
prepare() {
    mkdir -p "$1"
    cp -r tests/systemd/checks tests/systemd/settings.toml "$scratch/rendered.json" "$1/"
}

# The binary and the libraries it was linked with, but for the C library: the guest has its own, and
# a newer one than most hosts. install_binary JOB
install_binary() {
    local library
    install -D "$binary" "$1/root$program"
    while read -r library; do
        case ${library##*/} in
            ld-linux* | libc.so* | libm.so* | libpthread* | libdl.so* | librt.so*) ;;
            *) install -D "$library" "$1/root/usr/local/lib/${library##*/}" ;;
        esac
    done < <(ldd "$binary" | sed -nE 's|.* => (/[^ ]+) .*|\1|p')
}

# run_tier KIND JOB COMMAND [KERNEL ARGUMENTS]: counts the lines that the checks print.
run_tier() {
    local kind=$1 log=$scratch/$1.log status=0 bad
    tests/systemd/guest/boot.sh "$kind" "$image" "$limit" "${@:2}" > >(tee "$log") &
    child=$!
    wait "$child" || status=$?
    child=
    passed=$((passed + $(grep -c '^ok ' "$log" || true)))
    bad=$(grep -c '^FAIL ' "$log" || true)
    if ((status != 0 && bad == 0)); then
        bad=1
        case $status in
            124) echo "FAIL the $kind: not done within $limit s" ;;
            *) echo "FAIL the $kind: ended with status $status" ;;
        esac
    fi
    failed=$((failed + bad))
}

# -- what it takes ------------------------------------------------------------------------------

[[ $(uname -sm) == "Linux x86_64" ]] || skip_all "the guest is for Linux on x86-64"
[[ $(id -u) == 0 ]] || skip_all "booting a guest takes root"
ensure_nix || skip_all "there is no Nix to render the unit with"
mirror=$(debian_mirror) || skip_all "apt names no Debian mirror to build the guest from"
ensure mmdebstrap mmdebstrap mkfs.ext4 e2fsprogs setpriv util-linux \
    || skip_all "packages to build the guest with are missing"
tests/systemd/guest/build.sh "$cache/systemd-guest" "$mirror" || skip_all "the guest could not be built"

nix-instantiate --eval --strict --json tests/systemd/render.nix --argstr program "$program" \
    >"$scratch/rendered.json" || { echo "FAIL the unit does not evaluate"; failed=1; finish; }

# -- container ----------------------------------------------------------------------------------

job=$scratch/service
if [[ -z $binary ]]; then
    skip "the service: no binary was named"
elif ! ensure systemd-nspawn systemd-container; then
    skip "the service: systemd-nspawn is missing"
elif prepare "$job" && ! tests/systemd/guest/boot.sh container "$image" 60 "$job" true \
    >"$scratch/first" 2>&1; then
    skip "the service: no container boots here: $(sed -n '/^-- errors/{n;p}' "$scratch/first")"
else
    install_binary "$job"
    if ! tests/systemd/guest/boot.sh container "$image" 60 "$job" \
        "cp -r root/. / && ldconfig && $program --version" >"$scratch/first" 2>&1 \
        && grep -q 'version .GLIBC' "$scratch/first"; then
        skip "the service: this binary wants a newer C library than the guest's"
    else
        run_tier container "$job" "cp -r root/. / && ldconfig && python3 -B checks/container.py"
    fi
fi

# -- machine ------------------------------------------------------------------------------------

job=$scratch/machine
if [[ -z $with_machine ]]; then
    skip "the emulated machine: --vm was not given"
elif ! ensure qemu-system-x86_64 qemu-system-x86; then
    skip "the emulated machine: qemu-system-x86_64 is missing"
else
    prepare "$job"
    # What the installer image carries.
    mkdir "$job/flake"
    cp -r flake.nix flake.lock hosts "$job/flake/"
    cp nix/installer/install-strixhalo.sh tests/systemd/installed.nix "$job/"
    run_tier machine "$job" "python3 -B checks/machine.py; status=\$?; python3 -B checks/installer.py && exit \$status" \
        "$(nix-instantiate --eval --strict --json tests/systemd/render.nix --argstr program "$program" -A kernelParams | tr -d '"')"
fi
finish
