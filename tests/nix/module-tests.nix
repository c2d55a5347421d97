# Both modules with nixpkgs' lib. Each test is { expected; actual; }.
{ lib }:
let
  nixos = import ./nixos.nix { inherit lib; };
  inherit (nixos) eval failures kernel;

  box = {
    hardware.strixhalo.enable = true;
    services.strixhalo = {
      enable = true;
      settings.model.path = "model.gguf";
    };
  };
  with_ =
    configuration:
    eval {
      imports = [
        box
        configuration
      ];
    };
  # The one failing assertion, or warning, has these words.
  says = words: texts: {
    expected = [ true ];
    actual = map (
      text: lib.all (word: lib.hasInfix word (lib.replaceStrings [ "\n" ] [ " " ] text)) words
    ) texts;
  };
  refused = configuration: words: says words (failures (with_ configuration));
  warned = configuration: words: says words (with_ configuration).warnings;
  is = actual: {
    expected = true;
    inherit actual;
  };
  params = configuration: (with_ configuration).boot.kernelParams;
  serviceOf = configuration: (with_ configuration).systemd.services.strixhalo.serviceConfig;
  inStore = name: "${builtins.storeDir}/00000000000000000000000000000000-${name}";
  native = {
    hardware.strixhalo.rocm.profile = "gfx1151-native";
  };
in
{
  # -- hardware -----------------------------------------------------------------------------------
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
  "so is the native profile" = {
    expected = [ ];
    actual = failures (with_ native) ++ (with_ native).warnings;
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
    };
    actual = {
      kernel = (with_ native).boot.kernelPackages.kernel.version;
      package = (with_ native).services.strixhalo.package.name;
      inherit ((with_ native).services.strixhalo) environment;
    };
  };
  "a variable of the profile can be removed" = is (
    !lib.any (lib.hasInfix "UNIFIED_MEMORY")
      (serviceOf { hardware.strixhalo.rocm.environment.GGML_CUDA_ENABLE_UNIFIED_MEMORY = null; })
      .Environment
  );
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

  # -- service ------------------------------------------------------------------------------------
  "a service without a model is refused" =
    refused { services.strixhalo.settings.model.path = lib.mkForce null; }
      [
        "services.strixhalo.settings.model.path"
        "services.strixhalo.demoModel"
      ];
  "the demo model can be asked for" = {
    expected = [ ];
    actual = failures (with_ {
      services.strixhalo = {
        demoModel = true;
        settings.model.path = lib.mkForce null;
      };
    });
  };
  "the demo model beside another is refused" = refused { services.strixhalo.demoModel = true; } [
    "services.strixhalo.demoModel"
    "remove one"
  ];
  "a model in the store is refused" =
    refused { services.strixhalo.settings.model.path = lib.mkForce (inStore "model.gguf"); }
      [
        "services.strixhalo.settings.model.path"
        "store"
        "/srv/models"
      ];
  "a models directory in the store is refused" =
    refused { services.strixhalo.models = inStore "models"; }
      [
        "services.strixhalo.models"
        "store"
      ];
  "a models directory in a home is refused" =
    refused { services.strixhalo.models = "/home/alice/models"; }
      [
        "services.strixhalo.models"
        "home"
        "/srv/models"
      ];
  "a key file in the store is refused" = refused { services.strixhalo.apiKeyFile = inStore "keys"; } [
    "services.strixhalo.apiKeyFile"
    "everyone can read"
    "/etc/strixhalo/api-keys"
  ];
  "an environment file in the store is refused" =
    refused { services.strixhalo.environmentFile = inStore "env"; }
      [
        "services.strixhalo.environmentFile"
        "everyone can read"
      ];
  "keys in the settings are refused" =
    refused { services.strixhalo.settings.server.api_keys = [ "k" ]; }
      [
        "services.strixhalo.settings.server.api_keys"
        "services.strixhalo.apiKeyFile"
      ];
  "a key file in the settings is refused" =
    refused { services.strixhalo.settings.server.api_key_file = "/etc/keys"; }
      [
        "services.strixhalo.settings.server.api_key_file"
        "services.strixhalo.apiKeyFile"
      ];
  "a socket on any free port is refused" = refused { services.strixhalo.settings.server.port = 0; } [
    "services.strixhalo.settings.server.port"
    "services.strixhalo.socket.enable"
  ];
  "a socket on a host name is refused" =
    refused { services.strixhalo.settings.server.host = [ "box.lan" ]; }
      [
        "services.strixhalo.settings.server.host"
        "services.strixhalo.socket.enable"
      ];
  "an open firewall without keys is a warning" =
    warned
      {
        services.strixhalo = {
          openFirewall = true;
          settings.server.host = [ "0.0.0.0" ];
        };
      }
      [
        "services.strixhalo.apiKeyFile"
        "services.strixhalo.firewallInterfaces"
      ];
  "so is no firewall at all" = warned {
    networking.firewall.enable = false;
    services.strixhalo.settings.server.host = [ "::" ];
  } [ "services.strixhalo.apiKeyFile" ];
  "with keys, or on one interface, it is none" = {
    expected = [ ];
    actual =
      (with_ {
        services.strixhalo = {
          openFirewall = true;
          apiKeyFile = "/etc/strixhalo/api-keys";
          settings.server.host = [ "0.0.0.0" ];
        };
      }).warnings
      ++ (with_ {
        services.strixhalo = {
          firewallInterfaces = [ "enp1s0" ];
          settings.server.host = [ "0.0.0.0" ];
        };
      }).warnings;
  };
  "an open firewall before a server on loopback is a warning" =
    warned { services.strixhalo.openFirewall = true; }
      [
        "services.strixhalo.openFirewall"
        "services.strixhalo.settings.server.host"
      ];
  "one address and port feed the settings, the socket and the firewall" = {
    expected = {
      socket = [
        "0.0.0.0:9000"
        "[::]:9000"
        "/run/strixhalo.sock"
      ];
      everywhere = [ 9000 ];
      enp1s0 = [ 9000 ];
      written = 9000;
    };
    actual =
      let
        config = with_ {
          services.strixhalo = {
            apiKeyFile = "/etc/strixhalo/api-keys";
            openFirewall = true;
            firewallInterfaces = [ "enp1s0" ];
            settings.server.port = 9000;
            settings.server.host = [
              "0.0.0.0"
              "::"
              "unix:/run/strixhalo.sock"
            ];
          };
        };
      in
      {
        socket = config.systemd.sockets.strixhalo.socketConfig.ListenStream;
        everywhere = config.networking.firewall.allowedTCPPorts;
        enp1s0 = config.networking.firewall.interfaces.enp1s0.allowedTCPPorts;
        written = config.services.strixhalo.settings.server.port;
      };
  };
  "the socket can be left out" = is (
    !((with_ { services.strixhalo.socket.enable = false; }).systemd.sockets ? strixhalo)
  );
  "a server on loopback talks to nobody else, one on the network may" = {
    expected = [
      [ "localhost" ]
      false
    ];
    actual = [
      (serviceOf { }).IPAddressAllow
      ((serviceOf { services.strixhalo.settings.server.host = [ "0.0.0.0" ]; }) ? IPAddressDeny)
    ];
  };
  "the unit follows the settings" = {
    expected = [
      180
      150
    ];
    actual =
      with serviceOf {
        services.strixhalo.settings.limits = {
          stall_timeout = 90;
          drain_timeout = 120;
        };
      }; [
        WatchdogSec
        TimeoutStopSec
      ];
  };
  "a server that has no use for the GPU does not see it" = {
    expected = [ ];
    actual = (serviceOf { services.strixhalo.settings.model.gpu = "off"; }).DeviceAllow;
  };
  "the models directory belongs to whom the option says" = {
    expected = {
      user = "alice";
      group = "strixhalo";
      mode = "2775";
    };
    actual =
      (with_ { services.strixhalo.modelsOwner = "alice"; })
      .systemd.tmpfiles.settings."10-strixhalo"."/srv/models".d;
  };
  "no models directory is one" = is (
    (with_ { services.strixhalo.models = null; }).systemd.tmpfiles.settings == { }
  );
  "the unit is the function's for the same values" = {
    expected =
      (import ../../nix/modules/unit.nix {
        program = "${nixos.package "strixhalo" "1"}/bin/strixhalo";
        configFile = "/etc/strixhalo/settings.toml";
        apiKeyFile = "/etc/strixhalo/api-keys";
        environmentFiles = [ "/etc/strixhalo/environment" ];
        environment = {
          HSA_OVERRIDE_GFX_VERSION = "11.0.0";
          GGML_CUDA_ENABLE_UNIFIED_MEMORY = "1";
          HSA_XNACK = "1";
          ROCBLAS_USE_HIPBLASLT = "1";
          GPU_MAX_HW_QUEUES = "2";
        };
        listenStreams = [ "127.0.0.1:8091" ];
        ipAddressAllow = [ "localhost" ];
        modelsDirectory = "/srv/models";
        memoryMax = "8G";
        logNamespace = "strixhalo";
      }).serviceConfig;
    actual = serviceOf {
      services.strixhalo = {
        apiKeyFile = "/etc/strixhalo/api-keys";
        environmentFile = "/etc/strixhalo/environment";
        memoryMax = "8G";
        logNamespace = "strixhalo";
      };
    };
  };

  # -- settings -----------------------------------------------------------------------------------
  "only what is set is written" = {
    expected.model = {
      path = "model.gguf";
      models_dir = "/srv/models";
      gpu = "required";
    };
    actual = (nixos.settings (with_ { })).value;
  };
  "settings without an option are written as well" = {
    expected = 1;
    actual =
      (nixos.settings (with_ {
        services.strixhalo.extraSettings.new.key = 1;
      })).value.new.key;
  };
  "the settings are checked by the package, or by the one that is named" = {
    expected = [
      true
      true
    ];
    actual = [
      (lib.hasInfix "-strixhalo/bin/strixhalo config check " (nixos.settings (with_ { })).script)
      (lib.hasInfix "-strixhalo-cpu/bin/strixhalo config check "
        (nixos.settings (with_ {
          services.strixhalo.checkPackage = nixos.package "strixhalo-cpu" "1";
        })).script
      )
    ];
  };
  "a sampling value reloads, a model restarts" =
    let
      triggers =
        settings:
        (with_ { services.strixhalo = { inherit settings; }; }).systemd.services.strixhalo.restartTriggers;
    in
    {
      expected = [
        true
        true
        false
        false
      ];
      actual = map (settings: triggers { } == triggers settings) [
        { sampling.temperature = 0.5; }
        { log.level = "debug"; }
        { log.format = "json"; }
        { model.alias = [ "a" ]; }
      ];
    };
}
