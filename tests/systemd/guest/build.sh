#!/usr/bin/env bash
# Builds the guest that the unit is tested in: a small Debian 13, as a tree for systemd-nspawn and as
# a disk, kernel and initrd for an emulated machine. Nothing to do where it is there already.
#
#   tests/systemd/guest/build.sh FOLDER MIRROR
#
# Debian 12's systemd is too old for the unit (Type=notify-reload), and the guest's kernel has to be
# one with the GPU drivers: linux-image-amd64, not the one for clouds.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$1 mirror=$2
suite=trixie
# libbpf1: the device and address filters; libnss-systemd: names of users that units make; the last
# line is what install-strixhalo calls.
packages=systemd,systemd-sysv,udev,dbus,libnss-systemd,libbpf1,iproute2,kmod,procps,curl,busybox-static,passwd,python3
packages+=,dmsetup,dosfstools,e2fsprogs,fdisk,mount,openssh-client,openssl,util-linux

mkdir -p "$folder"
exec {lock}>"$folder/lock"
flock "$lock"
key=$({ echo "$suite $mirror $packages"; cat "$here"/{build.sh,customize.sh,init,agent}; } | sha256sum | cut -c1-16)
[[ $(cat "$folder/image/key" 2>/dev/null) != "$key" ]] || exit 0

echo "building the guest for tests/systemd (Debian $suite), once" >&2
rm -rf "$folder"/{new,image}
mkdir -p "$folder/new"
log=$folder/build.log
export GUEST_NEW=$folder/new GUEST_SOURCE=$here
# A mirror that stands still looks expired.
if ! mmdebstrap --variant=essential --mode=root --format=directory \
    --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' \
    --aptopt='Acquire::Retries "5"' --aptopt='Acquire::Check-Valid-Until "false"' \
    --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt='path-exclude=/usr/lib/udev/hwdb.d/*' \
    --include="$packages" --customize-hook="'$here/customize.sh' \"\$1\"" \
    "$suite" "$folder/new/tree" "$mirror" >"$log" 2>&1 {lock}>&-; then
    tail -n 15 "$log" >&2
    rm -rf "$folder/new"
    echo "the guest could not be built; the whole log is $log" >&2
    exit 1
fi

tree=$folder/new/tree
# Nothing was updated since the last boot: systemd need not look.
touch "$tree/etc/.updated" "$tree/var/.updated"
# Each run starts from this disk and keeps no change, so it needs no journal.
mkfs.ext4 -q -F -d "$tree" -m 0 -O ^has_journal,^metadata_csum -E lazy_itable_init=1,nodiscard \
    "$folder/new/disk" "$(($(du -sm "$tree" | cut -f1) + 512))M"
echo "$key" >"$folder/new/key"
mv "$folder/new" "$folder/image"
