# `hardware.strixhalo`: what the machine needs around the server. Kernel, memory that the GPU may
# map, devices and who may open them, power, and the ROCm that goes with the kernel.
#
# Sources are named as owner/repository#thread. Descriptions have no tables: on them nixosOptionsDoc
# fails in some versions of nixpkgs, and writes HTML in others.
flake:
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.hardware.strixhalo;
  packages = flake.packagesFor pkgs.stdenv.hostPlatform.system;

  memory = import ./gpu-memory.nix {
    inherit (cfg.memory)
      installedGiB
      gttGiB
      pagesLimit
      pagePoolSize
      ;
  };
  runtime = import ./gpu-runtime.nix { inherit config lib; };
  withCwsr = cfg.cwsr == "on" || cfg.cwsr == "auto" && !runtime.isRocmBefore72;
  checks = import ./hardware-checks.nix {
    inherit
      config
      lib
      memory
      pkgs
      runtime
      withCwsr
      ;
  };

  environment =
    (removeAttrs environments.${cfg.rocm.profile} [ unifiedMemory ])
    // lib.optionalAttrs cfg.rocm.unifiedMemory { ${unifiedMemory} = "1"; };
  environments = import ./rocm-profiles.nix;
  unifiedMemory = "GGML_CUDA_ENABLE_UNIFIED_MEMORY";
  profiles = {
    gfx1100-compat = {
      package = packages.strixhalo;
      version = "6.4.1";
      kernelPackages = flake.linux617For pkgs.stdenv.hostPlatform.system;
    };
    gfx1151-native = {
      package = packages.strixhalo-rocm7;
      version = pkgs.rocmPackages.clr.version;
      kernelPackages = pkgs.linuxPackages;
    };
    vulkan = {
      package = packages.strixhalo-vulkan;
      version = null;
      kernelPackages = pkgs.linuxPackages;
    };
  };
  profile = profiles.${cfg.rocm.profile};
in
{
  imports = [ ./login-message.nix ];

  options.hardware.strixhalo = {
    enable = mkOption {
      type = types.bool;
      default = false;
      example = true;
      description = ''
        Whether to set up kernel, memory limits, devices and power for a machine with an AMD Ryzen
        AI MAX ("Strix Halo").

        In its firmware set-up, set the UMA frame buffer to the smallest value offered: 512 MB, on
        some boards 2 GB. What is carved out there is lost to the system, while GTT reaches all the
        rest. Never leave the choice to the firmware: on some boards that takes 64 GiB, and then
        the memory limits below promise what is not there.

        What it costs: kernel, IOMMU, power profile and sleep change for the whole machine and not
        only for the server; each has an option of its own.

        Source: reports from owners of a GMKtec EVO-X2, where the firmware's own choice took 64 GiB;
        Lemonade's list of questions says the same.
      '';
    };

    kernelPackages = mkOption {
      type = types.raw;
      default = profile.kernelPackages;
      defaultText = lib.literalMD ''
        Linux 6.17 from the flake's second nixpkgs for `gfx1100-compat`, `pkgs.linuxPackages` for
        the other profiles
      '';
      description = ''
        Kernel packages, given to {option}`boot.kernelPackages`, which overrides them.

        Kernels before 6.16.9 show ROCm about 15.5 GB of the memory. From 6.18.4 on the kernel
        exports other context sizes, on which ROCm before 7.2 faults, and which ROCm 7.2 and later
        want.

        What it costs: 6.17, which ROCm 6.4.1 needs, gets no more fixes, security fixes included.

        Source: ROCm/ROCm#5444 for 6.16.9; ROCm/TheRock#2991 and ollama/ollama#13589 for 6.18.4.
      '';
    };

    memory = {
      installedGiB = mkOption {
        type = types.enum [
          64
          96
          128
        ];
        default = 128;
        description = ''
          Memory that is soldered to the board. It picks the default of what the GPU may map:

          - 128: 30,720,000 pages, 117.19 GiB
          - 96: 23,040,000 pages, 87.89 GiB
          - 64: 14,848,000 pages, 56.64 GiB

          What it costs: where it says more than there is, the GPU may take all of the host's memory;
          where it says less, the rest stays out of the GPU's reach.

          Source: the set-up that this replaces had the values for 128 and 64; 96 follows their rule.
        '';
      };
      gttGiB = mkOption {
        type = types.nullOr types.numbers.positive;
        default = null;
        example = 112;
        description = ''
          GiB of system memory that the GPU may map (GTT), for weights, context and compute buffers;
          one GiB is 262,144 pages of `ttm.pages_limit`. Unset: what
          {option}`hardware.strixhalo.memory.installedGiB` says. The kernel's own default is half of
          the memory.

          With unified memory ({option}`hardware.strixhalo.rocm.unifiedMemory`) this limit does not
          bound the model: its weights are then ordinary memory of the server, and the GTT stays
          nearly empty.

          What it costs: nothing while it is not used. Used to the last GiB it leaves the host short;
          people run 80 to 112 of 128, and at 120 and more the host suffers under load.

          Source: the kernel's drivers/gpu/drm/ttm/ttm_device.c for its default; for what people run,
          reported by users, no single source.
        '';
      };
      pagesLimit = mkOption {
        type = types.nullOr types.ints.positive;
        default = null;
        example = 30720000;
        description = ''
          The same as {option}`hardware.strixhalo.memory.gttGiB`, as the raw value of
          `ttm.pages_limit`, in pages of 4096 bytes. Only one of the two may be set.

          What it costs: what `gttGiB` costs, and it is easily set too low: the set-up that this
          replaces counted 256,000 pages as one GB, which is 0.98 GiB.

          Source: the kernel's drivers/gpu/drm/ttm/ttm_tt.c; noamsto/nix-amd-ai#42, where 25,165,824
          pages gave a GTT of exactly 96 GiB.
        '';
      };
      pagePoolSize = mkOption {
        type = types.nullOr types.ints.unsigned;
        default = null;
        description = ''
          `ttm.page_pool_size`: pages that the driver keeps for reuse instead of giving them back to
          the system. Unset: the same as the limit, so that a model that is loaded again finds its
          memory at once. More than the limit is refused.

          What it costs: memory that was once mapped comes back to the host only under pressure.

          Source: the kernel's drivers/gpu/drm/ttm/ttm_pool.c; the set-up that this replaces had both
          values equal.
        '';
      };
    };

    iommu = mkOption {
      type = types.enum [
        "off"
        "on"
      ];
      default = "off";
      description = ''
        `off` sets `amd_iommu=off`. In 2026 users report 5 to 12 % more speed from it, and 13 to 16 %
        when reading prompts where the package's power is the limit; in 2025 it was 4 to 6 % of
        memory bandwidth. `iommu=pt` gains nothing, and `amd_iommu=pt` does not exist.

        What it costs: the NPU, and protection from devices that read memory by themselves (DMA),
        such as one plugged into a USB4 port. Use `on` where strangers reach the ports.

        Source: the kernel's Documentation/admin-guide/kernel-parameters.txt for `amd_iommu`;
        kyuz0/amd-strix-halo-toolboxes#66 and noamsto/nix-amd-ai#132 for the speeds.
      '';
    };

    cwsr = mkOption {
      type = types.enum [
        "auto"
        "on"
        "off"
      ];
      default = "auto";
      description = ''
        Whether the driver may interrupt a running computation and save its state (compute wave
        save and restore). `off` sets `amdgpu.cwsr_enable=0`; `auto` does so for ROCm before 7.2.
        That ROCm reserves less room than the registers of this GPU need, so that an interrupted
        queue writes past it: page faults, `MES failed to respond`, a reset of the GPU. Unified
        memory makes interruptions frequent, because every page that the kernel moves causes one.

        What it costs: with `off`, a computation that another program's has to wait for is not
        interrupted but waited for.

        Source: ROCm/TheRock#2991 for the cause; ROCm/ROCm#5590 and ROCm/ROCm#5991 for the parameter.
      '';
    };

    lockupTimeout = mkOption {
      type = types.nullOr types.ints.positive;
      default = if runtime.usesVulkan then 20000 else null;
      defaultText = lib.literalMD "20000 for a server that can use Vulkan, else null";
      description = ''
        `amdgpu.lockup_timeout`: milliseconds after which the driver takes a job of the GPU for hung
        and resets it. Null leaves it to the kernel. On kernels 7.x RADV, the Vulkan driver, loses
        the GPU in long prompts with the kernel's own value (`DeviceLost`). By the kernel's
        documentation one value is for all queues but those for computation alone; who reports that it
        helps has set just that.

        What it costs: a GPU that really hangs is noticed later.

        Source: ggml-org/llama.cpp#25664 and ggml-org/llama.cpp#27076.
      '';
    };

    powerProfile = mkOption {
      type = types.nullOr (
        types.enum [
          "accelerator-performance"
          "throughput-performance"
          "balanced"
          "powersave"
        ]
      );
      default = "accelerator-performance";
      description = ''
        Profile of TuneD. A performance profile reads prompts 5 to 24 % faster. Null leaves power
        management to others; TuneD conflicts with power-profiles-daemon and TLP.

        What it costs: power and fan noise when idle. What the firmware set-up allows matters more:
        from 85 W to 120 W, prompts gain 17 % and generation 8 %.

        Source: reported by users, no single source.
      '';
    };

    earlyAmdgpu = mkOption {
      type = types.bool;
      default = true;
      description = ''
        Load `amdgpu` in the initrd, so that the devices are there before any service starts.

        What it costs: an initrd that is larger by the driver and its firmware, some tens of MB, on a
        boot partition that holds one for every kernel.

        Source: {option}`boot.initrd.kernelModules` of NixOS; the size is an estimate.
      '';
    };

    sleep = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether the machine may sleep, by suspend or hibernation. A server that sleeps answers
        nobody, and nobody has reported how ROCm comes back on this GPU. Set it on a laptop.

        What it costs: without it, power while the machine is idle.

        Source: a choice of this project; no report of ROCm after a suspend was found.
      '';
    };

    users = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "alice" ];
      description = ''
        Users who may use the GPU: they join the groups `render` and `video`. The service does not
        need to be listed. A process outside `render` falls back to the CPU, often in silence.

        What it costs: their programs share the GPU and its memory with the server, and can take what
        the next load of a model needs.

        Source: ROCm/rocminfo#34 for the group; for the silence, reported by users, no single source.
      '';
    };

    rocm = {
      profile = mkOption {
        type = types.enum (lib.attrNames profiles);
        default = "gfx1100-compat";
        description = ''
          How the GPU, which is a gfx1151, is driven. The profile picks the server's package and
          environment, and the kernel.

          - `gfx1100-compat`: AMD's ROCm 6.4.1 with the override to gfx1100, and Linux 6.17. This is
            what the replaced set-up ran. In May 2025 its gfx1100 kernels were 2.5 to 6 times faster
            than the native ones of the time (ROCm/ROCm#4748).
            What it costs: a kernel that gets no more fixes; a hang of llama.cpp on this GPU that
            AMD mended after ROCm 7.0 and never in 6.4 (ROCm/TheRock#1413); no tile tables of
            RDNA 3.5 in llama.cpp, nor its faster Q6_K paths; unified memory, unless
            {option}`hardware.strixhalo.rocm.unifiedMemory` is false.
          - `gfx1151-native`: nixpkgs' ROCm, 7.2 or later, with code for gfx1151, no override and no
            unified memory; needs Linux 6.18.4 or later. For a new machine this is the better choice.
            What it costs: it is newer than what the replaced set-up was measured with.
          - `vulkan`: no ROCm; Mesa's RADV on nixpkgs' own kernel. In public measurements it generates
            fastest and reads prompts slower than ROCm 7.
            What it costs: see {option}`hardware.strixhalo.lockupTimeout`.

          docs/profiles.md has the measurements, and how to switch and back.

          Source: ROCm/ROCm#4748, ROCm/TheRock#1413, ROCm/rocm-libraries#1132 and llama.cpp's own code
          for `gfx1100-compat`; ROCm/TheRock#2991 for the kernel;
          kyuz0/amd-strix-halo-toolboxes for the measurements.
        '';
      };
      unifiedMemory = mkOption {
        type = types.bool;
        default = environments.${cfg.rocm.profile} ? ${unifiedMemory};
        defaultText = lib.literalMD "true for `gfx1100-compat`, which keeps what the replaced set-up had";
        description = ''
          Whether the server allocates by hipMallocManaged (`GGML_CUDA_ENABLE_UNIFIED_MEMORY`).
          False is recommended: this GPU reaches the system's memory through GTT anyway.

          What it costs: true is reported about 15 % slower, with wrong output in some versions. The
          weights are then ordinary memory of the process: no memory limit of the GPU bounds them,
          {option}`services.strixhalo.memoryMax` would kill the server and is refused, and when
          memory runs out the kernel sees a process of 85 GB. False costs nothing that was reported.

          Source: ggml-org/llama.cpp#26148.
        '';
      };
      version = mkOption {
        type = types.nullOr types.str;
        default = profile.version;
        defaultText = lib.literalMD "that of the profile's ROCm; null for `vulkan`, which has none";
        description = ''
          ROCm version that the kernel is checked against, where
          {option}`services.strixhalo.package` does not say on which it runs, as ours do
          (`passthru.rocmVersion`; null is a package without ROCm).

          What it costs: nobody checks it, and with a wrong one a kernel is accepted on which ROCm
          faults.

          Source: ROCm/TheRock#2991 and ollama/ollama#13589 for the pairs of ROCm and kernel.
        '';
      };
      package = mkOption {
        type = types.package;
        default = profile.package;
        defaultText = lib.literalMD "`strixhalo`, `strixhalo-rocm7` or `strixhalo-vulkan`, by the profile";
        description = ''
          Default of {option}`services.strixhalo.package`.

          What it costs: a package of your own is paired with the kernel only if it says its ROCm in
          `passthru.rocmVersion` or you say it in {option}`hardware.strixhalo.rocm.version`.

          Source: ROCm/TheRock#2991 and ollama/ollama#13589 for the pairs of ROCm and kernel.
        '';
      };
      environment = mkOption {
        type = types.attrsOf (types.nullOr types.str);
        default = { };
        example = {
          HSA_XNACK = null;
        };
        description = ''
          Environment of the service for this GPU; the profile fills it, null removes a variable.
          The profile `vulkan` has none.

          - `HSA_OVERRIDE_GFX_VERSION=11.0.0` (compat): runs gfx1100 code; ROCm 6.4.1 fails without
            it, and code built only for gfx1151 faults with it (ROCm/ROCm#5824).
          - `GGML_CUDA_ENABLE_UNIFIED_MEMORY=1` (compat): set by
            {option}`hardware.strixhalo.rocm.unifiedMemory`; any value turns it on, 0 as well.
          - `HSA_XNACK=1` (compat): GPU page faults; RDNA 3.5 cannot replay them and no effect was
            found.
          - `ROCBLAS_USE_HIPBLASLT=1` (compat and native): within 5 % on quantized mixture-of-experts models, more
            on BF16.
          - `GPU_MAX_HW_QUEUES=2` (compat and native): fewer queues compete for the GPU.

          What it costs: unified memory is reported about 15 % slower and with wrong output in some
          versions; the rest costs nothing that was reported.

          Source: ROCm/ROCm#5824 and ggml-org/llama.cpp#26148; for the rest the set-up that this
          replaces, and reported by users, no single source.
        '';
      };
    };
  };

  config = lib.mkIf cfg.enable {
    inherit (checks) assertions warnings;

    boot = {
      kernelPackages = lib.mkDefault cfg.kernelPackages;
      kernelParams =
        memory.kernelParams
        ++ lib.optional (cfg.iommu == "off") "amd_iommu=off"
        ++ lib.optional (!withCwsr) "amdgpu.cwsr_enable=0"
        ++ lib.optional (cfg.lockupTimeout != null) "amdgpu.lockup_timeout=${toString cfg.lockupTimeout}";
      initrd.kernelModules = lib.optional cfg.earlyAmdgpu "amdgpu";
      kernelModules = lib.optional (!cfg.earlyAmdgpu) "amdgpu";
    };

    hardware = {
      graphics.enable = lib.mkDefault true;
      enableRedistributableFirmware = lib.mkDefault true;
      cpu.amd.updateMicrocode = lib.mkDefault true;
      strixhalo.rocm.environment = lib.mapAttrs (_: lib.mkDefault) environment;
    };

    services.udev.extraRules = import ./udev-rules.nix;

    users.users = lib.genAttrs cfg.users (_: {
      extraGroups = [
        "render"
        "video"
      ];
    });

    services.tuned = lib.mkIf (cfg.powerProfile != null) {
      enable = true;
      # Without the stand-in for power-profiles-daemon, which would pick a profile of its own.
      ppdSupport = false;
      recommend.${cfg.powerProfile} = { };
    };

    systemd = {
      # TuneD reads its profile when it starts, and nothing else restarts it.
      services.tuned = lib.mkIf (cfg.powerProfile != null) {
        restartTriggers = [ config.environment.etc."tuned/recommend.conf".source ];
      };
      targets = lib.mkIf (!cfg.sleep) (
        lib.genAttrs
          [
            "sleep"
            "suspend"
            "hibernate"
            "hybrid-sleep"
            "suspend-then-hibernate"
          ]
          (_: {
            enable = false;
          })
      );
    };
  };
}
