"""The life of the service: start, requests, reload, failures, stop."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

from harness import BASE, KEY, PATIENCE, Failed, check, curl, expect, journal, pid, read, run, show, until, write
from unit import CHAT, SETTINGS, SOCKET, UNIT, UNITS, ask, install, settle

# In no other text, so that it is found wherever it leaks to.
SECRET = "xylophone-4711"


@check("systemd takes the unit files as they are")
def _():
    run("useradd", "--system", "--home-dir", "/var/lib/strixhalo", "--shell", "/usr/sbin/nologin", "strixhalo")
    os.makedirs("/etc/strixhalo")
    os.makedirs("/srv/models")
    shutil.copy("settings.toml", SETTINGS)
    write("/etc/strixhalo/api-keys", f"{KEY}\n", 0o600)
    install("appliance")
    # The man page that the unit names is in the package and not here.
    said = run("systemd-analyze", "verify", "--man=no", f"{UNITS}/{UNIT}", f"{UNITS}/{SOCKET}")
    expect(not said, said)


@check("the unit is not active before the server says it is ready, and what comes after it waits")
def _():
    write(
        f"{UNITS}/dependent.service",
        f"[Unit]\nRequires={UNIT}\nAfter={UNIT}\n[Service]\nType=oneshot\nRemainAfterExit=true\nExecStart=/bin/true\n",
    )
    run("systemctl", "daemon-reload")
    run("systemctl", "start", SOCKET)
    # A server that is held before it is ready; some are faster than this.
    for _ in range(20):
        run("systemctl", "start", "--no-block", "dependent.service")
        held = until("a process", pid, pause=0.001)
        os.kill(held, signal.SIGSTOP)
        if show("ActiveState") == "activating":
            break
        os.kill(held, signal.SIGCONT)
        run("systemctl", "stop", UNIT)
    else:
        raise Failed("it was ready at once, 20 times")
    time.sleep(1)
    states = show("ActiveState"), show("ActiveState", "dependent.service")
    os.kill(held, signal.SIGCONT)
    expect(states == ("activating", "inactive"), states)
    until("the dependent unit", lambda: show("ActiveState", "dependent.service") == "active")
    expect(show("ActiveState") == "active", show("ActiveState"))
    ready = int(show("ActiveEnterTimestampMonotonic"))
    after = int(show("ExecMainStartTimestampMonotonic", "dependent.service"))
    expect(show("Type") == "notify-reload" and ready <= after, ready, after)
    status, _, text = curl("/health", key=None)
    expect((status, json.loads(text)["status"]) == (200, "ok"), status, text)


@check("the status line says what the server loads, then what it serves")
def _():
    seen = []
    # The demo model loads in a moment, so this may take more than one look.
    for _ in range(10):
        run("systemctl", "stop", UNIT)
        run("systemctl", "start", "--no-block", UNIT)

        def ready():
            text = show("StatusText")
            if text and text not in seen:
                seen.append(text)
            return show("ActiveState") == "active"

        until("readiness", ready, pause=0)
        if any(text.startswith(("loading ", "preparing ")) for text in seen):
            break
    expect(any(re.match(r"loading \d+ %, \d+/\d+ MB|preparing ", text) for text in seen), seen)
    last = show("StatusText")
    expect("127.0.0.1:8091" in last, last)
    return " -> ".join(seen)


@check("a first connection starts the server, which answers it")
def _():
    run("systemctl", "stop", UNIT)
    expect(show("ActiveState") == "inactive", show("ActiveState"))
    # systemd holds the port meanwhile.
    expect(show("ActiveState", SOCKET) == "active", show("ActiveState", SOCKET))
    status, _, text = ask({"max_tokens": 4})
    expect(status == 200 and json.loads(text)["usage"]["completion_tokens"] > 0, status, text)
    expect(show("ActiveState") == "active", show("ActiveState"))
    listening = run("ss", "-ltnH").splitlines()
    expect(len(listening) == 1, *listening)


@check("the key that systemd hands over is the only one, and nobody else can read it")
def _():
    answers = [curl("/v1/models", key=key)[0] for key in (None, "sk-wrong", KEY)]
    expect(answers == [401, 401, 200], answers)
    environment = read(f"/proc/{pid()}/environ").split("\0")
    expect(not any(KEY in value for value in environment), "the key is in the environment")
    wanted = "STRIXHALO_SERVER__API_KEY_FILE=/run/credentials/strixhalo.service/api-keys"
    expect(wanted in environment, *environment)
    for path in ("/etc/strixhalo/api-keys", wanted.partition("=")[2]):
        said = run("runuser", "-u", "nobody", "--", "cat", path, ok=False)
        expect("Permission denied" in said, path, said)
    said = run("runuser", "-u", "strixhalo", "--", "cat", "/etc/strixhalo/api-keys", ok=False)
    expect("Permission denied" in said, said)


@check("the journal has each request with its fields, and not what was asked")
def _():
    request = "check-journal-1"
    status, headers, text = curl(
        CHAT,
        "-H",
        f"X-Request-Id: {request}",
        body={"messages": [{"role": "user", "content": f"Hello {SECRET}"}], "max_tokens": 8},
    )
    expect(status == 200 and headers["x-request-id"] == request, status, headers)
    answer = json.loads(text)
    entry = until("the entry", lambda: journal("-u", UNIT, f"REQUEST_ID={request}"))[-1]
    wanted = {
        "REQUEST_ID": request,
        "MODEL": answer["model"],
        "ROUTE": CHAT,
        "STATUS": "200",
        "PROMPT_TOKENS": str(answer["usage"]["prompt_tokens"]),
        "COMPLETION_TOKENS": str(answer["usage"]["completion_tokens"]),
        "CLIENT": "127.0.0.1",
        "SYSLOG_IDENTIFIER": "strixhalo",
        "_SYSTEMD_UNIT": UNIT,
    }
    got = {name: entry.get(name) for name in wanted}
    expect(got == wanted, got)
    times = [float(entry[name]) for name in ("TTFT_MS", "DURATION_MS")]
    expect(0 < times[0] <= times[1], times)
    refused = curl("/v1/models", "-H", "X-Request-Id: check-journal-2", key="sk-wrong")[0]
    entry = until("the entry", lambda: journal("-u", UNIT, "REQUEST_ID=check-journal-2"))[-1]
    expect(entry["STATUS"] == str(refused) == "401", entry)
    everything = json.dumps(journal("-u", UNIT))
    leaks = [word for word in (SECRET, KEY, "sk-wrong") if word in everything]
    expect(not leaks, "in the journal", leaks)


@check("an entry has the priority of its level")
def _():
    entry = journal("-u", UNIT, "REQUEST_ID=check-journal-1")[-1]
    expect(entry["PRIORITY"] == "6", entry["PRIORITY"])


@check("saved prompts lie in the cache directory that the unit makes, for its user alone")
def _():
    lines = [entry["MESSAGE"] for entry in journal("-u", UNIT)]
    told = [line for line in lines if line.startswith("saved states: ")]
    expect(told and told[-1].endswith(" in /var/cache/strixhalo/prompts"), told)
    directory = os.stat("/var/cache/strixhalo")
    expect(directory.st_mode & 0o777 == 0o700, oct(directory.st_mode))
    expect(str(directory.st_uid) == run("id", "-u", "strixhalo"), directory.st_uid)


@check("systemctl reload applies new settings to the same process")
def _():
    before = pid()
    text = read(SETTINGS)
    write(SETTINGS, text.replace("[limits]\n", "[limits]\nmax_tokens = 3\n"))
    try:
        run("systemctl", "reload", UNIT)
        status, _, answer = ask({"max_tokens": 50, "ignore_eos": True})
    finally:
        write(SETTINGS, text)
    tokens = json.loads(answer)["usage"]["completion_tokens"]
    expect(status == 200 and tokens == 3, status, answer)
    run("systemctl", "reload", UNIT)
    expect(pid() == before and show("ActiveState") == "active", before, pid())


@check("a reload with a mistake changes nothing, and the status line says so")
def _():
    before = pid()
    text = read(SETTINGS)
    write(SETTINGS, text + "\n[server]\nprot = 1\n")
    run("systemctl", "reload", UNIT, ok=False)
    line = show("StatusText")
    write(SETTINGS, text)
    expect("not reloaded" in line and "prot" in line, line)
    expect(pid() == before and ask({"max_tokens": 4})[0] == 200, before, pid())
    run("systemctl", "reload", UNIT)
    expect("not reloaded" not in show("StatusText"), show("StatusText"))


@check("a process that is killed is started again, and who connects meanwhile is answered")
def _():
    before, restarts = pid(), int(show("NRestarts"))
    os.kill(before, signal.SIGKILL)
    status = curl("/v1/models")[0]
    expect(status == 200, status)
    until("a new process", lambda: pid() not in (0, before))
    expect(int(show("NRestarts")) == restarts + 1, show("NRestarts"))


@check("the watchdog kills a process that was stopped, and the next one serves")
def _():
    # The unit waits two minutes.
    os.makedirs(f"{UNITS}/{UNIT}.d")
    write(f"{UNITS}/{UNIT}.d/watchdog.conf", "[Service]\nWatchdogSec=6\nTimeoutAbortSec=5\n")
    try:
        run("systemctl", "daemon-reload")
        run("systemctl", "restart", UNIT)
        before, restarts = pid(), int(show("NRestarts"))
        # It lives as long as it moves.
        time.sleep(8)
        expect(pid() == before, "killed although it answers")
        os.kill(before, signal.SIGSTOP)
        until("a restart", lambda: int(show("NRestarts")) > restarts and pid() not in (0, before))
        expect(not os.path.exists(f"/proc/{before}"), "the stopped process is still there")
        expect(ask({"max_tokens": 4})[0] == 200, "the next one does not answer")
        said = run("journalctl", "-u", UNIT, "-o", "cat")
        expect("Watchdog timeout" in said, said[-500:])
    finally:
        shutil.rmtree(f"{UNITS}/{UNIT}.d")
        run("systemctl", "daemon-reload")
        run("systemctl", "restart", UNIT)


class Stream:
    """A stream that would not end by itself."""

    def __init__(self):
        body = {"messages": [{"role": "user", "content": "Hello"}], "stream": True}
        body |= {"ignore_eos": True, "max_tokens": 1000000}
        self.path = "/tmp/stream"
        self.curl = subprocess.Popen(
            ["curl", "-sSN", "--fail", "-o", self.path, "-H", f"Authorization: Bearer {KEY}"]
            + ["-H", "Content-Type: application/json", "-d", json.dumps(body), BASE + CHAT],
            stderr=subprocess.PIPE,
        )
        until("a running stream", lambda: len(self.events()) > 5)

    def events(self):
        if not os.path.exists(self.path):
            return []
        return [line for line in read(self.path).splitlines() if line.startswith("data: ")]

    def end(self):
        """The last events, of an answer that is complete."""
        _, errors = self.curl.communicate(timeout=PATIENCE)
        expect(self.curl.returncode == 0, self.curl.returncode, errors)
        events = self.events()
        os.unlink(self.path)
        return events


@check("systemctl stop lets a running stream end properly")
def _():
    settle()
    stream = Stream()
    expect(stream.curl.poll() is None, "the stream is over before the stop")
    begun = time.monotonic()
    run("systemctl", "stop", UNIT)
    took = time.monotonic() - begun
    events = stream.end()
    expect(events[-1] == "data: [DONE]", events[-3:])
    reasons = [reason for event in events for reason in re.findall(r'"finish_reason": ?"(\w+)"', event)]
    expect(reasons == ["length"], reasons, events[-3:])
    result = show("Result"), show("ExecMainStatus"), show("ActiveState")
    expect(result == ("success", "0", "inactive"), result)
    return f"stopped within {took:.1f} s, drain_timeout 5"


@check("a restart refuses no connection and leaves no request without an answer")
def _():
    settle()
    wrong, answered, told, over = [], [], [], threading.Event()

    def requests():
        while not over.is_set():
            try:
                with socket.create_connection(("127.0.0.1", 8091), timeout=PATIENCE) as connection:
                    connection.sendall(
                        f"GET /v1/models HTTP/1.1\r\nHost: guest\r\nAuthorization: Bearer {KEY}\r\n"
                        "Connection: close\r\n\r\n".encode()
                    )
                    answer = b""
                    while part := connection.recv(65536):
                        answer += part
            except OSError as error:
                wrong.append(str(error))
                continue
            if answer.startswith(b"HTTP/1.1 200 "):
                answered.append(time.monotonic())
            elif answer.startswith(b"HTTP/1.1 503 ") and b"retry-after:" in answer and b"shutting_down" in answer:
                # It came in as the server began to stop.
                told.append(time.monotonic())
            else:
                wrong.append(answer[:200])

    threads = [threading.Thread(target=requests) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        processes = {pid()}
        for _ in range(3):
            some = len(answered) + 20
            until("answers", lambda: len(answered) > some or wrong)
            run("systemctl", "restart", UNIT)
            processes.add(pid())
        some = len(answered) + 20
        until("answers", lambda: len(answered) > some or wrong)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    expect(not wrong, f"{len(wrong)} of {len(wrong) + len(answered)}", wrong[:3])
    expect(len(processes) == 4, processes)
    expect(len(told) <= 2 * 3, f"{len(told)} were told to come again")
    return f"{len(answered)} requests over 3 restarts, {len(told)} more told to come again"


@check("settings with a mistake end the service at once, with status 78 and the mistake's name")
def _():
    text = read(SETTINGS)
    write(SETTINGS, text + "\n[server]\nprot = 1\n")
    try:
        run("systemctl", "stop", UNIT)
        run("systemctl", "reset-failed", UNIT, ok=False)
        run("systemctl", "start", UNIT, ok=False)
        got = show("ActiveState"), show("ExecMainStatus"), show("NRestarts")
        expect(got == ("failed", "78", "0"), got)
        time.sleep(4)
        expect(show("ActiveState") == "failed" and show("NRestarts") == "0", "it was tried again")
        said = run("journalctl", "-u", UNIT, "-o", "cat", "-n", "20")
        expect("unknown setting server.prot" in said, said)
    finally:
        write(SETTINGS, text)


@check("so does a model that is not there, with status 66")
def _():
    text = read(SETTINGS)
    write(SETTINGS, text.replace("[model]\n", '[model]\npath = "/srv/models/none.gguf"\n'))
    try:
        run("systemctl", "reset-failed", UNIT, ok=False)
        run("systemctl", "start", UNIT, ok=False)
        got = show("ActiveState"), show("ExecMainStatus"), show("NRestarts")
        expect(got == ("failed", "66", "0"), got)
    finally:
        write(SETTINGS, text)
        settle()
