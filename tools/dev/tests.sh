# shellcheck shell=bash disable=SC2154 # packages.sh sets cache, build.sh binary
# Part of ./dev: all tests, counted together.

passed=0
failed=0
skipped=0
scratch=
summary_due=

# sum_of PATTERN: the sum of the numbers in what matches on stdin; 0 if nothing does.
sum_of() { { grep -oE "$1" || true; } | tr -cd '0-9\n' | awk '{ n += $1 } END { print n + 0 }'; }

# count STATUS PASSED FAILED SKIPPED: a run that fails without naming a failed test is a failure.
count() {
    local bad=$3
    if (($1 != 0 && bad == 0)); then bad=1; fi
    passed=$((passed + $2))
    failed=$((failed + bad))
    skipped=$((skipped + $4))
}

# Of a runner that ends with "N passed, N failed, N skipped". count_last_line STATUS LOG
count_last_line() {
    local line
    line=$(tail -n 1 "$2")
    count "$1" \
        "$(sum_of '[0-9]+ passed' <<<"$line")" \
        "$(sum_of '[0-9]+ failed' <<<"$line")" \
        "$(sum_of '[0-9]+ skipped' <<<"$line")"
}

# summary MORE_FAILURES
summary() {
    summary_due=
    echo "$passed passed, $((failed + $1)) failed, $skipped skipped"
}

clean_up() {
    local status=$?
    jobs -p | xargs -r kill 2>/dev/null || true
    [[ -z $scratch ]] || rm -rf "$scratch"
    # What ended the tests before their end, such as a failed compile, is a failure too.
    [[ -z $summary_due ]] || summary 1
    exit "$status"
}
rust_tests() {
    local log=$scratch/cargo.log status=0
    # Some tests play a terminal or a debugger with it.
    have python3 || install_packages python3
    # One computes a memory plan from the same headers by another program.
    if python_environment tools/memory/requirements.txt; then
        export STRIXHALO_GGUF_PYTHON=$venv/bin/python
    fi
    say "== cargo test"
    cargo test --release --locked --no-fail-fast >"$log" || status=$?
    cat "$log" >&2
    count_results "$status" "$log"
}

# Of Rust's test programs. count_results STATUS LOG
count_results() {
    local results
    results=$(grep -E '^test result: ' "$2" || true)
    count "$1" \
        "$(sum_of '[0-9]+ passed' <<<"$results")" \
        "$(sum_of '[0-9]+ failed' <<<"$results")" \
        "$(sum_of '[0-9]+ ignored' <<<"$results")"
}

# An environment with the packages of a requirements file. Sets `venv`; fails after saying why.
# python_environment FILE
venv=
python_environment() {
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        install_packages python3 python3-venv
    fi
    venv=$cache/venv-$({ python3 --version; cat "$1"; } | sha256sum | cut -c1-16)
    [[ ! -e $venv/.complete ]] || return 0
    say "installing the packages of $1 in $venv"
    if python3 -m venv "$venv" && "$venv/bin/pip" install -q --disable-pip-version-check -r "$1" >&2; then
        touch "$venv/.complete"
        return
    fi
    say "the Python packages could not be installed"
    return 1
}

# The packages openai, anthropic and ollama for Python.
python_tests() {
    local log=$scratch/python.log status=0 ok verdict bad left_out
    say "== openai, anthropic and ollama for Python"
    if ! python_environment tests/api/python/requirements.txt; then
        count 1 0 0 0
        return
    fi
    PYTHONDONTWRITEBYTECODE=1 "$venv/bin/python" -m unittest discover -v -s tests/api/python \
        >"$log" 2>&1 || status=$?
    cat "$log" >&2
    verdict=$(tail -n 5 "$log" | grep -E '^(OK|FAILED)' || true)
    bad=$(sum_of '(failures|errors)=[0-9]+' <<<"$verdict")
    left_out=$(sum_of 'skipped=[0-9]+' <<<"$verdict")
    ok=$(($(sum_of '^Ran [0-9]+ tests?' <"$log") - bad - left_out))
    count "$status" "$((ok > 0 ? ok : 0))" "$bad" "$left_out"
}

# The openai and anthropic packages for Node.
node_tests() {
    local log=$scratch/node.log status=0 lock=tests/api/node/package-lock.json
    local installed=tests/api/node/node_modules/.installed-lock.json
    say "== openai and anthropic for Node"
    if ! have node || ! have npm; then
        install_packages nodejs npm
    fi
    if ! cmp -s "$lock" "$installed"; then
        say "installing the packages of $lock"
        if (cd tests/api/node && npm ci --no-audit --no-fund >&2); then
            cp "$lock" "$installed"
        else
            say "the Node packages could not be installed"
            count 1 0 0 0
            return
        fi
    fi
    (cd tests/api/node && node --test --test-reporter=tap ./*.test.mjs) >"$log" 2>&1 || status=$?
    cat "$log" >&2
    count "$status" \
        "$(sum_of '^# pass [0-9]+$' <"$log")" \
        "$(sum_of '^# (fail|cancelled) [0-9]+$' <"$log")" \
        "$(sum_of '^# (skipped|todo) [0-9]+$' <"$log")"
}

# Evaluates the NixOS modules: tests/nix says what it needs and skips what is not there.
nix_tests() {
    local log=$scratch/nix.log status=0
    [[ -x tests/nix/run.sh ]] || return 0
    say "== Nix modules"
    ensure_nix || true
    # Its TOML writer is the one that NixOS uses.
    if python_environment tests/nix/requirements.txt; then
        export JSON2TOML=$venv/bin/json2toml
    fi
    STRIXHALO=$binary tests/nix/run.sh >"$log" 2>&1 || status=$?
    cat "$log" >&2
    count_last_line "$status" "$log"
}

# The unit under a real systemd: tests/systemd says what it needs and skips what cannot run here.
systemd_tests() {
    local log=$scratch/systemd.log status=0
    say "== the unit under systemd"
    tests/systemd/run.sh --vm "$binary" >"$log" || status=$?
    cat "$log" >&2
    count_last_line "$status" "$log"
}

# The SDKs against two servers: one that is open and one that wants a key.
client_tests() {
    local open_pid key_pid status=0
    export BASE_URL AUTH_BASE_URL API_KEY=sk-strixhalo-test
    (umask 077 && printf '%s\n' "$API_KEY" >"$scratch/keys")
    if ! start_server "$scratch/open.log" --ctx-size 16384 --parallel 4 \
        --embedding-model tests/models/tiny-bert.gguf; then
        say "the server does not start:"
        cat "$scratch/open.log" >&2
        count 1 0 0 0
        return
    fi
    open_pid=$server_pid BASE_URL=$base_url
    if start_server "$scratch/key.log" --ctx-size 4096 --parallel 1 --api-key-file "$scratch/keys"; then
        key_pid=$server_pid AUTH_BASE_URL=$base_url
        python_tests
        node_tests
        server_pid=$key_pid
        stop_server || status=$?
    else
        status=$?
        say "the server with a key does not start:"
    fi
    server_pid=$open_pid
    stop_server || status=$?
    # Ending on SIGTERM with status 0 is a test of its own.
    if ((status == 0)); then
        count 0 1 0 0
    else
        say "a server ended with status $status; 0 is right after SIGTERM"
        tail -n 20 "$scratch/open.log" "$scratch/key.log" >&2
        count 1 0 1 0
    fi
}

run_tests() {
    summary_due=yes
    build
    scratch=$(mktemp -d)
    rust_tests
    nix_tests
    systemd_tests
    client_tests
    fuzz_tests
    summary 0
    ((failed == 0))
}
