# shellcheck shell=bash
# Part of ./dev: packages of another Debian release beside the system.

# The base URL of the Debian mirror that this machine's apt uses; fails where it uses none.
debian_mirror() {
    have apt-get || return 1
    compgen -G '/var/lib/apt/lists/*Packages*' >/dev/null || update_packages
    # shellcheck disable=SC2016 # these are apt's variables
    apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null \
        | awk '$1 == "Debian" && $2 !~ /-/ { print $3; exit }' | grep .
}
