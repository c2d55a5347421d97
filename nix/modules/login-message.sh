#!/usr/bin/env bash
# What the doctor says of this machine in a few lines, for a login.
#
#   login-message.sh PROGRAM
#
# It never fails, and takes two seconds at most: a GPU whose driver hangs holds whoever asks it, also
# against a kill, and a login that waited for that would lock people out of the machine.
program=$1

IFS='' read -r -d '' -t 2 summary < <(exec "$program" doctor --summary </dev/null 2>/dev/null)
if (($? > 128)); then
    summary="strixhalo doctor gave no answer within 2 s; the GPU's driver may hang: journalctl -k"
fi
[[ -z $summary ]] || printf '%s\n' "${summary%$'\n'}"
exit 0
