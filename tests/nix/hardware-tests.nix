# hardware.strixhalo, with nixpkgs' lib. Each test is { expected; actual; }.
{ lib }:
let
  inherit (import ./cases.nix { inherit lib; })
    is
    native
    nixos
    params
    refused
    serviceOf
    vulkan
    warned
    with_
    ;
  inherit (nixos) failures kernel;
in
{
  "every option says what it costs and who says so" = {
    expected = [ ];
    actual = map (option: option.name) (
      lib.filter (
        { description, ... }:
        !(lib.hasInfix "What it costs:" description && lib.hasInfix "Source:" description)
      ) (lib.optionAttrSetToDocList { inherit (nixos.options.hardware) strixhalo; })
    );
  };
  "a box with a model is accepted without a word" = {
    expected = {
      failures = [ ];
      warnings = [ ];
    };
    actual = {
      failures = failures (with_ { });
      inherit (with_ { }) warnings;
    };
  };
  "so are the other profiles" = {
    expected = [ ];
    actual = lib.concatMap (profile: failures (with_ profile) ++ (with_ profile).warnings) [
      native
      vulkan
    ];
  };
  "the kernel of each profile says what NixOS 26.11 asks of it" = {
    expected = lib.genList (_: {
      target = "bzImage";
      buildDTBs = false;
    }) 3;
    actual = map (profile: (with_ profile).system.kernel) [
      { }
      native
      vulkan
    ];
  };
  "a kernel that says it itself keeps its own words" = {
    expected = {
      target = "vmlinux";
      buildDTBs = false;
    };
    actual =
      (import ../../nix/linux-6_17.nix {
        extend =
          change:
          change { } {
            kernel.overrideAttrs = attributes: (attributes { passthru.target = "vmlinux"; }).passthru;
          };
      }).kernel;
  };
  "the compat profile is what the replaced set-up ran" = {
    expected = {
      kernel = "6.17.9";
      package = "strixhalo";
      environment = {
        HSA_OVERRIDE_GFX_VERSION = "11.0.0";
        GGML_CUDA_ENABLE_UNIFIED_MEMORY = "1";
        HSA_XNACK = "1";
        ROCBLAS_USE_HIPBLASLT = "1";
        GPU_MAX_HW_QUEUES = "2";
      };
      kernelParams = [
        "ttm.pages_limit=30720000"
        "ttm.page_pool_size=30720000"
        "amd_iommu=off"
        "amdgpu.cwsr_enable=0"
      ];
    };
    actual = {
      kernel = (with_ { }).boot.kernelPackages.kernel.version;
      package = (with_ { }).services.strixhalo.package.name;
      inherit ((with_ { }).services.strixhalo) environment;
      kernelParams = params { };
    };
  };
  "the native profile has a new kernel, no override and no unified memory" = {
    expected = {
      kernel = "6.18.20";
      package = "strixhalo-rocm7";
      environment = {
        ROCBLAS_USE_HIPBLASLT = "1";
        GPU_MAX_HW_QUEUES = "2";
      };
      kernelParams = [
        "ttm.pages_limit=30720000"
        "ttm.page_pool_size=30720000"
        "amd_iommu=off"
      ];
    };
    actual = {
      kernel = (with_ native).boot.kernelPackages.kernel.version;
      package = (with_ native).services.strixhalo.package.name;
      inherit ((with_ native).services.strixhalo) environment;
      kernelParams = params native;
    };
  };
  "the vulkan profile has nixpkgs' kernel, no ROCm, and time for long prompts" = {
    expected = {
      kernel = "6.18.20";
      package = "strixhalo-vulkan";
      environment = { };
      rocm = null;
      kernelParams = [
        "ttm.pages_limit=30720000"
        "ttm.page_pool_size=30720000"
        "amd_iommu=off"
        "amdgpu.lockup_timeout=20000"
      ];
    };
    actual = {
      kernel = (with_ vulkan).boot.kernelPackages.kernel.version;
      package = (with_ vulkan).services.strixhalo.package.name;
      inherit ((with_ vulkan).services.strixhalo) environment;
      rocm = (with_ vulkan).hardware.strixhalo.rocm.version;
      kernelParams = params vulkan;
    };
  };
  "a server with both backends runs in the native profile, and has that time too" = {
    expected = {
      failures = [ ];
      timeout = true;
    };
    actual =
      let
        config = with_ {
          imports = [ native ];
          services.strixhalo.package = nixos.packages.strixhalo-hip-vulkan;
        };
      in
      {
        failures = failures config;
        timeout = lib.elem "amdgpu.lockup_timeout=20000" config.boot.kernelParams;
      };
  };
  "the time can be set, or left to the kernel" = {
    expected = [
      [ "amdgpu.lockup_timeout=60000" ]
      [ ]
    ];
    actual =
      map
        (
          lockupTimeout:
          lib.filter (lib.hasInfix "lockup_timeout") (params {
            imports = [ vulkan ];
            hardware.strixhalo = { inherit lockupTimeout; };
          })
        )
        [
          60000
          null
        ];
  };
  "a time in the kernel parameters beside ours is refused" =
    refused
      {
        imports = [ vulkan ];
        boot.kernelParams = [ "amdgpu.lockup_timeout=1" ];
      }
      [
        "boot.kernelParams has amdgpu.lockup_timeout=20000 amdgpu.lockup_timeout=1"
        "hardware.strixhalo.lockupTimeout"
      ];
  "computations are not interrupted on ROCm before 7.2, whoever names it" = {
    expected = [
      true
      false
      false
      true
      true
      false
    ];
    actual = map (configuration: lib.elem "amdgpu.cwsr_enable=0" (params configuration)) [
      { }
      native
      vulkan
      {
        services.strixhalo.package = nixos.package "own" "1" // {
          rocmVersion = "7.1.1";
        };
      }
      {
        imports = [ native ];
        hardware.strixhalo.cwsr = "off";
      }
      { hardware.strixhalo.cwsr = "on"; }
    ];
  };
  "to interrupt them there is a warning" = warned { hardware.strixhalo.cwsr = "on"; } [
    "hardware.strixhalo.cwsr"
    "ROCm 6.4.1"
    "auto"
  ];
  "the parameter beside ours is refused" =
    refused { boot.kernelParams = [ "amdgpu.cwsr_enable=1" ]; }
      [
        "boot.kernelParams has amdgpu.cwsr_enable=0 amdgpu.cwsr_enable=1"
        "hardware.strixhalo.cwsr"
      ];
  "a variable of the profile can be removed" = is (
    !lib.any (lib.hasInfix "XNACK")
      (serviceOf { hardware.strixhalo.rocm.environment.HSA_XNACK = null; }).Environment
  );
  "unified memory is the compat profile's, and one switch turns it off and on" = {
    expected = [
      true
      false
      false
      true
    ];
    actual =
      map (configuration: lib.any (lib.hasInfix "UNIFIED_MEMORY=1") (serviceOf configuration).Environment)
        [
          { }
          { hardware.strixhalo.rocm.unifiedMemory = false; }
          native
          {
            imports = [ native ];
            hardware.strixhalo.rocm.unifiedMemory = true;
          }
        ];
  };
  "unified memory without ROCm is refused" =
    refused
      {
        imports = [ vulkan ];
        hardware.strixhalo.rocm.unifiedMemory = true;
      }
      [
        "hardware.strixhalo.rocm.unifiedMemory = true"
        "vulkan"
        "remove it"
      ];
  "the hardware module does without the service module" = {
    expected = [ ];
    actual = failures (nixos.evalHardware { hardware.strixhalo.enable = true; });
  };
  "64 GB have their own limit" = is (
    lib.elem "ttm.pages_limit=14848000" (params {
      hardware.strixhalo.memory.installedGiB = 64;
    })
  );
  "GiB become pages" = is (
    lib.elem "ttm.pages_limit=29360128" (params {
      hardware.strixhalo.memory.gttGiB = 112;
    })
  );
  "so does a part of a GiB" = is (
    lib.elem "ttm.pages_limit=30720000" (params {
      hardware.strixhalo.memory.gttGiB = 117.1875;
    })
  );
  "pages are taken as they are, and the pool is set apart" = {
    expected = [
      "ttm.pages_limit=25165824"
      "ttm.page_pool_size=0"
    ];
    actual = params {
      imports = [ native ];
      hardware.strixhalo = {
        iommu = "on";
        memory.pagesLimit = 25165824;
        memory.pagePoolSize = 0;
      };
    };
  };
  "two memory limits are refused" =
    refused
      {
        hardware.strixhalo.memory = {
          gttGiB = 100;
          pagesLimit = 25165824;
        };
      }
      [
        "hardware.strixhalo.memory.gttGiB"
        "hardware.strixhalo.memory.pagesLimit"
        "remove one"
      ];
  "a limit in the kernel parameters beside ours is refused" =
    refused { boot.kernelParams = [ "ttm.pages_limit=1" ]; }
      [
        "boot.kernelParams"
        "hardware.strixhalo.memory.pagesLimit"
      ];
  "so is a page pool beside ours" = refused { boot.kernelParams = [ "ttm.page_pool_size=1" ]; } [
    "boot.kernelParams has ttm.page_pool_size=30720000 ttm.page_pool_size=1"
    "hardware.strixhalo.memory.pagePoolSize"
  ];
  "also where it is spelt with dashes, which the kernel takes as well" =
    refused { boot.kernelParams = [ "ttm.pages-limit=1" ]; }
      [
        "ttm.pages-limit=1"
        "hardware.strixhalo.memory.pagesLimit"
      ];
  "limits in modprobe's options are a warning" =
    warned
      {
        boot.extraModprobeConfig = ''
          # options ttm pages_limit=2
          options snd_hda_intel power_save=1
            options  ttm pages_limit=1
        '';
      }
      [
        "boot.extraModprobeConfig"
        "options  ttm pages_limit=1"
        "command line"
        "hardware.strixhalo.memory"
      ];
  "options that are not ours are none" = {
    expected = [ ];
    actual =
      (with_ {
        boot.extraModprobeConfig = ''
          # options ttm pages_limit=2
          options ttmx pages_limit=1
          options ttm dma32_pages_limit=1
        '';
      }).warnings;
  };
  "a page pool above the limit is refused" =
    refused
      {
        hardware.strixhalo.memory = {
          gttGiB = 100;
          pagePoolSize = 26214401;
        };
      }
      [
        "hardware.strixhalo.memory.pagePoolSize (26214401)"
        "26214400"
        "hardware.strixhalo.memory.gttGiB"
      ];
  "one as large as the limit is accepted" = {
    expected = [ ];
    actual = failures (with_ {
      hardware.strixhalo.memory = {
        gttGiB = 100;
        pagePoolSize = 26214400;
      };
    });
  };
  "more than is installed is refused" = {
    expected = [
      true
      true
    ];
    actual =
      let
        config = with_ { hardware.strixhalo.memory.gttGiB = 130; };
      in
      map (lib.hasInfix "hardware.strixhalo.memory.gttGiB lets the GPU map 130") (
        failures config ++ config.warnings
      );
  };
  "less than 6 GiB for the system is a warning" =
    warned { hardware.strixhalo.memory.pagesLimit = 32000000; }
      [
        "hardware.strixhalo.memory.pagesLimit"
        "122 of 128 GiB"
        "Lower it"
      ];
  "gttsize on the command line is a warning" =
    warned { boot.kernelParams = [ "amdgpu.gttsize=120000" ]; }
      [
        "amdgpu.gttsize"
        "hardware.strixhalo.memory.gttGiB"
      ];
  "gttsize in modprobe's options is a warning" = warned {
    boot.extraModprobeConfig = "options amdgpu gttsize=120000";
  } [ "boot.extraModprobeConfig" ];
  "a kernel before 6.16.9 is refused" = refused { boot.kernelPackages = kernel "6.12.40"; } [
    "boot.kernelPackages is Linux 6.12.40"
    "6.16.9"
    "hardware.strixhalo.kernelPackages"
  ];
  "ROCm 6.4.1 on 6.18.4 is refused" = refused { boot.kernelPackages = kernel "6.18.4"; } [
    "boot.kernelPackages"
    "ROCm 6.4.1"
    "gfx1151-native"
  ];
  "ROCm 6.4.1 on 6.18.3 is accepted" = {
    expected = [ ];
    actual = failures (with_ {
      boot.kernelPackages = kernel "6.18.3";
    });
  };
  "ROCm 7.2 on 6.18.3 is refused" =
    refused
      {
        imports = [ native ];
        boot.kernelPackages = kernel "6.18.3";
      }
      [
        "boot.kernelPackages"
        "ROCm 7.2.3"
        "6.18.4"
        "gfx1100-compat"
      ];
  "a package for the other profile is refused" =
    refused { services.strixhalo.package = nixos.packages.strixhalo-rocm7; }
      [
        "services.strixhalo.package (strixhalo-rocm7)"
        "hardware.strixhalo.rocm.profile = \"gfx1151-native\""
      ];
  "also on a kernel that its ROCm would run on" =
    refused
      {
        boot.kernelPackages = kernel "6.18.20";
        services.strixhalo.package = nixos.packages.strixhalo-rocm7;
      }
      [
        "services.strixhalo.package (strixhalo-rocm7)"
        "hardware.strixhalo.rocm.profile = \"gfx1151-native\""
      ];
  "a package of one's own is paired by the ROCm that it names" =
    refused
      {
        services.strixhalo.package = nixos.package "own" "1" // {
          rocmVersion = "7.2.3";
        };
      }
      [
        "boot.kernelPackages is Linux 6.17.9"
        "ROCm 7.2.3"
        "services.strixhalo.package (own)"
        "gfx1151-native"
      ];
  "one that names none is paired by the option" =
    refused
      {
        hardware.strixhalo.rocm.version = "7.2.0";
        services.strixhalo.package = nixos.package "own" "1";
      }
      [
        "ROCm 7.2.0"
        "hardware.strixhalo.rocm.version"
      ];
  "a package without ROCm runs on a kernel that the profile's ROCm does not" = {
    expected = [ ];
    actual = failures (with_ {
      boot.kernelPackages = kernel "6.18.20";
      services.strixhalo.package = nixos.packages.strixhalo-vulkan;
    });
  };
  "but not on one that shows little of the memory" = refused {
    boot.kernelPackages = kernel "6.12.40";
    services.strixhalo.package = nixos.packages.strixhalo-vulkan;
  } [ "6.16.9" ];
  "a service that is off does not count" = {
    expected = [ ];
    actual = failures (with_ {
      services.strixhalo.enable = lib.mkForce false;
      services.strixhalo.package = nixos.packages.strixhalo-rocm7;
    });
  };
  "firmware that hangs the GPU is refused" =
    refused
      {
        _module.args.pkgs = nixos.pkgs // {
          linux-firmware.version = "20251125";
        };
      }
      [
        "linux-firmware is 20251125"
        "update"
      ];
  "the machine does not sleep, unless it may" = {
    expected = [
      [
        "hibernate"
        "hybrid-sleep"
        "sleep"
        "suspend"
        "suspend-then-hibernate"
      ]
      [ ]
    ];
    actual =
      map
        (
          configuration:
          lib.attrNames (lib.filterAttrs (_: target: !target.enable) (with_ configuration).systemd.targets)
        )
        [
          { }
          { hardware.strixhalo.sleep = true; }
        ];
  };
  "named users join the groups of the GPU" = {
    expected = [
      "render"
      "video"
    ];
    actual = (with_ { hardware.strixhalo.users = [ "alice" ]; }).users.users.alice.extraGroups;
  };
  "the driver is loaded early, or at least loaded" = {
    expected = [
      [ "amdgpu" ]
      [ "amdgpu" ]
    ];
    actual = [
      (with_ { }).boot.initrd.kernelModules
      (with_ { hardware.strixhalo.earlyAmdgpu = false; }).boot.kernelModules
    ];
  };
  "the power profile is TuneD's, and can be left alone" = {
    expected = [
      true
      { }
    ];
    actual = [
      ((with_ { }).services.tuned.recommend ? accelerator-performance)
      (with_ { hardware.strixhalo.powerProfile = null; }).services.tuned
    ];
  };
  "another power profile restarts TuneD, which reads it when it starts" = {
    expected = [
      [ { accelerator-performance = { }; } ]
      [ { balanced = { }; } ]
      false
    ];
    actual =
      map
        (configuration: map (file: file.value) (with_ configuration).systemd.services.tuned.restartTriggers)
        [
          { }
          { hardware.strixhalo.powerProfile = "balanced"; }
        ]
      ++ [ ((with_ { hardware.strixhalo.powerProfile = null; }).systemd.services ? tuned) ];
  };
  "without the hardware module nothing of the host changes" = {
    expected = {
      kernelParams = [ ];
      environment = { };
      package = "strixhalo";
      gpu = null;
    };
    actual =
      let
        config = with_ { hardware.strixhalo.enable = lib.mkForce false; };
      in
      {
        inherit (config.boot) kernelParams;
        inherit (config.services.strixhalo) environment;
        package = config.services.strixhalo.package.name;
        inherit (config.services.strixhalo.settings.model) gpu;
      };
  };
}
