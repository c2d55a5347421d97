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
  release = lib.importJSON ../../nix/packages/rocm-6.4.1.json;
  commands = [
    "doctor"
    "plan"
    "verify-gpu"
  ];
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
  "doctor, plan and verify-gpu are the same program in the same environment" = {
    expected = lib.genAttrs commands (_: {
      environment = assignments apps.default;
      starts = true;
    });
    actual = lib.genAttrs commands (name: {
      environment = assignments apps.${name};
      starts = lib.elem ''exec ${lib.getExe packages.strixhalo} ${name} "$@"'' (linesOf apps.${name});
    });
  };
  "each app says what it does" = {
    expected = [
      "bench"
      "cpu"
      "default"
      "doctor"
      "plan"
      "rocm-tools"
      "verify-gpu"
    ];
    actual = lib.attrNames (lib.filterAttrs (_: app: app.meta.description != "") apps);
  };
  "there is no clinfo, as the pinned ROCm has no OpenCL" = {
    expected = [
      false
      false
    ];
    actual = [
      (lib.hasInfix "clinfo" apps.rocm-tools.program)
      (lib.any (package: lib.hasInfix "opencl" package.name) release.packages)
    ];
  };
  "rocm-tools are in the pinned ROCm" = {
    expected = [ ];
    actual = lib.subtractLists (map (package: package.name) release.packages) [
      "rocminfo"
      "rocm-smi-lib"
      "hipcc"
    ];
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
