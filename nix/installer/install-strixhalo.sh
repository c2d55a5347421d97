#!/bin/sh
# Installs NixOS with strixhalo on a disk: asks, partitions, copies the configuration, and calls
# nixos-install. It asks everything before it writes anything, so the rest needs nobody.
set -eu

usage() {
    cat <<'TEXT'
usage: install-strixhalo [--disk DISK] [--user NAME] [--ssh-key KEY] [--erase] [--flake FOLDER]

Installs NixOS with strixhalo on a disk. What is not given is asked.

  --disk DISK      the whole disk to install on, such as /dev/nvme0n1
  --user NAME      who logs in: may use sudo, the GPU and the models
  --ssh-key KEY    the SSH public key of this user, or the file that holds it
  --erase          erase the disk though it holds partitions or is mounted
  --flake FOLDER   the configuration to install (default: the one this stick came with)
TEXT
}

say() { printf '%s\n' "$*"; }
die() {
    printf 'install-strixhalo: %s\n' "$*" >&2
    exit 1
}

disk='' user='' key='' erase='' flake=/etc/strixhalo-flake
while [ $# -gt 0 ]; do
    case $1 in
        --disk | --user | --ssh-key | --flake)
            [ $# -ge 2 ] || die "$1 needs a value"
            case $1 in
                --disk) disk=$2 ;;
                --user) user=$2 ;;
                --ssh-key) key=$2 ;;
                --flake) flake=$2 ;;
            esac
            shift 2
            ;;
        --erase)
            erase=yes
            shift
            ;;
        -h | --help)
            usage
            exit 0
            ;;
        *)
            usage >&2
            die "there is no option $1"
            ;;
    esac
done

[ "$(id -u)" = 0 ] || die "this has to run as root: sudo install-strixhalo"
[ -e "$flake/flake.nix" ] || die "there is no configuration in $flake: name its folder with --flake"
! mountpoint -q /mnt || [ -n "$erase" ] \
    || die "something is mounted on /mnt, where the new system goes: umount -R /mnt"

# Nobody is there to ask in a script, which may bring a cache of its own.
if [ -t 0 ] && [ -z "$(ip route show default)$(ip -6 route show default)" ]; then
    die "there is no network: put a cable in, or set up Wi-Fi as the NixOS manual says. Nothing was changed"
fi

# ask QUESTION: the answer is in `answer`.
ask() {
    printf '%s ' "$1"
    IFS= read -r answer || die "no answer"
}

# A terminal is asked again; a script gets the error.
wrong() {
    [ -t 0 ] || die "$1"
    say "$1"
}

# -- which disk -------------------------------------------------------------------------------

# The disk and its partitions, the last one first: what lies on the disk has to go before it.
devices_of() { lsblk -nrpo NAME,TYPE "$1" | awk '$2 == "disk" || $2 == "part" { print $1 }' | sort -rV; }

# What is opened on them: volumes of LVM, arrays, encrypted disks. They may reach to other disks.
opened_on() { lsblk -nrpo NAME,TYPE "$1" | awk '$2 != "disk" && $2 != "part" { print $1 }' | sort -u; }

mounts_of() {
    devices_of "$1" | while read -r device; do
        findmnt -no TARGET -S "$device" || true
        ! grep -q "^$device " /proc/swaps || say "swap on $device"
    done
}

# The stick or the disk that this system runs from.
runs_system() { mounts_of "$1" | grep -qE '^(/|/iso|/nix|/nix/.*)$'; }

# Partitions, or a file system on the whole disk.
holds_data() { [ "$(devices_of "$1" | wc -l)" -gt 1 ] || [ -n "$(wipefs -n "$1")" ]; }

# Fails after saying why.
check_disk() {
    case $disk in /*) ;; *) disk=/dev/$disk ;; esac
    disk=$(readlink -f "$disk" || printf %s "$disk")
    if [ ! -b "$disk" ]; then
        wrong "there is no disk $disk; lsblk lists those there are"
    elif [ "$(lsblk -dnro TYPE "$disk")" != disk ]; then
        wrong "$disk is not a whole disk but a $(lsblk -dnro TYPE "$disk"): name the disk"
    elif runs_system "$disk"; then
        wrong "$disk is what this system runs from"
    elif [ -n "$(opened_on "$disk")" ]; then
        wrong "$disk is in use by $(opened_on "$disk" | tr '\n' ' ')- close it first: vgchange -an for LVM, mdadm --stop for an array, cryptsetup close for an encrypted disk"
    else
        return 0
    fi
    return 1
}

if [ -n "$disk" ]; then
    check_disk || exit 1
else
    lsblk -dpo NAME,SIZE,TRAN,MODEL -e 7,11
    until [ -n "$disk" ] && check_disk; do
        ask "Which disk shall strixhalo be installed on?"
        disk=$answer
    done
fi

mounts=$(mounts_of "$disk" | tr '\n' ' ')
if [ -z "$erase" ] && [ -n "$mounts" ]; then
    die "$disk is in use (${mounts% }): unmount it, or say --erase to lose all that is on it"
fi
if [ -z "$erase" ] && holds_data "$disk"; then
    lsblk -po NAME,SIZE,FSTYPE,LABEL "$disk"
    [ -t 0 ] || die "$disk holds partitions or a file system: say --erase to lose them"
    ask "All of this will be lost. Type \"erase\" to go on:"
    [ "$answer" = erase ] || die "nothing was changed"
fi

# -- who logs in ------------------------------------------------------------------------------

check_user() {
    case $user in
        root | nixos | strixhalo | nobody | sshd | messagebus | polkituser | nscd | nixbld* | systemd-*)
            wrong "$user is a user of the system: choose another name"
            ;;
        [a-z_]*)
            if [ "${#user}" -le 31 ] && [ -z "$(printf %s "$user" | tr -d 'a-z0-9_-')" ]; then
                return 0
            fi
            wrong "a login has at most 31 of a-z, 0-9, _ and -"
            ;;
        *) wrong "a login begins with a letter of a-z" ;;
    esac
    return 1
}

if [ -n "$user" ]; then
    check_user || exit 1
else
    until [ -n "$user" ] && check_user; do
        ask "Login of the one who runs the machine [admin]:"
        user=${answer:-admin}
    done
fi

check_key() {
    [ ! -f "$key" ] || key=$(tr -d '\r' <"$key")
    # One line: more keys are added afterwards, and a private one has no business here.
    if [ "$(printf %s "$key" | tr -d '[:cntrl:]')" = "$key" ] \
        && printf '%s\n' "$key" | ssh-keygen -l -f - >/dev/null 2>&1; then
        return 0
    fi
    wrong "that is no SSH public key: it is one line that begins with a type such as ssh-ed25519"
    return 1
}

if [ -n "$key" ]; then
    check_key || exit 1
else
    until [ -n "$key" ] && check_key; do
        say "SSH public key of $user: the line in ~/.ssh/id_ed25519.pub on the laptop, or a file here"
        ask ">"
        key=$answer
    done
fi

# Only a terminal is asked for a password, which nothing shows.
password=''
if [ -t 0 ]; then
    trap 'stty echo' EXIT
    trap 'stty echo; exit 130' INT
    while :; do
        stty -echo
        ask "Password of $user, for sudo and for the machine's own keyboard (not shown):"
        password=$answer
        ask "
Once more:"
        stty echo
        say ''
        [ "$password" != "$answer" ] || [ -z "$password" ] || break
        say "these differ, or are empty"
    done
    trap - EXIT INT
fi

# -- what the machine has ---------------------------------------------------------------------

# The kernel has what the firmware leaves it; the rest is carved out for the GPU.
carved_out=0
for total in /sys/class/drm/card*/device/mem_info_vram_total; do
    [ ! -r "$total" ] || carved_out=$(($(cat "$total") / 1073741824))
done
visible=$(awk '/^MemTotal:/ { print int($2 / 1048576) }' /proc/meminfo)
installed=''
for size in 128 96 64; do
    # The firmware keeps some for itself.
    if [ $((visible + carved_out)) -gt $((size - 16)) ]; then
        installed=$size
        break
    fi
done
if [ "$carved_out" -gt 4 ]; then
    say "The firmware gives $carved_out GiB to the GPU alone. Set the UMA frame buffer to the smallest value"
    say "that it offers before a model is loaded: the server then reaches all of the memory."
fi
# What the GPU may map, where the module has no default for so little.
gtt=''
if [ -z "$installed" ]; then
    gtt=$((visible > 7 ? visible - 6 : 1))
    say "This machine has less memory than 64 GiB: the GPU may map $gtt GiB of it."
fi

# -- the disk ---------------------------------------------------------------------------------

afterwards() {
    [ -n "$password" ] \
        || say "Before that, give $user a password for sudo: sudo nixos-enter --root /mnt -c 'passwd $user'"
    say "Then, from the laptop, with the address that \`ip -br a\` shows at the machine:"
    say "  rsync --partial --progress MODEL.gguf $user@ADDRESS:/srv/models/"
    say "  ssh -t $user@ADDRESS sudo nano /etc/nixos/hosts/strixhalo/default.nix   # the model's name"
    say "  ssh -t $user@ADDRESS sudo nixos-rebuild switch --flake /etc/nixos#strixhalo"
}
again() {
    say "The installation stopped. When the cause is mended, either of these goes on:"
    say "  sudo nixos-install --flake /mnt/etc/nixos#strixhalo --no-root-passwd --no-channel-copy"
    say "  sudo install-strixhalo --disk $disk --erase"
    say "When it is done, take the stick out and reboot."
    afterwards
}

say "Installing on $disk."
if mountpoint -q /mnt; then
    umount -R /mnt || die "/mnt cannot be unmounted: something uses it"
fi
devices_of "$disk" | while IFS= read -r device; do
    ! grep -q "^$device " /proc/swaps || swapoff "$device" || exit 1
    ! findmnt -n -S "$device" >/dev/null || umount -A "$device" || exit 1
done || die "$disk is in use, and could not be unmounted: see above"
devices_of "$disk" | while IFS= read -r device; do
    wipefs -qa "$device" || exit 1
done || die "$disk is held open by a program: see above. Some of it is erased already"
# The numbers are GPT's names for an EFI system partition and for Linux.
sfdisk -q --wipe always --wipe-partitions always "$disk" <<'TABLE' || die "$disk could not be partitioned"
label: gpt
size=2GiB, type=C12A7328-F81F-11D2-BA4B-00C04F8EC93B, name=BOOT
type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name=nixos
TABLE
udevadm settle
case $disk in
    *[0-9]) boot=${disk}p1 root=${disk}p2 ;;
    *) boot=${disk}1 root=${disk}2 ;;
esac
mkfs.fat -F 32 -n BOOT "$boot" >/dev/null
mkfs.ext4 -qF -L nixos "$root"
udevadm settle

mkdir -p /mnt
mount -o noatime "$root" /mnt
mkdir /mnt/boot
mount -o umask=0077 "$boot" /mnt/boot

# -- the configuration ------------------------------------------------------------------------

# nix_string TEXT: as Nix writes it.
nix_string() { printf '"%s"' "$(printf %s "$1" | sed -e 's/[\\"]/\\&/g' -e 's/\${/\\${/g')"; }
by_uuid() { printf '"/dev/disk/by-uuid/%s"' "$(blkid -s UUID -o value "$1")"; }

mkdir -p /mnt/etc/nixos
cp -r "$flake/." /mnt/etc/nixos
chmod -R u+w /mnt/etc/nixos
{
    say '# What install-strixhalo was told and found: this machine alone has it.'
    say '{'
    say '  hosts.strixhalo = {'
    say "    user = $(nix_string "$user");"
    say '    sshKeys = ['
    say "      $(nix_string "$key")"
    say '    ];'
    [ -z "$password" ] || say '    passwordFile = "/etc/strixhalo/password";'
    say '  };'
    [ -z "$installed" ] || say "  hardware.strixhalo.memory.installedGiB = $installed;"
    [ -z "$gtt" ] || say "  hardware.strixhalo.memory.gttGiB = $gtt;"
    say '  # Another disk may have file systems with the same labels.'
    say "  fileSystems.\"/\".device = $(by_uuid "$root");"
    say "  fileSystems.\"/boot\".device = $(by_uuid "$boot");"
    say '}'
} >/mnt/etc/nixos/hosts/strixhalo/local.nix

if [ -n "$password" ]; then
    # Not in the configuration, which everyone can read.
    mkdir -p /mnt/etc/strixhalo
    (
        umask 077
        printf '%s\n' "$password" | openssl passwd -6 -stdin >/mnt/etc/strixhalo/password
    )
fi

say "The server is compiled now, for this machine's own CPU and GPU. That takes up to an hour."
nixos-install --flake /mnt/etc/nixos#strixhalo --no-root-passwd --no-channel-copy || {
    again >&2
    exit 1
}

say ''
say "strixhalo is installed. Take the stick out and type: reboot"
afterwards
