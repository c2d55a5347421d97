# services.strixhalo, with nixpkgs' lib. Each test is { expected; actual; }.
{ lib }:
let
  inherit (import ./cases.nix { inherit lib; })
    is
    nixos
    serviceOf
    with_
    ;
  inherit (nixos) failures;
in
{
  "the service module does without the hardware module" = {
    expected = {
      failures = [ ];
      package = "strixhalo";
      gpu = null;
    };
    actual =
      let
        config = nixos.evalService {
          services.strixhalo = {
            enable = true;
            settings.model.path = "model.gguf";
          };
        };
      in
      {
        failures = failures config;
        package = config.services.strixhalo.package.name;
        inherit (config.services.strixhalo.settings.model) gpu;
      };
  };
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
  "who types the command has the service's variables, unless they set them" =
    let
      commands =
        configuration:
        lib.filter (package: package ? text) (with_ configuration).environment.systemPackages;
      awkward = {
        services.strixhalo.environment.A = ''50 % "of" \ $it}'';
      };
    in
    {
      expected = {
        lines = [
          ''export HSA_OVERRIDE_GFX_VERSION="''${HSA_OVERRIDE_GFX_VERSION-11.0.0}"''
          "[[ -n $HSA_OVERRIDE_GFX_VERSION ]] || unset HSA_OVERRIDE_GFX_VERSION"
          ''exec ${nixos.packages.strixhalo}/bin/strixhalo "$@"''
        ];
        before = true;
        quoted = true;
        withoutAny = [ ];
      };
      actual = {
        lines = lib.filter (line: lib.hasInfix "HSA_OVERRIDE" line || lib.hasPrefix "exec" line) (
          lib.splitString "\n" (lib.head (commands { })).text
        );
        # Of two with the same name, this is the one that is found.
        before = (lib.head (commands { })).meta.priority < 0;
        quoted = lib.hasInfix ''"''${A-50 % \"of\" \\ \$it\}}"'' (lib.head (commands awkward)).text;
        withoutAny = commands { hardware.strixhalo.rocm.profile = "vulkan"; };
      };
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
  "prompts lie in the service's own cache directory, and in another one that is made for it" = {
    expected = {
      usual = [ ];
      below = [ ];
      other = [ "/data/prompts" ];
      mounts = true;
      made = {
        user = "strixhalo";
        group = "strixhalo";
        mode = "0700";
      };
    };
    actual =
      let
        in_ = directory: { services.strixhalo.settings.cache.disk_dir = directory; };
        paths = directory: (serviceOf (in_ directory)).ReadWritePaths;
        other = with_ (in_ "/data/prompts");
      in
      {
        usual = (serviceOf { }).ReadWritePaths;
        below = paths "/var/cache/strixhalo/elsewhere";
        other = paths "/data/prompts";
        mounts = lib.elem "/data/prompts" other.systemd.services.strixhalo.unitConfig.RequiresMountsFor;
        made = other.systemd.tmpfiles.settings."10-strixhalo"."/data/prompts".d;
      };
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
      hardware.strixhalo.rocm.unifiedMemory = false;
      services.strixhalo = {
        apiKeyFile = "/etc/strixhalo/api-keys";
        environmentFile = "/etc/strixhalo/environment";
        memoryMax = "8G";
        logNamespace = "strixhalo";
      };
    };
  };

  "the units that tests/systemd runs are the module's" =
    let
      program = "${nixos.package "strixhalo" "1"}/bin/strixhalo";
      values = import ../systemd/values.nix { inherit program; };
      # As JSON, which is what a comparison of functions and paths would not be.
      ofTheFunction =
        { arguments, ... }:
        let
          unit = import ../../nix/modules/unit.nix arguments;
        in
        builtins.toJSON {
          inherit (unit)
            after
            wants
            requires
            unitConfig
            serviceConfig
            socketConfig
            ;
        };
      ofTheModule =
        { configuration, ... }:
        let
          config = nixos.eval {
            imports = [ configuration ];
            hardware.strixhalo.enable = lib.mkDefault true;
            services.strixhalo.enable = true;
            services.strixhalo.package = lib.mkForce (nixos.package "strixhalo" "1");
          };
          service = config.systemd.services.strixhalo;
        in
        builtins.toJSON {
          inherit (service)
            after
            wants
            requires
            unitConfig
            serviceConfig
            ;
          socketConfig = config.systemd.sockets.strixhalo.socketConfig or null;
        };
    in
    {
      expected = lib.mapAttrs (_: ofTheFunction) values;
      actual = lib.mapAttrs (_: ofTheModule) values;
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
  "the settings are checked by the package's tools, or by the package without any" = {
    expected = [
      true
      true
    ];
    actual =
      let
        checks =
          package: words:
          lib.hasInfix "-${words}/bin/strixhalo config check "
            (nixos.settings (with_ {
              services.strixhalo = { inherit package; };
            })).script;
      in
      [
        (checks (nixos.package "own" "1" // { tools = nixos.package "own-tools" "1"; }) "own-tools")
        (checks (nixos.package "own" "1") "own")
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
