"""Runs inside the unit's sandbox, in the server's place, and says what it may do there."""

import errno
import json
import mmap
import os
import subprocess


def attempt(action):
    """"yes", or the name of the error."""
    try:
        action()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error.errno))
    return "yes"


def reads(path):
    return attempt(lambda: os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK)))


def opens(path):
    return attempt(lambda: os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK)))


def creates(directory):
    path = os.path.join(directory, "probe")
    answer = attempt(lambda: os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)))
    attempt(lambda: os.unlink(path))
    return answer


def setuid_bit():
    path = "/var/lib/strixhalo/setuid"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o700))
    answer = attempt(lambda: os.chmod(path, 0o4755))
    os.unlink(path)
    return answer


def writable_code():
    return attempt(
        lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()
    )


def status():
    with open("/proc/self/status", encoding="utf-8") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def suid_program():
    """The user that a setuid program of root runs as."""
    done = subprocess.run(["/usr/local/bin/id-of-root", "-u"], capture_output=True, text=True)
    return done.stdout.strip() or done.stderr.strip()


state = status()
print(
    "PROBE "
    + json.dumps(
        {
            "devices": {
                path: opens(path)
                for path in ("/dev/null", "/dev/kfd", "/dev/dri/renderD128", "/dev/vda", "/dev/other")
            }
            | {"/dev/kmsg": reads("/dev/kmsg")},
            "creates": {
                path: creates(path)
                for path in (
                    "/var/lib/strixhalo",
                    "/var/cache/strixhalo",
                    "/run/strixhalo",
                    "/tmp",
                    "/",
                    "/etc",
                    "/etc/strixhalo",
                    "/usr",
                    "/var/lib",
                    "/var/log",
                    "/srv/models",
                    "/sys/kernel",
                    "/proc/sys/kernel",
                )
            },
            "reads": {
                path: reads(path)
                for path in (
                    "/proc/meminfo",
                    "/proc/buddyinfo",
                    "/proc/vmstat",
                    "/proc/cpuinfo",
                    "/srv/models/model.gguf",
                    "/home/alice/notes",
                    "/root/notes",
                    "/etc/strixhalo/api-keys",
                    "/proc/1/environ",
                )
            },
            "sees process 1": os.path.exists("/proc/1/status"),
            "setuid bit": setuid_bit(),
            "setuid program": suid_program(),
            "uid": str(os.getuid()),
            "writable code": writable_code(),
            "state": {name: state[name] for name in ("NoNewPrivs", "CapEff", "CapBnd", "Seccomp")},
        }
    ),
    flush=True,
)
