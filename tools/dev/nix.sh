# shellcheck shell=bash disable=SC2154 # packages.sh sets cache
# Part of ./dev: a current Nix on Debian, beside the system.
#
# The distribution's own Nix may be years old, or there may be none. Debian trixie's is unpacked
# into the cache and run through the C library it was built with, so that nothing of the system is
# touched and nothing is installed. It evaluates, parses and locks; it builds nothing here.

readonly nix_wanted=2.18

nix_is_current() {
    local found
    found=$("$1" --version 2>/dev/null | grep -oE '[0-9]+\.[0-9]+(\.[0-9]+)?' | head -n 1) || return 1
    [[ $(printf '%s\n' "$nix_wanted" "$found" | sort -V | head -n 1) == "$nix_wanted" ]]
}

# Puts a current nix and nix-instantiate in PATH. Fails, after saying why, where none can be had.
ensure_nix() {
    local root=$cache/nix-debian name
    ! nix_is_current nix || return 0
    if [[ ! -x $root/usr/bin/nix ]]; then
        # Others may be at it too.
        mkdir -p "$cache"
        exec {lock}>"$cache/nix-debian.lock"
        flock "$lock"
        [[ -x $root/usr/bin/nix ]] || unpack_nix "$root" || { exec {lock}>&-; return 1; }
        exec {lock}>&-
    fi
    mkdir -p "$root/bin" "$root/etc/nixconf"
    # No daemon, no cache, no registry: what is asked for is all here.
    cat >"$root/etc/nixconf/nix.conf" <<'CONF'
experimental-features = nix-command flakes
sandbox = false
substituters =
build-users-group =
flake-registry =
build-hook =
CONF
    for name in nix nix-instantiate; do
        cat >"$root/bin/$name.new" <<WRAPPER
#!/bin/sh
NIX_CONF_DIR='$root/etc/nixconf' exec '$root/usr/lib64/ld-linux-x86-64.so.2' \\
    --library-path '$root/usr/lib/x86_64-linux-gnu' --argv0 $name '$root/usr/bin/nix' "\$@"
WRAPPER
        chmod +x "$root/bin/$name.new"
        mv "$root/bin/$name.new" "$root/bin/$name"
    done
    if ! nix_is_current "$root/bin/nix"; then
        say "the Nix in $root does not run; delete that folder and try again"
        return 1
    fi
    PATH="$root/bin:$PATH"
}

# unpack_nix FOLDER
unpack_nix() {
    if [[ $(uname -m) != x86_64 ]]; then
        say "no Nix $nix_wanted or newer, and none to be had: that takes Debian on x86-64"
        return 1
    fi
    unpack_debian "$1" trixie whole nix-bin
}
