# shellcheck shell=bash
# Part of ./dev: packages of another Debian release beside the system, in a folder or a chroot.

readonly debian_keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# The base URL of the Debian mirror that this machine's apt uses; fails where it uses none.
debian_mirror() {
    have apt-get || return 1
    compgen -G '/var/lib/apt/lists/*Packages*' >/dev/null || update_packages
    # shellcheck disable=SC2016 # these are apt's variables
    apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null \
        | awk '$1 == "Debian" && $2 !~ /-/ { print $3; exit }' | grep .
}

# Unpacks packages of another release; "whole" with all that they depend on, "alone" without. Fails,
# after saying why, where they cannot be had. unpack_debian FOLDER SUITE whole|alone PACKAGE...
unpack_debian() {
    local folder=$1 suite=$2 extent=$3 mirror apt
    local -a options fetch=(download)
    shift 3
    if ! mirror=$(debian_mirror) || [[ ! -e $debian_keyring ]]; then
        say "Debian $suite's $* cannot be had: that takes a Debian machine, whose apt names a mirror"
        return 1
    fi
    [[ $extent != whole ]] || fetch=(install -y --download-only --no-install-recommends)
    apt=$(mktemp -d)
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
    : >"$apt/status"
    echo "deb [signed-by=$debian_keyring] $mirror $suite main" >"$apt/sources.list"
    options=(
        -q -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o "Dir::State::lists=$apt/lists" -o "Dir::State::status=$apt/status" -o "Dir::Cache=$apt/cache"
        # A mirror that stands still, as some in companies do, looks expired.
        -o Acquire::Languages=none -o Acquire::Check-Valid-Until=false -o APT::Sandbox::User=root
    )
    say "unpacking Debian $suite's $* in $folder"
    rm -rf "$folder.new"
    # Downloads go to the current folder.
    if quietly "$suite-update" apt-get "${options[@]}" update \
        && (cd "$apt/cache/archives" && quietly "$suite-fetch" apt-get "${options[@]}" "${fetch[@]}" "$@") \
        && unpack_archives "$folder.new" "$apt"/cache/archives/*.deb; then
        rm -rf "$apt" "$folder"
        mv "$folder.new" "$folder"
        return
    fi
    rm -rf "$apt" "$folder.new"
    say "Debian $suite's $* could not be fetched from the mirror that apt uses"
    return 1
}

# unpack_archives FOLDER ARCHIVE...
unpack_archives() {
    local archive folder=$1
    shift
    mkdir -p "$folder"
    for archive in "$@"; do
        dpkg-deb -x "$archive" "$folder" || return
    done
}

# A chroot of Debian sid, with what the function INSTALL, which is given a folder, puts into it.
# make_sid_chroot FOLDER INSTALL
make_sid_chroot() {
    local mirror folder=$1
    mirror=$(debian_mirror) || die "Debian's mirror is unknown: this takes a Debian machine, whose apt names one"
    have debootstrap || install_packages debootstrap
    [[ -e $debian_keyring ]] || install_packages debian-archive-keyring
    say "installing Debian sid in $folder"
    rm -rf "$folder" "$folder.new"
    mkdir -p "$(dirname "$folder")"
    quietly debootstrap debootstrap --variant=minbase --keyring="$debian_keyring" sid "$folder.new" "$mirror" \
        || die "debootstrap failed"
    printf 'deb %s %s main\n' "$mirror" sid "$mirror" experimental >"$folder.new/etc/apt/sources.list"
    # A mirror that stands still looks expired.
    printf 'Acquire::Check-Valid-Until "false";\nAPT::Install-Recommends "false";\n' \
        >"$folder.new/etc/apt/apt.conf.d/90strixhalo"
    quietly chroot-update env LC_ALL=C chroot "$folder.new" apt-get update -q \
        || die "apt-get update failed in $folder.new"
    "$2" "$folder.new"
    touch "$folder.new/.complete"
    mv "$folder.new" "$folder"
}

# chroot_install FOLDER PACKAGE..., with apt-get's options among them
chroot_install() {
    local folder=$1
    shift
    say "installing in it: $*"
    quietly chroot-install env DEBIAN_FRONTEND=noninteractive LC_ALL=C \
        chroot "$folder" apt-get install -y -q "$@" \
        || die "the packages could not be installed in $folder"
}

# Runs a command in a chroot, with folders of this machine in it, and no environment but what it is
# given. in_chroot FOLDER HOST=INSIDE... -- NAME=VALUE... COMMAND...: read-only, but for HOST+=INSIDE;
# HOST alone is in the same place inside.
in_chroot() {
    # A mount namespace of its own: what is mounted in it goes away with it.
    # shellcheck disable=SC2016 # expanded by the inner shell
    unshare --mount --propagation private bash -c '
        set -euo pipefail
        root=$1
        shift
        mount --rbind /dev "$root/dev"
        mount -t proc proc "$root/proc"
        while [[ $1 != -- ]]; do
            host=${1%%=*} inside=$root${1#*=}
            mkdir -p "$inside"
            mount --rbind "${host%+}" "$inside"
            [[ $host == *+ ]] || mount -o remount,bind,ro "$inside"
            shift
        done
        shift
        exec chroot "$root" /usr/bin/env -i "$@"
    ' in_chroot "$@"
}
