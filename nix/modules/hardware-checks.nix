# What `hardware.strixhalo` refuses and what it warns of. `memory` is what gpu-memory.nix gives.
{
  config,
  lib,
  memory,
  pkgs,
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

  # The server, where service.nix is used too. Our packages say which ROCm they run on (null: none)
  # and which profile they are for; of another package only hardware.strixhalo.rocm.version can tell.
  service = config.services.strixhalo or { enable = false; };
  package = if service.enable then service.package else { };
  packageName = "services.strixhalo.package (${lib.getName package})";
  pairedRocm = package.rocmVersion or cfg.rocm.version;
  rocmOf =
    if package ? rocmVersion then
      "ROCm ${pairedRocm} of ${packageName}"
    else
      "ROCm ${pairedRocm} (hardware.strixhalo.rocm.version)";
  packageProfile = package.rocmProfile or null;
  forThisProfile = packageProfile == null || packageProfile == cfg.rocm.profile;

  kernelVersion = config.boot.kernelPackages.kernel.version;
  wantsNewKernel = lib.versionAtLeast pairedRocm "7.2";
  # One message for a package that is for another profile is enough.
  isPaired = pairing: pairedRocm == null || !forThisProfile || pairing;
  otherProfile = if cfg.rocm.profile == "gfx1100-compat" then "gfx1151-native" else "gfx1100-compat";

  # The kernel takes a dash for an underscore.
  parametersOf =
    name:
    lib.filter (
      parameter: lib.hasPrefix "${name}=" (lib.replaceStrings [ "-" ] [ "_" ] parameter)
    ) config.boot.kernelParams;
  pageLimits = parametersOf "ttm.pages_limit";
  pagePools = parametersOf "ttm.page_pool_size";
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
    {
      assertion = lib.length pageLimits <= 1;
      message = ''
        boot.kernelParams has ${toString pageLimits}: remove the one that is set there and
        use hardware.strixhalo.memory.pagesLimit.'';
    }
    {
      assertion = lib.length pagePools <= 1;
      message = ''
        boot.kernelParams has ${toString pagePools}: remove the one that is set there and
        use hardware.strixhalo.memory.pagePoolSize.'';
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
      assertion = forThisProfile;
      message = ''
        ${packageName} is for another ROCm profile than
        hardware.strixhalo.rocm.profile = "${cfg.rocm.profile}", which picks the kernel and the
        environment: set hardware.strixhalo.rocm.profile = "${toString packageProfile}", which picks
        the package as well, or leave services.strixhalo.package out.'';
    }
    {
      assertion = isPaired (wantsNewKernel || lib.versionOlder kernelVersion "6.18.4");
      message = ''
        boot.kernelPackages is Linux ${kernelVersion}, on which ${rocmOf} faults: ROCm before 7.2
        needs a kernel before 6.18.4. Leave boot.kernelPackages and services.strixhalo.package to
        the profile, or set hardware.strixhalo.rocm.profile = "${otherProfile}".'';
    }
    {
      assertion = isPaired (!wantsNewKernel || lib.versionAtLeast kernelVersion "6.18.4");
      message = ''
        boot.kernelPackages is Linux ${kernelVersion}, too old for ${rocmOf}: ROCm 7.2 and later
        need 6.18.4 or later. Leave boot.kernelPackages and services.strixhalo.package to the
        profile, or set hardware.strixhalo.rocm.profile = "${otherProfile}".'';
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
    # modprobe adds what is on the kernel's command line after what its files say.
    ++ lib.optional (modprobeLines != [ ]) ''
      boot.extraModprobeConfig has "${lib.concatStringsSep "\", \"" modprobeLines}". What the module puts on the
      kernel's command line wins: remove the line and use the options of hardware.strixhalo.memory.'';
}
