#!/usr/bin/env bash
# Writes docs/options.md. NIX is the nix command, NIXPKGS_LIB the lib folder of nixpkgs, else
# <nixpkgs/lib> is taken.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
lib=${NIXPKGS_LIB:-<nixpkgs/lib>}
# In two steps: a page that fails must not empty the one there is.
page=$("${NIX:-nix}" --extra-experimental-features nix-command eval --store dummy:// --impure --raw \
    --expr "import ./nix/options-page.nix { lib = import $lib; }" && echo .)
printf '%s' "${page%.}" >docs/options.md
