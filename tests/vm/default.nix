# NixOS virtual machine tests: one file per behavior, found by listing this folder. `pkgs` has the
# flake's overlay: the nodes of such a test cannot add one. `flake` is the flake itself.
{
  pkgs,
  nixosModule,
  flake,
  lib ? pkgs.lib,
}:
let
  arguments = {
    inherit
      flake
      lib
      nixosModule
      pkgs
      ;
    # A node that serves on the CPU.
    server = import ./nodes/server.nix { inherit nixosModule; };
  };

  isTest = name: type: type == "regular" && lib.hasSuffix ".nix" name && name != "default.nix";
  files = lib.attrNames (lib.filterAttrs isTest (builtins.readDir ./.));

  # Most files describe machines; one is about a configuration that has to fail, and is a derivation.
  toDerivation =
    content: if lib.isDerivation content then content else pkgs.testers.runNixOSTest content;
in
lib.listToAttrs (
  map (file: {
    name = lib.removeSuffix ".nix" file;
    value = toDerivation (import (./. + "/${file}") arguments);
  }) files
)
