#!/usr/bin/env bash
# Boots the guest, runs a job in it, and passes on its output and its exit status.
#
#   boot.sh container|machine IMAGE SECONDS JOB COMMAND [KERNEL ARGUMENTS]
#
# JOB is a folder; COMMAND is a shell command, run in a copy of it as root. Status 124: it took more
# than SECONDS; 125: the guest did not boot or died. The machine is emulated: KVM is used nowhere,
# so that all hosts test the same.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
kind=$1 image=$2 limit=$3 job=$4 command=$5 arguments=${6:-}

guest=
follower=
run=$(mktemp -d)
end_guest() {
    [[ -n $guest ]] || return 0
    # The container's supervisor has something to clear up.
    if [[ $kind == container ]]; then kill -TERM "$guest"; else kill -KILL "$guest"; fi 2>/dev/null || true
    wait "$guest" 2>/dev/null || true
    guest=
}
# shellcheck disable=SC2317 # the trap runs it
clean_up() {
    local status=$?
    trap - EXIT
    set +e
    end_guest
    [[ -z $follower ]] || kill "$follower" 2>/dev/null
    rm -rf "$run"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 143' TERM
trap 'exit 130' INT
trap 'exit 129' HUP

printf '%s\n' "$command" >"$run/command"
tar -C "$run" --owner=0 --group=0 -cf "$run/job.tar" command
tar -C "$job" --owner=0 --group=0 -rf "$run/job.tar" .
truncate -s %512 "$run/job.tar"
: >"$run/output"
: >"$run/state"

start=$SECONDS
if [[ $kind == container ]]; then
    # A guest ends with this script, even when that is killed.
    unshare -m -- setpriv --pdeathsig TERM "$here/container.sh" "$run" "$image/tree" \
        </dev/null >"$run/console" 2>"$run/errors" &
else
    # An empty disk of the kind that the box has. It takes no room until it is written to.
    truncate -s 40G "$run/empty"
    processors=$(nproc)
    ((processors <= 4)) || processors=4
    TMPDIR=$run setpriv --pdeathsig KILL qemu-system-x86_64 \
        -accel tcg,thread=multi,tb-size=256 -cpu max -machine q35 -m 1024 -smp "$processors" \
        -nodefaults -no-user-config -display none -monitor none -nic none \
        -kernel "$image/vmlinuz" -initrd "$image/initrd" \
        -append "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off random.trust_cpu=on tsc=reliable cryptomgr.notests audit=0 net.ifnames=0 $arguments" \
        -chardev file,id=console,path="$run/console" -serial chardev:console \
        -device virtio-serial-pci \
        -chardev file,id=state,path="$run/state" -device virtserialport,chardev=state,name=guest.state \
        -chardev file,id=output,path="$run/output" -device virtserialport,chardev=output,name=guest.output \
        -drive file="$image/disk",if=none,id=root,format=raw,snapshot=on,cache=unsafe \
        -device virtio-blk-pci,drive=root,serial=root \
        -drive file="$run/job.tar",if=none,id=job,format=raw,readonly=on \
        -device virtio-blk-pci,drive=job,serial=job \
        -drive file="$run/empty",if=none,id=empty,format=raw,discard=unmap,cache=unsafe \
        -device nvme,drive=empty,serial=empty \
        </dev/null >/dev/null 2>"$run/errors" &
fi
guest=$!
tail -s 0.2 --pid="$guest" -c +1 -f "$run/output" &
follower=$!

in_time=yes
booted=
while kill -0 "$guest" 2>/dev/null; do
    if [[ -z $booted ]] && grep -q '^booted' "$run/state"; then
        booted=yes
        echo "the guest ($kind) is up after $((SECONDS - start)) s" >&2
    fi
    if ((SECONDS - start >= limit)); then
        in_time=
        break
    fi
    if grep -q '^exit ' "$run/state"; then
        # The last of the output.
        sleep 0.5
        break
    fi
    sleep 0.2
done
end_guest
wait "$follower" 2>/dev/null || true
follower=
status=$(sed -n 's/^exit //p' "$run/state" | tail -n 1)
echo "the guest ($kind) ended after $((SECONDS - start)) s" >&2
[[ -z $status ]] || exit "$status"
{
    echo "-- errors"
    tail -n 5 "$run/errors"
    echo "-- console"
    tail -n 25 "$run/console"
    echo "-- state"
    cat "$run/state"
} >&2
[[ -n $in_time ]] || exit 124
exit 125
