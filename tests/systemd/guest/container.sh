#!/usr/bin/env bash
# Boots a tree with systemd-nspawn, on a host whose process 1 need not be systemd. Runs in a mount
# namespace of its own (unshare -m), so nothing that is mounted here outlives it.
#
#   container.sh RUN TREE    (RUN becomes /guest)
set -uo pipefail
run=$1 tree=$2
mount --make-rprivate /
# systemd 256 and later refuse control groups of the first version, which hosts may still have.
while umount -l /sys/fs/cgroup 2>/dev/null; do :; done
mount -t cgroup2 cgroup2 /sys/fs/cgroup && mount -t tmpfs tmpfs /run || exit 1
group=/sys/fs/cgroup/strixhalo-tests.$$
mkdir "$group" || exit 1

container=
trap '[[ -z $container ]] || kill -KILL "$container" 2>/dev/null' TERM INT HUP
(
    echo 0 >"$group/cgroup.procs"
    # bpf: the device and address filters of units; with console=pipe it boots without a word.
    SYSTEMD_NSPAWN_LOCK=0 exec setpriv --pdeathsig KILL systemd-nspawn --quiet --register=no \
        --keep-unit --boot --directory="$tree" --volatile=overlay --console=read-only \
        --hostname=guest --link-journal=no --private-network --capability=all \
        --system-call-filter="bpf @keyring" --notify-ready=no --bind="$run:/guest"
) &
container=$!
wait "$container"
# Again: a signal ends the first wait early.
wait "$container" 2>/dev/null
echo 1 >"$group/cgroup.kill"
for ((tries = 0; tries < 50; tries++)); do
    if find "$group" -depth -type d -exec rmdir {} + 2>/dev/null; then break; fi
    sleep 0.1
done
