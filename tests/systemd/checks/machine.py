"""What takes a kernel of its own: its command line, modules and devices; runs in the machine."""

import grp
import json
import os
import stat

from harness import RENDERED, check, expect, main, read, run, until, write
from sandbox import probe

RULES = "/etc/udev/rules.d"
rendered = json.loads(read(RENDERED))


def parameter(module, name):
    return read(f"/sys/module/{module}/parameters/{name}").strip()


def access(path):
    found = os.stat(path)
    return grp.getgrgid(found.st_gid).gr_name, f"{stat.S_IMODE(found.st_mode):o}"


def opens(path, *groups):
    """Whether a user with these groups may open a device."""
    numbers = ",".join(str(grp.getgrnam(group).gr_gid) for group in groups)
    membership = ["--groups", numbers] if groups else ["--clear-groups"]
    command = ["setpriv", "--reuid", "65534", "--regid", "65534", *membership, "--"]
    said = run(*command, "sh", "-c", f": <>{path} && echo opened", ok=False)
    return "opened" in said


@check("the hardware module's ttm.pages_limit is what the GPU's memory manager goes by")
def _():
    expect(rendered["kernelParams"] in read("/proc/cmdline"), read("/proc/cmdline"))
    run("modprobe", "ttm")
    got = parameter("ttm", "pages_limit"), parameter("ttm", "page_pool_size")
    expect(got == (str(rendered["pages"]), str(rendered["poolPages"])), got)
    return f"pages_limit {got[0]}, page_pool_size {got[1]}"


@check("a file in modprobe.d sets what the kernel command line does not, which wins")
def _():
    run("modprobe", "-r", "ttm")
    write("/etc/modprobe.d/ttm.conf", "options ttm pages_limit=4096 dma32_pages_limit=12345\n")
    run("modprobe", "ttm")
    got = parameter("ttm", "dma32_pages_limit"), parameter("ttm", "pages_limit")
    expect(got == ("12345", str(rendered["pages"])), got)
    os.unlink("/etc/modprobe.d/ttm.conf")


@check("the module's udev rules give the GPU to the group render, whatever other rules say")
def _():
    # A distribution may let everyone in.
    write(f"{RULES}/60-open.rules", 'SUBSYSTEM=="kfd", MODE="0666"\nSUBSYSTEM=="drm", KERNEL=="renderD*", MODE="0666"\n')
    # Where NixOS writes services.udev.extraRules.
    write(f"{RULES}/99-local.rules", rendered["udevRules"])
    run("udevadm", "verify", f"{RULES}/99-local.rules")
    run("udevadm", "control", "--reload")
    # A render node without hardware, and the real driver, which makes /dev/kfd.
    run("modprobe", "vgem")
    run("modprobe", "amdgpu")
    run("udevadm", "settle", "-t", "60")
    for path in ("/dev/kfd", "/dev/dri/renderD128"):
        until(path, lambda: os.path.exists(path))  # noqa: B023
        expect(access(path) == ("render", "660"), path, access(path))


@check("the card belongs to the group video")
def _():
    expect(access("/dev/dri/card0")[0] == "video", access("/dev/dri/card0"))


@check("only members of render may open the GPU")
def _():
    for path in ("/dev/kfd", "/dev/dri/renderD128"):
        # Without hardware the driver refuses; that is after the permission.
        expect(not opens(path), path, "open to everyone")
    expect(opens("/dev/dri/renderD128", "render"), "closed to its group")


@check("under the unit's settings the GPU's real devices can be opened, and no disk or log")
def _():
    run("useradd", "--system", "--home-dir", "/var/lib/strixhalo", "--shell", "/usr/sbin/nologin", "strixhalo")
    os.makedirs("/etc/strixhalo")
    write("/etc/strixhalo/api-keys", "sk-test\n", 0o600)
    for name, text in rendered["appliance"].items():
        write(f"/etc/systemd/system/{name}", text)
    run("mknod", "-m", "666", "/dev/other", "c", "10", "229")
    devices = probe()["devices"]
    expect(devices["/dev/dri/renderD128"] == "yes", devices)
    # Let through by the filter and the group; there is no GPU behind it.
    expect(devices["/dev/kfd"] not in ("EPERM", "EACCES", "ENOENT"), devices)
    refused = {devices[path] for path in ("/dev/vda", "/dev/kmsg", "/dev/other")}
    expect(refused <= {"EPERM", "EACCES"}, devices)
    return f"/dev/kfd {devices['/dev/kfd']}"


main()
