"""A probe in the server's place: the unit's own settings, another program."""

import functools
import json
import os
import shutil

from harness import Failed, read, run, write
from unit import UNITS

TOOLS = "/usr/local/lib/strixhalo-tests"


def _bait():
    """What the unit must not reach, open to everyone else."""
    os.makedirs(TOOLS, exist_ok=True)
    shutil.copy("checks/probe.py", f"{TOOLS}/probe.py")
    os.makedirs("/home/alice", exist_ok=True)
    os.makedirs("/srv/models", exist_ok=True)
    for directory in ("/root", "/home/alice", "/srv/models", "/etc/strixhalo"):
        os.chmod(directory, 0o755)
    for path in ("/home/alice/notes", "/root/notes", "/srv/models/model.gguf"):
        write(path, "text\n")
    os.chmod("/srv/models", 0o777)
    shutil.copy("/usr/bin/id", "/usr/local/bin/id-of-root")
    os.chmod("/usr/local/bin/id-of-root", 0o4755)
    # tun and fuse stand for the GPU and for another device: the filter goes by their numbers.
    for path, minor in (("/dev/kfd", 200), ("/dev/other", 229)):
        if not os.path.exists(path):
            os.mknod(path, 0o020666, os.makedev(10, minor))
            os.chmod(path, 0o666)


@functools.cache
def _probe(unit):
    _bait()
    write(f"{UNITS}/probe.service", unit)
    os.makedirs(f"{UNITS}/probe.service.d", exist_ok=True)
    write(
        f"{UNITS}/probe.service.d/probe.conf",
        "[Service]\nType=oneshot\nRestart=no\nWatchdogSec=0\nExecStart=\n"
        f"ExecStart=/usr/bin/python3 -B {TOOLS}/probe.py\n",
    )
    run("systemctl", "daemon-reload")
    run("systemctl", "start", "probe.service")
    run("journalctl", "--sync")
    lines = run("journalctl", "-u", "probe.service", "-o", "cat").splitlines()
    found = [line.removeprefix("PROBE ") for line in lines if line.startswith("PROBE ")]
    if not found:
        raise Failed("\n".join(lines[-10:]))
    return json.loads(found[-1])


def probe():
    """What a program may do under the settings of the unit that is installed."""
    return _probe(read(f"{UNITS}/strixhalo.service"))
