# shellcheck shell=bash disable=SC2154 # build.sh sets binary
# Part of ./dev: running what was built.

server_pid=
base_url=

# Starts the binary on a free port with the built-in model, away from the user's settings.
# start_server LOG FLAGS...: sets server_pid and base_url. A server that does not come up gives
# its status, or 1.
start_server() {
    local log=$1 waited=0
    shift
    base_url=
    : >"$log"
    env -i PATH="$PATH" HOME="$HOME" "$binary" serve --port 0 "$@" >/dev/null 2>"$log" &
    server_pid=$!
    while ((waited < 600)) && kill -0 "$server_pid" 2>/dev/null; do
        base_url=$(sed -nE 's|.*listening on (http://[0-9.]+:[0-9]+).*|\1|p' "$log" | head -n 1)
        [[ -z $base_url ]] || return 0
        sleep 0.1
        waited=$((waited + 1))
    done
    stop_server || return
    return 1
}

# SIGTERM, then waits; the status is the server's.
stop_server() {
    local pid=$server_pid
    server_pid=
    [[ -n $pid ]] || return 0
    kill "$pid" 2>/dev/null || true
    wait "$pid"
}

# ask HOST:PORT BODY: one completion, without curl, which a bare machine lacks.
ask() (
    exec 3<>"/dev/tcp/${1%:*}/${1##*:}"
    printf 'POST /v1/completions HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s' \
        "$1" "${#2}" "$2" >&3
    timeout 120 cat <&3
)

# One completion of a prompt of several tokens on the built-in model: a bad ggml crashes here.
# Status 1: no answer; 2: the process died of a signal.
smoke_decode() {
    local log answer status=0
    log=$(mktemp)
    say "checking that the binary decodes a prompt"
    if start_server "$log"; then
        answer=$(ask "${base_url#http://}" '{"prompt":"Count from one to five:","max_tokens":2,"temperature":0}') || true
        stop_server || status=$?
        if [[ $status == 0 && $answer == *'"completion_tokens"'* ]]; then
            rm -f "$log"
            return 0
        fi
        say "the answer was: ${answer:-nothing}"
    else
        status=$?
    fi
    tail -n 20 "$log" >&2
    rm -f "$log"
    ((status <= 128)) || return 2
    return 1
}

serve() {
    build
    cat >&2 <<'TEXT'

Try it from another terminal (port 8091 unless you set another):

  curl http://127.0.0.1:8091/v1/chat/completions -H 'Content-Type: application/json' \
    -d '{"messages": [{"role": "user", "content": "What is the capital of France?"}]}'

TEXT
    # Huge pages for weights in main memory: docs/performance.md.
    GLIBC_TUNABLES=${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1} exec "$binary" serve "$@"
}

bench() {
    build
    if [[ ${1:-} == --compare ]]; then
        shift
        exec python3 tools/bench/compare.py --ours "$binary" "$@"
    fi
    exec "$binary" bench "$@"
}
