"""The server's unit in the guest."""

import json
import os

from harness import RENDERED, curl, read, run, write

UNITS = "/etc/systemd/system"
SETTINGS = "/etc/strixhalo/settings.toml"
UNIT = "strixhalo.service"
SOCKET = "strixhalo.socket"
CHAT = "/v1/chat/completions"


def install(variant):
    """Puts the unit files of a variant in place; nothing is started."""
    run("systemctl", "stop", SOCKET, UNIT, ok=False)
    for name, text in json.loads(read(RENDERED))[variant].items():
        path = f"{UNITS}/{name}"
        if text is not None:
            write(path, text)
        elif os.path.exists(path):
            os.unlink(path)
    run("systemctl", "daemon-reload")


def settle():
    """A server that is up, whatever the check before left."""
    run("systemctl", "reset-failed", SOCKET, UNIT, ok=False)
    run("systemctl", "start", SOCKET, UNIT)


def ask(body, **more):
    return curl(CHAT, body={"messages": [{"role": "user", "content": "Hello"}], **body}, **more)
