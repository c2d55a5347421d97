# Shell lines that give a program the variables that the service has, unless the caller has set them.
# An empty one is taken away: to llama.cpp an empty GGML_CUDA_ENABLE_UNIFIED_MEMORY is switched on as
# well.
{ lib }:
environment:
let
  # In double quotes, and in braces.
  quoted = lib.escape [
    "\\"
    "\""
    "$"
    "`"
    "}"
  ];
in
lib.concatStrings (
  lib.mapAttrsToList (name: value: ''
    export ${name}="''${${name}-${quoted value}}"
    [[ -n ''$${name} ]] || unset ${name}
  '') environment
)
