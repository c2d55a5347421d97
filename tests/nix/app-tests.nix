# What `nix run` starts. Each test is { expected; actual; }.
{ lib }:
let
  inherit (import ./cases.nix { inherit lib; }) nixos;

  packages = nixos.packages // {
    rocm = nixos.package "rocm" "6.4.1";
    strixhalo-tools = nixos.package "strixhalo-tools" "1";
  };
  apps = import ../../nix/apps.nix {
    pkgs = nixos.pkgs // {
      inherit lib;
      # The script itself in the place of a program.
      writeShellApplication = { name, text, ... }: nixos.package name "1" // { outPath = text; };
    };
    self.packages.x86_64-linux = packages;
  };
  profiles = import ../../nix/modules/rocm-profiles.nix;
  linesOf = app: lib.splitString "\n" app.program;
  assignments = app: lib.filter (lib.hasPrefix "export ") (linesOf app);
in
{
  "the app runs ROCm 6.4.1 in the environment of its profile" = {
    expected = lib.mapAttrsToList (
      name: value: "export ${name}=\"\${${name}-${value}}\""
    ) profiles.gfx1100-compat;
    actual = assignments apps.default;
  };
  "it has the override, without which ROCm 6.4.1 sees no device" = {
    expected = true;
    actual = lib.elem ''export HSA_OVERRIDE_GFX_VERSION="''${HSA_OVERRIDE_GFX_VERSION-11.0.0}"'' (
      assignments apps.default
    );
  };
  "it starts the server with the arguments it is given" = {
    expected = true;
    actual = lib.elem ''exec ${lib.getExe packages.strixhalo} "$@"'' (linesOf apps.default);
  };
  "ROCm's own programs see the GPU the same way" = {
    expected = assignments apps.default;
    actual = assignments apps.rocm-tools;
  };
  "a package without ROCm is run as it is" = {
    expected = lib.getExe packages.strixhalo-cpu;
    actual = apps.cpu.program;
  };
}
