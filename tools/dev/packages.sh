# shellcheck shell=bash
# Part of ./dev and of the test runners it starts: messages, and Debian and Ubuntu packages.

# Everything that is built, fetched or logged.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/strixhalo

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# Runs a command whose output goes to a log; what fails shows the end of it and where it is.
# quietly NAME COMMAND...
quietly() {
    local log=$cache/logs/$1.log
    shift
    mkdir -p "$cache/logs"
    ! "$@" >"$log" 2>&1 </dev/null || return 0
    tail -n 20 "$log" >&2
    say "the whole log is $log"
    return 1
}

as_root() {
    if [[ $(id -u) == 0 ]]; then "$@"; else sudo "$@"; fi
}

can_install() { have apt-get && { [[ $(id -u) == 0 ]] || have sudo; }; }

# Refreshes the package lists once; a machine that is offline keeps the lists it has.
lists_are_fresh=
update_packages() {
    [[ -z $lists_are_fresh ]] || return 0
    lists_are_fresh=yes
    can_install || return 0
    say "updating the package lists (apt-get update)"
    quietly apt-update as_root apt-get update -q || say "apt-get update failed; going on with the lists that are there"
}

# Installs packages, after saying so. Fails with the command to run where that is not possible.
install_packages() {
    have apt-get || die "missing: $*. Only Debian and Ubuntu are set up automatically: install these packages' equivalents"
    can_install || die "neither root nor sudo, and packages are missing; as root, run: apt-get install $*"
    update_packages
    say "installing Debian packages: $*"
    quietly apt-install as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-install-recommends "$@" \
        || die "apt-get could not install: $*"
}

offered() {
    have apt-cache || return 1
    # Images come without package lists.
    compgen -G '/var/lib/apt/lists/*Packages*' >/dev/null || update_packages
    [[ -n $(apt-cache search --names-only "^$1\$" 2>/dev/null) ]]
}
