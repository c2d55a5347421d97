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
  checks = import ./hardware-checks.nix {
    inherit
      config
      lib
      memory
      pkgs
      ;
  };

  environments = import ./rocm-profiles.nix;
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
  };
  profile = profiles.${cfg.rocm.profile};
in
{
  options.hardware.strixhalo = {
    enable = mkOption {
      type = types.bool;
      default = false;
      example = true;
      description = ''
        Whether to set up kernel, memory limits, devices and power for a machine with an AMD Ryzen
        AI MAX ("Strix Halo").

        In its firmware set-up, set the UMA frame buffer to Auto or 512 MB: memory carved out there
        is lost to the system, while GTT reaches all the rest.

        What it costs: kernel, IOMMU and power profile change for the whole machine and not only for
        the server; each has an option of its own.

        Source: for the frame buffer, reported by users, no single source.
      '';
    };

    kernelPackages = mkOption {
      type = types.raw;
      default = profile.kernelPackages;
      defaultText = lib.literalMD ''
        Linux 6.17 from the flake's second nixpkgs for `gfx1100-compat`, `pkgs.linuxPackages` for
        `gfx1151-native`
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
        `off` sets `amd_iommu=off`: 4 to 6 % more memory bandwidth, which is about 5 % when reading
        prompts and 2.5 % when generating. `iommu=pt` gains nothing, and `amd_iommu=pt` does not
        exist.

        What it costs: the NPU, and protection from devices that read memory by themselves (DMA),
        such as one plugged into a USB4 port. Use `on` where strangers reach the ports.

        Source: the kernel's Documentation/admin-guide/kernel-parameters.txt for `amd_iommu`; for the
        speeds, reported by users, no single source.
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
            What it costs: an old kernel; no tile tables of RDNA 3.5 in llama.cpp, nor its faster
            Q6_K paths; unified memory, reported about 15 % slower and with wrong output in some
            versions (ggml-org/llama.cpp#26148).
          - `gfx1151-native`: nixpkgs' ROCm, 7.2 or later, with code for gfx1151, no override and no
            unified memory; needs Linux 6.18.4 or later.
            What it costs: it is newer than what the replaced set-up was measured with. Public
            measurements of ROCm 7.2 read prompts of Qwen3-Coder-Next at 614 tokens/s and
            generate 30; the replaced set-up had 273 and 24.

          Source: ROCm/ROCm#4748, ggml-org/llama.cpp#26148 and llama.cpp's own code for
          `gfx1100-compat`; ROCm/TheRock#2991 for the kernel; for the measurements, reported by users,
          no single source.
        '';
      };
      version = mkOption {
        type = types.str;
        default = profile.version;
        defaultText = lib.literalMD "that of the profile's ROCm";
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
        defaultText = lib.literalMD "`strixhalo` or `strixhalo-rocm7`, by the profile";
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
          GGML_CUDA_ENABLE_UNIFIED_MEMORY = null;
        };
        description = ''
          Environment of the service for this GPU; the profile fills it, null removes a variable.

          - `HSA_OVERRIDE_GFX_VERSION=11.0.0` (compat): runs gfx1100 code; ROCm 6.4.1 fails without
            it, and code built only for gfx1151 faults with it (ROCm/ROCm#5824).
          - `GGML_CUDA_ENABLE_UNIFIED_MEMORY=1` (compat): allocates by hipMallocManaged; any value
            turns it on, 0 as well.
          - `HSA_XNACK=1` (compat): GPU page faults; RDNA 3.5 cannot replay them and no effect was
            found.
          - `ROCBLAS_USE_HIPBLASLT=1` (both): within 5 % on quantised mixture-of-experts models, more
            on BF16.
          - `GPU_MAX_HW_QUEUES=2` (both): fewer queues compete for the GPU.

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
      kernelParams = memory.kernelParams ++ lib.optional (cfg.iommu == "off") "amd_iommu=off";
      initrd.kernelModules = lib.optional cfg.earlyAmdgpu "amdgpu";
      kernelModules = lib.optional (!cfg.earlyAmdgpu) "amdgpu";
    };

    hardware = {
      graphics.enable = lib.mkDefault true;
      enableRedistributableFirmware = lib.mkDefault true;
      cpu.amd.updateMicrocode = lib.mkDefault true;
      strixhalo.rocm.environment = lib.mapAttrs (_: lib.mkDefault) environments.${cfg.rocm.profile};
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
  };
}
