#!/usr/bin/env bash
# mmdebstrap's hook for the guest: the kernel with the few modules that are wanted, an initrd, and a
# boot without what a test has no use for. Under emulation each unit and module costs seconds.
#
#   customize.sh ROOT    (with mmdebstrap's environment, GUEST_NEW and GUEST_SOURCE)
set -euo pipefail
root=$1
boot_modules="virtio_pci virtio_blk ext4"
modules="$boot_modules nvme dm_mod vfat nls_cp437 nls_ascii virtio_rng virtio_console overlay loop fuse autofs4 tun dummy ttm amdgpu vgem unix_diag inet_diag tcp_diag"

# -- kernel -------------------------------------------------------------------------------------

export APT_CONFIG=$MMDEBSTRAP_APT_CONFIG
kernel=$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
[[ -n $kernel ]] || { echo "the mirror has no linux-image-amd64" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The package's scripts would make an initrd of their own, so it is only unpacked.
(cd "$work" && apt-get download -qq -o APT::Sandbox::User=root "$kernel")
dpkg-deb -x "$work"/*.deb "$work/kernel"
rm "$work"/*.deb
version=$(basename "$work"/kernel/boot/vmlinuz-*)
version=${version#vmlinuz-}
cp "$work/kernel/boot/vmlinuz-$version" "$GUEST_NEW/vmlinuz"

# All modules come in, so that modprobe can say what the wanted ones need; then only those stay.
target=$root/usr/lib/modules/$version
mkdir -p "$root/usr/lib/modules"
all=$work/kernel/usr/lib/modules
[[ -d $all ]] || all=$work/kernel/lib/modules
mv "$all/$version" "$target"
chroot "$root" depmod "$version"
needed() {
    local module
    for module in "$@"; do
        chroot "$root" modprobe -S "$version" --show-depends "$module" | sed -n 's/^insmod \([^ ]*\).*/\1/p'
    done | awk '!seen[$0]++'
}
# shellcheck disable=SC2086 # lists of words
{
    needed $boot_modules >"$work/boot-modules"
    needed $modules >"$work/modules"
}
mv "$target/kernel" "$work/all"
while read -r file; do
    file=${file#*/kernel/}
    mkdir -p "$target/kernel/$(dirname "$file")"
    # Unpacked now and not by the emulated processor.
    case $file in
        *.xz) chroot "$root" busybox xzcat <"$work/all/$file" >"$target/kernel/${file%.xz}" ;;
        *) cp "$work/all/$file" "$target/kernel/$file" ;;
    esac
done <"$work/modules"
find "$target" -maxdepth 1 -name 'modules.*' ! -name 'modules.builtin*' ! -name modules.order -delete
chroot "$root" depmod "$version"

# -- initrd -------------------------------------------------------------------------------------

initrd=$root/initrd
mkdir -p "$initrd"/{bin,dev,proc,sys,mnt,modules}
cp "$root/bin/busybox" "$initrd/bin/busybox"
while read -r file; do
    cp "$root/${file%.xz}" "$initrd/modules/"
    basename "${file%.xz}" >>"$initrd/modules/order"
done <"$work/boot-modules"
install -m 755 "$GUEST_SOURCE/init" "$initrd/init"
chroot "$root" busybox sh -c 'cd /initrd && busybox find . | busybox cpio -o -H newc' \
    >"$GUEST_NEW/initrd" 2>/dev/null
rm -r "$initrd"

# -- system -------------------------------------------------------------------------------------

echo guest >"$root/etc/hostname"
printf '127.0.0.1 localhost guest\n::1 localhost\n' >"$root/etc/hosts"
chroot "$root" systemd-machine-id-setup >/dev/null 2>&1
for unit in getty@tty1.service serial-getty@.service getty-static.service console-getty.service \
    systemd-logind.service dpkg-db-backup.timer fstrim.timer e2scrub_all.timer e2scrub_reap.service \
    systemd-hwdb-update.service systemd-udev-hwdb-update.service systemd-journal-catalog-update.service \
    ldconfig.service systemd-binfmt.service proc-sys-fs-binfmt_misc.automount systemd-pstore.service \
    systemd-timesyncd.service systemd-firstboot.service systemd-update-done.service \
    sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount sys-fs-fuse-connections.mount \
    dev-hugepages.mount systemd-rfkill.socket systemd-bsod.service systemd-hibernate-clear.service \
    systemd-pcrmachine.service systemd-pcrphase.service systemd-pcrphase-sysinit.service \
    systemd-tpm2-setup.service systemd-tpm2-setup-early.service systemd-pcrextend.socket \
    systemd-pcrlock.socket systemd-sysext.socket systemd-udev-load-credentials.service \
    systemd-ask-password-console.path systemd-ask-password-wall.path systemd-networkd-wait-online.service; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
mkdir -p "$root/etc/systemd/system-generators"
for generator in getty gpt-auto hibernate-resume rc-local ssh system-update sysv tpm2 debug; do
    ln -sf /dev/null "$root/etc/systemd/system-generators/systemd-$generator-generator"
done
# The journal is kept, so that tests can read what came before.
mkdir -p "$root/var/log/journal" "$root/etc/systemd/system/multi-user.target.wants"
install -D -m 755 "$GUEST_SOURCE/agent" "$root/usr/local/lib/guest/agent"
cat >"$root/etc/systemd/system/guest-agent.service" <<'UNIT'
[Unit]
Description=Runs the job
[Service]
ExecStart=/usr/local/lib/guest/agent
TasksMax=infinity
TimeoutStopSec=2
UNIT
ln -sf ../guest-agent.service "$root/etc/systemd/system/multi-user.target.wants/"
ln -sf /usr/lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
rm -rf "$root"/var/cache/apt/*.bin "$root"/var/lib/apt/lists/*
