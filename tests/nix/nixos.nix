# Evaluates configurations with our modules and stand-ins for the parts of NixOS that they touch, so
# that nixpkgs' lib is all that is needed. What the stand-ins are given can be read back.
{ lib }:
let
  inherit (lib) mkOption types;
  any = mkOption {
    type = types.anything;
    default = { };
  };
  list = mkOption {
    type = types.listOf types.anything;
    default = [ ];
  };
  text = mkOption {
    type = types.lines;
    default = "";
  };
  flag =
    default:
    mkOption {
      type = types.bool;
      inherit default;
    };

  nixos.options = {
    assertions = mkOption {
      type = types.listOf types.unspecified;
      default = [ ];
    };
    warnings = list;
    boot = {
      kernelPackages = mkOption { type = types.raw; };
      kernelParams = list;
      kernelModules = list;
      extraModprobeConfig = text;
      initrd.kernelModules = list;
      initrd.availableKernelModules = list;
      loader = any;
    };
    hardware = {
      graphics.enable = flag false;
      enableRedistributableFirmware = flag false;
      cpu.amd.updateMicrocode = flag false;
    };
    environment = {
      etc = any;
      systemPackages = list;
      loginShellInit = text;
    };
    fileSystems = any;
    nix = any;
    nixpkgs = any;
    programs = any;
    specialisation = mkOption {
      type = types.attrsOf (types.submodule { options.configuration = mkOption { type = types.raw; }; });
      default = { };
    };
    system = any;
    time = any;
    virtualisation = any;
    networking = {
      hostName = any;
      useDHCP = flag false;
      firewall = {
        enable = flag true;
        allowedTCPPorts = list;
        allowedTCPPortRanges = list;
        trustedInterfaces = list;
        interfaces = any;
      };
    };
    services = {
      getty.helpLine = text;
      openssh = any;
      tuned = any;
      udev.extraRules = text;
    };
    systemd = {
      services = any;
      sockets = any;
      targets = any;
      tmpfiles.settings = any;
    };
    users.users = mkOption {
      type = types.attrsOf (
        types.submodule {
          freeformType = types.attrsOf types.anything;
          options.extraGroups = list;
        }
      );
      default = { };
    };
    users.groups = any;
  };

  # What these parts of NixOS make of it.
  behavior =
    { config, ... }:
    {
      # As the kernel's module reads it from 26.11 on; `system` is where the tests find it.
      config.system.kernel = { inherit (config.boot.kernelPackages.kernel) target buildDTBs; };
      config.environment.etc = lib.mkIf (config.services.tuned.recommend or { } != { }) {
        "tuned/recommend.conf".source = package "recommend.conf" "" // {
          value = config.services.tuned.recommend;
        };
      };
    };

  # Enough of a package for types.package, lib.getExe and "${package}".
  package = name: version: {
    type = "derivation";
    inherit name version;
    outPath = "${builtins.storeDir}/00000000000000000000000000000000-${name}";
    meta.mainProgram = "strixhalo";
  };
  # Kernel packages of today's nixpkgs, and of the second nixpkgs, whose kernel says less of itself.
  kernel = version: {
    kernel = package "linux" version // {
      target = "bzImage";
      buildDTBs = false;
    };
  };
  kernelOf2025 = version: {
    kernel = package "linux" version // {
      passthru = { };
      overrideAttrs = change: package "linux" version // (change { passthru = { }; }).passthru;
    };
    extend = change: kernelOf2025 version // change { } (kernelOf2025 version);
  };

  pkgs = {
    stdenv.hostPlatform.system = "x86_64-linux";
    linuxPackages = kernel "6.18.20";
    rocmPackages.clr.version = "7.2.3";
    linux-firmware.version = "20260309";
    formats.toml = _: {
      type = types.attrsOf types.anything // {
        description = "TOML value";
      };
      generate = name: value: package name "" // { inherit value; };
    };
    runCommand =
      name: environment: script:
      package name "" // environment // { inherit script; };
    writeShellScriptBin = name: text: package name "" // { inherit text; };
    writeShellScript = name: text: package name "" // { inherit text; };
  };

  # With what the real ones say of themselves.
  packages = lib.mapAttrs (name: passthru: package name "1" // passthru) {
    strixhalo = {
      rocmProfile = "gfx1100-compat";
      rocmVersion = "6.4.1";
      backendFeatures = [ "hip" ];
    };
    strixhalo-rocm7 = {
      rocmProfile = "gfx1151-native";
      rocmVersion = "7.2.3";
      backendFeatures = [ "hip" ];
    };
    strixhalo-vulkan = {
      rocmProfile = null;
      rocmVersion = null;
      backendFeatures = [ "vulkan" ];
    };
    strixhalo-hip-vulkan = {
      rocmProfile = "gfx1151-native";
      rocmVersion = "7.2.3";
      backendFeatures = [
        "hip"
        "vulkan"
      ];
    };
    strixhalo-cpu = {
      rocmProfile = null;
      rocmVersion = null;
      backendFeatures = [ ];
    };
  };

  modules = import ../../nix/modules {
    packagesFor = _: packages;
    linux617For = _: import ../../nix/linux-6_17.nix (kernelOf2025 "6.17.9");
  };

  evaluated =
    ours: configuration:
    lib.evalModules {
      modules = ours ++ [
        nixos
        behavior
        { _module.args.pkgs = lib.mkDefault pkgs; }
        configuration
      ];
    };
in
{
  inherit
    kernel
    package
    packages
    pkgs
    ;
  # One of them twice, as a user might import it.
  eval =
    configuration:
    (evaluated [
      modules.default
      modules.service
    ] configuration).config;
  evalService = configuration: (evaluated [ modules.service ] configuration).config;
  evalHardware = configuration: (evaluated [ modules.hardware ] configuration).config;
  # Without ours.
  evalAny = configurations: (evaluated configurations { }).config;
  inherit (evaluated [ modules.default ] { }) options;
  # The settings file: its value before the check, and the script that checks it.
  settings =
    config:
    let
      checked = config.environment.etc."strixhalo/settings.toml".source;
    in
    {
      inherit (checked) script;
      inherit (checked.unchecked) value;
    };
  failures = config: map (a: a.message) (lib.filter (a: !a.assertion) config.assertions);
}
