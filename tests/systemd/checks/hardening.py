"""What the service may do, and what it may not."""

import re

from harness import check, curl, expect, pid, read, run
from sandbox import probe
from unit import UNIT, ask, install


def exposure():
    text = run("systemd-analyze", "security", "--no-pager", UNIT)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", text)
    expect(found, text[-300:])
    value = float(found.group(1))
    expect(value < 2.0, f"exposure {value}")
    return f"exposure {value}"


@check("systemd-analyze security rates the unit below 2.0")
def _():
    return exposure()


@check("the process itself has no privileges and runs as its own user")
def _():
    lines = dict(line.split(":\t", 1) for line in read(f"/proc/{pid()}/status").splitlines() if ":\t" in line)
    user = run("id", "-u", "strixhalo")
    expect(lines["Uid"].split() == [user] * 4, lines["Uid"])
    got = [lines[name] for name in ("NoNewPrivs", "CapEff", "CapPrm", "CapBnd", "Seccomp")]
    expect(got == ["1", *["0" * 16] * 3, "2"], got)
    for group in ("render", "video"):
        number = run("getent", "group", group).split(":")[2]
        expect(number in lines["Groups"].split(), group, lines["Groups"])


@check("it may write to its own directories and nowhere else")
def _():
    creates = probe()["creates"]
    own = {"/var/lib/strixhalo", "/var/cache/strixhalo", "/run/strixhalo", "/tmp"}
    allowed = {path for path, answer in creates.items() if answer == "yes"}
    expect(allowed == own, creates)


@check("it reads models, what a load is checked against and what a GPU runtime reads, and nobody's files")
def _():
    reads = probe()["reads"]
    machine = {"/proc/meminfo", "/proc/buddyinfo", "/proc/vmstat", "/proc/cpuinfo"}
    wanted = {*machine, "/srv/models/model.gguf"}
    allowed = {path for path, answer in reads.items() if answer == "yes"}
    expect(allowed == wanted, reads)
    expect(not probe()["sees process 1"], "it sees other users' processes")


@check("it opens the GPU and no other device")
def _():
    devices = probe()["devices"]
    # A stand-in: what the filter lets through may still lack a driver.
    expect(devices["/dev/kfd"] in ("yes", "ENXIO", "ENODEV"), devices)
    expect(devices["/dev/null"] == "yes", devices)
    expect(devices["/dev/other"] == "EPERM", devices)
    # ProtectKernelLogs hides it.
    expect(devices["/dev/kmsg"] in ("ENOENT", "EPERM", "EACCES"), devices)


@check("it gains no privileges by a setuid program, nor can it make one")
def _():
    found = probe()
    expect(found["setuid program"] == found["uid"] == run("id", "-u", "strixhalo"), found)
    expect(found["setuid bit"] == "EPERM", found["setuid bit"])


@check("the unit for the CPU serves without a socket unit, devices and writable code")
def _():
    install("cpu")
    run("systemctl", "start", UNIT)
    expect(curl("/health", key=None)[0] == 200 and ask({"max_tokens": 4}, key=None)[0] == 200, "no answer")
    found = probe()
    expect(found["writable code"] in ("EPERM", "EACCES"), found["writable code"])
    expect(found["devices"]["/dev/kfd"] == "ENOENT", found["devices"])
    text = exposure()
    run("systemctl", "stop", UNIT)
    return text
