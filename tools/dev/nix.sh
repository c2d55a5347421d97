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
    local mirror apt keyring=/usr/share/keyrings/debian-archive-keyring.gpg package
    local -a options
    if [[ $(uname -m) != x86_64 ]] || ! mirror=$(debian_mirror) || [[ ! -e $keyring ]]; then
        say "no Nix $nix_wanted or newer, and none to be had: that takes Debian on x86-64, whose apt names a mirror"
        return 1
    fi
    apt=$(mktemp -d)
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
    : >"$apt/status"
    echo "deb [signed-by=$keyring] $mirror trixie main" >"$apt/sources.list"
    options=(
        -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o "Dir::State::lists=$apt/lists" -o "Dir::State::status=$apt/status" -o "Dir::Cache=$apt/cache"
        # A mirror that stands still, as some in companies do, looks expired.
        -o Acquire::Languages=none -o Acquire::Check-Valid-Until=false -o APT::Sandbox::User=root
    )
    say "unpacking Debian trixie's Nix in $1"
    rm -rf "$1.new"
    mkdir -p "$1.new"
    if apt-get "${options[@]}" update -qq >&2 \
        && apt-get "${options[@]}" install -qq -y --download-only --no-install-recommends nix-bin >/dev/null; then
        for package in "$apt"/cache/archives/*.deb; do
            dpkg-deb -x "$package" "$1.new" || break
        done
    fi
    rm -rf "$apt"
    if [[ ! -x $1.new/usr/bin/nix ]]; then
        say "Debian trixie's Nix could not be fetched from the mirror that apt uses"
        rm -rf "$1.new"
        return 1
    fi
    rm -rf "$1"
    mv "$1.new" "$1"
}
