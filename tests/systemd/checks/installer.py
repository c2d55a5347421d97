"""install-strixhalo on an empty NVMe disk, in the emulated machine. Only nixos-install is replaced: it
notes how it was called."""

import json
import os
import pty
import re
import select
import subprocess
import time

from harness import PATIENCE, Failed, check, expect, main, read, run, until, write

DISK = "/dev/nvme0n1"
INSTALLED = "installed.nix"
CALLED = "/run/nixos-install"
MARK = "/mnt/a-file-of-mine"
# With a blank, as desktops name what they mount.
MEDIA = "/media/My Disk"
# The pasted line, as Nix reads it from the fixture.
KEY = (
    re.search(r'sshKeys = \[\s*"(.*)"\s*\];', read(INSTALLED))
    .group(1)
    .replace('\\"', '"')
    .replace("\\${", "${")
    .replace("\\\\", "\\")
)
BY_FLAGS = ["--disk", DISK, "--user", "bob", "--ssh-key", "/run/key.pub", "--flake", "flake"]
GIB = 1 << 30


def nixos_install(status):
    write("/usr/local/bin/nixos-install", f'#!/bin/sh\necho "$*" >{CALLED}\nexit {status}\n', 0o755)


def script(*arguments):
    """Status and words of the command, for a script that answers nothing."""
    done = subprocess.run(
        ["sh", "install-strixhalo.sh", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
    )
    return done.returncode, done.stdout


def refused(words, *arguments):
    status, said = script(*arguments)
    expect(status == 1 and words in said, status, said)


def terminal(answers, *arguments):
    """The same at a terminal: each answer is typed when its question has been asked."""
    process, master = pty.fork()
    if process == 0:
        os.execvp("sh", ["sh", "install-strixhalo.sh", *arguments])
    said, asked, end = "", 0, time.monotonic() + PATIENCE
    while True:
        if time.monotonic() > end:
            raise Failed("not within time", said)
        if not select.select([master], [], [], 1)[0]:
            continue
        try:
            piece = os.read(master, 65536)
        except OSError:
            break
        if not piece:
            break
        said += piece.decode(errors="replace")
        if answers and re.search(answers[0][0], said[asked:]):
            asked = len(said)
            os.write(master, answers.pop(0)[1].encode() + b"\n")
    os.close(master)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    expect(not answers, "never asked", answers, said)
    return status, said


def partitions():
    return json.loads(run("sfdisk", "-J", DISK))["partitiontable"]


def value(name, device):
    return run("blkid", "-p", "-s", name, "-o", "value", device)


def local():
    """What was written for this machine, with the names that the fixture has for its file systems."""
    text = read("/mnt/etc/nixos/hosts/strixhalo/local.nix")
    for part, name in (("p1", "BOOT"), ("p2", "ROOT")):
        text = text.replace(f"by-uuid/{value('UUID', DISK + part)}", f"by-uuid/{name}")
    return text


@check("the disk that the system runs from is refused, whatever is said")
def _():
    run("modprobe", "nvme")
    until(DISK, lambda: os.path.exists(DISK))
    write("/run/key.pub", f"{KEY}\n")
    nixos_install(0)
    for erase in ([], ["--erase"]):
        refused("/dev/vda is what this system runs from", *BY_FLAGS[2:], "--disk", "/dev/vda", *erase)


@check("what is no disk, no login and no public key is refused, and nothing is written")
def _():
    refused("there is no disk /dev/nvme7n1", *BY_FLAGS, "--disk", "nvme7n1")
    refused("there is no disk /dev/by-idd/no", *BY_FLAGS, "--disk", "by-idd/no")
    refused("there is no configuration in /nowhere", *BY_FLAGS, "--flake", "/nowhere")
    for login in ("root", "sshd", "systemd-network", "Alice", "a b", "x" * 32):
        expect(script(*BY_FLAGS, "--user", login)[0] == 1, login)
    for key in ("hello", f"{KEY}\n{KEY}", "-----BEGIN OPENSSH PRIVATE KEY-----"):
        refused("no SSH public key", *BY_FLAGS, "--ssh-key", key)
    refused("there is no option --now", "--now")
    refused("needs a value", "--disk")
    expect(run("wipefs", "-n", DISK) == "", "something is on the disk")


def connect(connected):
    """Gives the machine a way out, as far as it can tell, or takes it away."""
    if connected:
        run("ip", "link", "add", "cable", "type", "dummy")
        run("ip", "address", "add", "192.0.2.1/24", "dev", "cable")
        run("ip", "link", "set", "cable", "up")
        run("ip", "route", "add", "default", "via", "192.0.2.2")
    else:
        run("ip", "link", "delete", "cable")


@check("at a terminal it asks for the disk, a login, a key and a password, and installs")
def _():
    connect(True)
    write("/run/meminfo", f"MemTotal: {94 * GIB // 1024} kB\n")
    run("mount", "--bind", "/run/meminfo", "/proc/meminfo")
    try:
        status, said = terminal(
            [
                ("Which disk", "sdz"),
                ("there is no disk /dev/sdz(.|\n)*Which disk", "nvme0n1"),
                ("Login.*admin", "0"),
                ("begins with a letter(.|\n)*Login", "alice"),
                ("> $", "rubbish"),
                ("no SSH public key(.|\n)*> $", KEY),
                ("Password", "secret word"),
                ("Once more", "another"),
                ("differ(.|\n)*Password", "secret word"),
                ("Once more", "secret word"),
            ],
            "--flake",
            "flake",
        )
    finally:
        run("umount", "/proc/meminfo")
    expect(status == 0, status, said)
    expect("secret" not in said, "the password was shown", said)
    expect("strixhalo is installed" in said, said)
    arguments = read(CALLED).split()
    expect(arguments == ["--flake", "/mnt/etc/nixos#strixhalo", "--no-root-passwd", "--no-channel-copy"], arguments)


@check("the disk has an EFI partition of 2 GiB and the rest for the system, mounted as it will be")
def _():
    table = partitions()
    first, second = table["partitions"]
    expect(table["label"] == "gpt", table)
    expect(first["type"] == "C12A7328-F81F-11D2-BA4B-00C04F8EC93B", first)
    expect(first["size"] * 512 == 2 * GIB, first)
    expect(first["start"] % 2048 == second["start"] % 2048 == 0, table)
    expect((value("TYPE", f"{DISK}p1"), value("LABEL", f"{DISK}p1")) == ("vfat", "BOOT"))
    expect((value("TYPE", f"{DISK}p2"), value("LABEL", f"{DISK}p2")) == ("ext4", "nixos"))
    expect(second["size"] > table["lastlba"] - first["size"] - 8192, table)
    mounts = {path: run("findmnt", "-nro", "SOURCE,OPTIONS", path) for path in ("/mnt", "/mnt/boot")}
    expect(mounts["/mnt"].startswith(f"{DISK}p2 ") and "noatime" in mounts["/mnt"], mounts)
    expect(mounts["/mnt/boot"].startswith(f"{DISK}p1 ") and "fmask=0077" in mounts["/mnt/boot"], mounts)


@check("the configuration is there, can be edited, and has what this machine alone has")
def _():
    for path in ("flake.nix", "flake.lock", "hosts/strixhalo/default.nix"):
        expect(read(f"/mnt/etc/nixos/{path}") == read(f"flake/{path}"), path)
        expect(os.stat(f"/mnt/etc/nixos/{path}").st_mode & 0o200, path)
    expect(local() == read(INSTALLED), local())


@check("the password is kept as a hash that only root can read, and nowhere else")
def _():
    path = "/mnt/etc/strixhalo/password"
    found = read(path).strip()
    salt = found.split("$")[2]
    expect(run("openssl", "passwd", "-6", "-salt", salt, "secret word") == found, found)
    expect(os.stat(path).st_mode & 0o777 == 0o600, oct(os.stat(path).st_mode))
    expect("secret" not in run("grep", "-r", "secret", "/mnt/etc/nixos", ok=False), "in the configuration")


@check("a disk that is mounted, or holds partitions, is left alone unless told")
def _():
    write(MARK, "mine\n")
    refused("mounted on /mnt", *BY_FLAGS)
    run("umount", "-R", "/mnt")
    os.makedirs(MEDIA, exist_ok=True)
    run("mount", f"{DISK}p2", MEDIA)
    refused(f"{DISK} is in use ({MEDIA})", *BY_FLAGS)
    run("umount", MEDIA)
    refused("holds partitions or a file system", *BY_FLAGS)
    status, said = terminal([("All of this will be lost", "yes")], *BY_FLAGS)
    expect(status == 1 and "nothing was changed" in said, status, said)
    run("mount", f"{DISK}p2", MEDIA)
    expect(read(f"{MEDIA}/a-file-of-mine") == "mine\n")


@check("what may reach to another disk is named with the way to close it, also when told to erase")
def _():
    run("umount", MEDIA)
    sectors = run("blockdev", "--getsz", f"{DISK}p1")
    run("dmsetup", "create", "opened", "--table", f"0 {sectors} linear {DISK}p1 0")
    before = value("UUID", f"{DISK}p1")
    refused("/dev/mapper/opened - close it first: vgchange -an", *BY_FLAGS, "--erase")
    run("dmsetup", "remove", "opened")
    expect(value("UUID", f"{DISK}p1") == before, "it was erased")
    run("mkswap", f"{DISK}p1")
    run("swapon", f"{DISK}p1")
    refused(f"{DISK} is in use (swap on {DISK}p1)", *BY_FLAGS)
    run("mount", f"{DISK}p2", MEDIA)


@check("without a network it stops before anything is erased")
def _():
    connect(False)
    status, said = terminal([], *BY_FLAGS, "--erase")
    expect(status == 1 and "there is no network" in said and "Nothing was changed" in said, status, said)
    expect(read(f"{MEDIA}/a-file-of-mine") == "mine\n")


@check("told to erase, it unmounts and installs anew, without a question")
def _():
    status, said = script(*BY_FLAGS, "--erase")
    expect(status == 0, status, said)
    expect(not os.path.exists(MARK), "the old file is still there")
    text = local()
    expect('user = "bob"' in text and "password" not in text and "installedGiB" not in text, text)
    expect("gttGiB = 1;" in text, text)
    expect("passwd bob" in said and "less memory than 64 GiB" in said, said)


@check("at a terminal the word erase is enough, and 64 GiB that the firmware took are named")
def _():
    run("umount", "-R", "/mnt")
    connect(True)
    card = "/sys/class/drm/card0/device"
    run("mount", "-t", "tmpfs", "tmpfs", "/sys/class/drm")
    os.makedirs(card)
    write(f"{card}/mem_info_vram_total", f"{64 * GIB}\n")
    write("/run/meminfo", f"MemTotal: {61 * GIB // 1024} kB\n")
    run("mount", "--bind", "/run/meminfo", "/proc/meminfo")
    try:
        status, said = terminal(
            [("All of this will be lost", "erase"), ("Password", "one"), ("Once more", "one")], *BY_FLAGS
        )
    finally:
        run("umount", "/proc/meminfo")
        run("umount", "/sys/class/drm")
    expect(status == 0, status, said)
    expect("gives 64 GiB to the GPU alone" in said and "smallest value" in said, said)
    expect("installedGiB = 128;" in local(), local())


@check("when the installation stops, it says how to go on")
def _():
    nixos_install(1)
    status, said = script(*BY_FLAGS, "--erase")
    expect(status == 1, status, said)
    expect("nixos-install --flake /mnt/etc/nixos#strixhalo" in said and f"--disk {DISK} --erase" in said, said)
    expect(os.path.exists("/mnt/etc/nixos/flake.nix"))


main()
