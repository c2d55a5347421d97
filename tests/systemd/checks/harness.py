"""What the checks share: each is a function whose sentence is printed with its outcome."""

import json
import subprocess
import sys
import time

# How long anything may take on a busy machine.
PATIENCE = 120
BASE = "http://127.0.0.1:8091"
KEY = "sk-right-0123456789"
# Installed by the runner: the unit files, and what else the host rendered.
RENDERED = "rendered.json"

_checks = []


class Failed(Exception):
    """What was found in place of what the check wants."""


def check(sentence):
    """Registers a check; they run in the order in which they are written."""

    def register(function):
        _checks.append((sentence, function))
        return function

    return register


def expect(condition, *found):
    if not condition:
        raise Failed("; ".join(str(item) for item in found))


def run(*command, ok=True, timeout=PATIENCE):
    """The output of a command that has to succeed."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout
    )
    if ok and done.returncode != 0:
        raise Failed(f"{' '.join(command)}: status {done.returncode}: {done.stdout.strip()[-600:]}")
    return done.stdout.strip()


def until(what, condition, pause=0.1):
    """Waits for a condition and gives its value."""
    end = time.monotonic() + PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failed(f"not within {PATIENCE} s: {what}")
        time.sleep(pause)


def show(name, unit="strixhalo.service"):
    return run("systemctl", "show", "-P", name, unit)


def pid():
    return int(show("MainPID"))


def write(path, text, mode=0o644):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    subprocess.run(["chmod", f"{mode:o}", path], check=True)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def curl(path, *options, body=None, key=KEY):
    """Status, headers and text of an answer; no second try."""
    command = ["curl", "-sS", "-i", "--max-time", str(PATIENCE)]
    if key:
        command += ["-H", f"Authorization: Bearer {key}"]
    if body is not None:
        command += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
    head, _, text = run(*command, *options, BASE + path).replace("\r\n", "\n").partition("\n\n")
    first, *lines = head.split("\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(first.split()[1]), headers, text


def journal(*matches):
    """The entries with these fields, oldest first."""
    run("journalctl", "--sync")
    lines = run("journalctl", "-o", "json", "--all", *matches).splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def main():
    """Runs the checks: status 1 if one failed."""
    failures = 0
    for sentence, function in _checks:
        begun = time.monotonic()
        try:
            note = function()
        # A check that trips over its own surprise has failed, and the others still run.
        except Exception as error:  # noqa: BLE001
            failures += 1
            kind = "" if isinstance(error, Failed) else f"{type(error).__name__}: "
            print(f"FAIL {sentence}: {kind}{error}", flush=True)
        else:
            took = time.monotonic() - begun
            print(f"ok   {sentence}{f': {note}' if note else ''} ({took:.1f} s)", flush=True)
    if failures:
        print("-- the journal's last lines")
        print(run("journalctl", "-n", "60", "--no-pager", "-o", "short-monotonic", ok=False), flush=True)
    sys.exit(1 if failures else 0)
