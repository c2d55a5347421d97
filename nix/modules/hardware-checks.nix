# What `hardware.strixhalo` refuses and what it warns of. `memory` is what gpu-memory.nix gives,
# `runtime` what gpu-runtime.nix gives.
{
  config,
  lib,
  memory,
  pkgs,
  runtime,
  withCwsr,
}:
let
  cfg = config.hardware.strixhalo;
  inherit (memory) pages pagesPerGiB;
  usedOption =
    if cfg.memory.pagesLimit != null then
      "hardware.strixhalo.memory.pagesLimit"
    else
      "hardware.strixhalo.memory.gttGiB";
  inGiB = number: toString (builtins.floor (number / (pagesPerGiB * 1.0)));

  kernelVersion = config.boot.kernelPackages.kernel.version;
  # One message for a package that is for another profile is enough.
  isPaired = pairing: runtime.pairedRocm == null || !runtime.isForProfile || pairing;

  # The kernel takes a dash for an underscore.
  parametersOf =
    name:
    lib.filter (
      parameter: lib.hasPrefix "${name}=" (lib.replaceStrings [ "-" ] [ "_" ] parameter)
    ) config.boot.kernelParams;
  # The parameters that have an option here, which has to be their only source.
  setTwice = option: parameter: {
    assertion = lib.length (parametersOf parameter) <= 1;
    message = ''
      boot.kernelParams has ${toString (parametersOf parameter)}: remove the one that is set there and
      use ${option}.'';
  };
  limitInModprobe = "[[:space:]]*options[[:space:]]+ttm[[:space:]](.*[[:space:]])?(pages_limit|page_pool_size)=.*";
  modprobeLines = map lib.trim (
    lib.filter (line: builtins.match limitInModprobe line != null) (
      lib.splitString "\n" config.boot.extraModprobeConfig
    )
  );
  setsGttsize =
    lib.any (lib.hasPrefix "amdgpu.gttsize=") config.boot.kernelParams
    || lib.hasInfix "gttsize" config.boot.extraModprobeConfig;
in
{
  assertions = [
    {
      assertion = cfg.memory.gttGiB == null || cfg.memory.pagesLimit == null;
      message = ''
        hardware.strixhalo.memory.gttGiB and hardware.strixhalo.memory.pagesLimit set the same
        limit: remove one of them.'';
    }
    {
      assertion = pages <= cfg.memory.installedGiB * pagesPerGiB;
      message = ''
        ${usedOption} lets the GPU map ${inGiB pages} GiB, more than the ${toString cfg.memory.installedGiB} GiB of
        hardware.strixhalo.memory.installedGiB: lower it, or say how much is installed.'';
    }
    (setTwice "hardware.strixhalo.memory.pagesLimit" "ttm.pages_limit")
    (setTwice "hardware.strixhalo.memory.pagePoolSize" "ttm.page_pool_size")
    (setTwice "hardware.strixhalo.cwsr" "amdgpu.cwsr_enable")
    (setTwice "hardware.strixhalo.lockupTimeout" "amdgpu.lockup_timeout")
    {
      assertion = !(cfg.rocm.unifiedMemory && cfg.rocm.profile == "vulkan");
      message = ''
        hardware.strixhalo.rocm.unifiedMemory = true is a switch of ROCm, and
        hardware.strixhalo.rocm.profile = "vulkan" has none: remove it.'';
    }
    {
      assertion = memory.poolPages <= pages;
      message = ''
        hardware.strixhalo.memory.pagePoolSize (${toString memory.poolPages}) is more than the
        ${toString pages} pages that the GPU may map, so the pool can never fill: lower it, or raise
        ${usedOption}.'';
    }
    {
      assertion = lib.versionAtLeast kernelVersion "6.16.9";
      message = ''
        boot.kernelPackages is Linux ${kernelVersion}, on which ROCm sees about 15 GB of the memory:
        6.16.9 or later is needed. Leave boot.kernelPackages to hardware.strixhalo.kernelPackages.'';
    }
    {
      assertion = runtime.isForProfile;
      message = ''
        ${runtime.packageName} is for another ROCm profile than
        hardware.strixhalo.rocm.profile = "${cfg.rocm.profile}", which picks the kernel and the
        environment: set hardware.strixhalo.rocm.profile = "${toString runtime.packageProfile}", which picks
        the package as well, or leave services.strixhalo.package out.'';
    }
    {
      assertion = isPaired (!runtime.isRocmBefore72 || lib.versionOlder kernelVersion "6.18.4");
      message = ''
        boot.kernelPackages is Linux ${kernelVersion}, on which ${runtime.rocm} faults: ROCm before 7.2
        needs a kernel before 6.18.4. Leave boot.kernelPackages and services.strixhalo.package to
        the profile, or set hardware.strixhalo.rocm.profile = "${
          if cfg.rocm.profile == "gfx1100-compat" then "gfx1151-native" else "gfx1100-compat"
        }".'';
    }
    {
      assertion = isPaired (runtime.isRocmBefore72 || lib.versionAtLeast kernelVersion "6.18.4");
      message = ''
        boot.kernelPackages is Linux ${kernelVersion}, too old for ${runtime.rocm}: ROCm 7.2 and later
        need 6.18.4 or later. Leave boot.kernelPackages and services.strixhalo.package to the
        profile, or set hardware.strixhalo.rocm.profile = "${
          if cfg.rocm.profile == "gfx1151-native" then "gfx1100-compat" else "gfx1151-native"
        }".'';
    }
    {
      # ROCm/ROCm#5724: the GPU's scheduler (MES 0x83) stops answering.
      assertion = pkgs.linux-firmware.version != "20251125";
      message = ''
        pkgs.linux-firmware is 20251125, with which this GPU hangs: update nixpkgs (20260110 and
        20260309 are good), or override linux-firmware.'';
    }
  ];

  warnings =
    lib.optional (pages > (cfg.memory.installedGiB - 6) * pagesPerGiB) ''
      ${usedOption} lets the GPU map ${inGiB pages} of ${toString cfg.memory.installedGiB} GiB: less than 6 GiB stay for
      the system, which then runs out of memory under load. Lower it.''
    ++ lib.optional setsGttsize ''
      amdgpu.gttsize is set in boot.kernelParams or boot.extraModprobeConfig. It is deprecated and
      conflicts with ttm.pages_limit: remove it and use hardware.strixhalo.memory.gttGiB.''
    ++ lib.optional (withCwsr && runtime.isRocmBefore72) ''
      hardware.strixhalo.cwsr = "on" lets the driver interrupt computations of ${runtime.rocm},
      which then write past their save area: page faults and resets of the GPU. Leave it at "auto".''
    # modprobe adds what is on the kernel's command line after what its files say.
    ++ lib.optional (modprobeLines != [ ]) ''
      boot.extraModprobeConfig has "${lib.concatStringsSep "\", \"" modprobeLines}". What the module puts on the
      kernel's command line wins: remove the line and use the options of hardware.strixhalo.memory.'';
}
