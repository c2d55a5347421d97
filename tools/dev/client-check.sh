# shellcheck shell=bash disable=SC2154 # packages.sh sets cache, build.sh binary
# Part of ./dev: real clients against the server, beyond those of ./dev test. They take some 9 GB, so
# this does not run with every change. tests/clients has the drivers.

clients=$cache/clients

# client_check [CLIENT...]: prints a table with versions and results, then the summary.
client_check() {
    local name
    have bwrap || install_packages bubblewrap
    have chromium || install_packages chromium
    if ! have node || ! have npm; then
        install_packages nodejs npm
    fi
    client_environment python tests/clients/python.txt tools/models/requirements.txt
    node_clients
    for name in aider "Open WebUI"; do
        if [[ $# == 0 || " $* " == *" $name "* ]]; then
            name=${name// /-}
            client_environment "${name,,}" "tests/clients/${name,,}.txt"
        fi
    done
    build
    say "== clients, where only loopback can be reached"
    PYTHONDONTWRITEBYTECODE=1 bwrap --dev-bind / / --unshare-net --die-with-parent \
        "$clients/python/bin/python" tests/clients/check.py "$binary" "$clients" "$@"
}

# A folder with the packages of requirements files. client_environment NAME FILE...
client_environment() {
    local folder=$clients/$1 wanted
    shift
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        install_packages python3 python3-venv
    fi
    wanted=$(python3 --version; cat "$@")
    if [[ -e $folder/.complete && $(<"$folder/.complete") == "$wanted" ]]; then
        return
    fi
    say "installing the packages of $* in $folder"
    rm -rf "$folder"
    mkdir -p "$clients"
    python3 -m venv "$folder"
    "$folder/bin/pip" install -q --disable-pip-version-check "${@/#/-r}" >&2 \
        || die "the packages of $* could not be installed"
    printf '%s' "$wanted" >"$folder/.complete"
}

node_clients() {
    local wanted=tests/clients/package.json folder=$clients/node
    mkdir -p "$folder/api"
    cp tests/api/node/*.mjs "$folder/api"
    if cmp -s "$wanted" "$folder/.complete"; then
        return
    fi
    say "installing the packages of $wanted in $folder"
    cp "$wanted" "$folder"
    (cd "$folder" && npm install --no-package-lock --no-audit --no-fund >&2) \
        || die "the packages of $wanted could not be installed"
    cp "$wanted" "$folder/.complete"
}
