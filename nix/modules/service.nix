# `services.strixhalo`: the server as a systemd service. The unit itself is in unit.nix.
flake:
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.services.strixhalo;
  packages = flake.packagesFor pkgs.stdenv.hostPlatform.system;
  # hardware.nix can be left out.
  gpu = config.hardware.strixhalo or { enable = false; };

  schema = import ./settings-options.nix {
    inherit lib;
    schema = lib.importJSON ./settings.schema.json;
  };
  toml = pkgs.formats.toml { };

  # What the server will go by: what is set, else its own default.
  effective = lib.recursiveUpdate schema.defaults written;
  written = lib.recursiveUpdate (schema.set cfg.settings) cfg.extraSettings;
  unchecked = toml.generate "strixhalo-settings-unchecked.toml" written;
  # The build stops where the server would refuse to start.
  settingsFile = pkgs.runCommand "strixhalo-settings.toml" { inherit unchecked; } ''
    ${lib.getExe cfg.checkPackage} config check "$unchecked"
    cp "$unchecked" "$out"
  '';
  # SIGHUP is enough for these; a change of any other restarts the server. A test in
  # src/server/reload.rs compares this list with the server's.
  needRestart =
    removeAttrs written [
      "limits"
      "sampling"
    ]
    // {
      log = removeAttrs (written.log or { }) [ "level" ];
    };

  inherit (effective.server) host port;
  isUnix = lib.hasPrefix "unix:";
  isLocal =
    address:
    isUnix address || address == "localhost" || address == "::1" || lib.hasPrefix "127." address;
  onlyLocal = lib.all isLocal host;
  # A socket unit takes addresses, no names.
  isAddress =
    address:
    isUnix address || lib.hasInfix ":" address || builtins.match "[0-9]+(\\.[0-9]+){3}" address != null;
  listenStream =
    address:
    if isUnix address then
      lib.removePrefix "unix:" address
    else if lib.hasInfix ":" address then
      "[${address}]:${toString port}"
    else
      "${address}:${toString port}";

  # The unit makes its own directories; another one is made for it.
  promptsDirectory =
    let
      directory = effective.cache.disk_dir;
      own = lib.any (parent: lib.hasPrefix parent "${toString directory}/") [
        "/var/cache/strixhalo/"
        "/var/lib/strixhalo/"
      ];
    in
    if directory == null || own then null else toString directory;

  environment = lib.filterAttrs (_: value: value != null) cfg.environment;

  checks = import ./service-checks.nix {
    inherit
      config
      effective
      isAddress
      lib
      onlyLocal
      ;
  };

  unit = import ./unit.nix (
    {
      program = lib.getExe cfg.package;
      configFile = "/etc/strixhalo/settings.toml";
      modelsDirectory = cfg.models;
      inherit promptsDirectory;
      environmentFiles = lib.optional (cfg.environmentFile != null) (toString cfg.environmentFile);
      inherit environment;
      listenStreams = lib.optionals cfg.socket.enable (map listenStream host);
      watchdogSec = lib.max 120 (2 * effective.limits.stall_timeout);
      drainSec = effective.limits.drain_timeout;
      inherit (cfg)
        apiKeyFile
        ipAddressAllow
        memoryMax
        oomScoreAdjust
        logNamespace
        ;
    }
    // lib.optionalAttrs (effective.model.gpu == "off") { devices = [ ]; }
  );
in
{
  options.services.strixhalo = {
    enable = mkOption {
      type = types.bool;
      default = false;
      example = true;
      description = ''
        Whether to run the strixhalo server, an LLM server with the OpenAI API.

        It listens where {option}`services.strixhalo.settings.server.host` and
        {option}`services.strixhalo.settings.server.port` say; the socket unit and the firewall
        follow these two.
      '';
    };

    package = mkOption {
      type = types.package;
      default = if gpu.enable then gpu.rocm.package else packages.strixhalo;
      defaultText = lib.literalMD ''
        {option}`hardware.strixhalo.rocm.package` where the hardware module is enabled, else
        `strixhalo`
      '';
      description = ''
        The server. `strixhalo-vulkan` and `strixhalo-cpu` do without ROCm; `strixhalo-hip-vulkan`
        has both, to compare them on one machine.
      '';
    };

    checkPackage = mkOption {
      type = types.package;
      # The server itself is compiled for the CPU of the appliance, which a builder may not have.
      default = cfg.package.tools or cfg.package;
      defaultText = lib.literalMD ''
        the commands of {option}`services.strixhalo.package` that need no llama.cpp, which run on
        every machine
      '';
      description = ''
        The package whose `strixhalo config check` looks at the settings while the system is built.
      '';
    };

    demoModel = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Serve the built-in demo model, a few megabytes that can say a little: for a first try and
        for tests. Otherwise {option}`services.strixhalo.settings.model.path` has to be set.
      '';
    };

    models = mkOption {
      type = types.nullOr types.path;
      default = "/srv/models";
      description = ''
        Directory with the GGUF files, made at boot if missing. Relative paths in
        {option}`services.strixhalo.settings.model.path` are looked up there. Null: no directory is
        made, and paths have to be absolute.
      '';
    };
    modelsOwner = mkOption {
      type = types.str;
      default = "root";
      example = "alice";
      description = ''
        User who owns {option}`services.strixhalo.models` and may put models there; so may members
        of the group `strixhalo`. The server only reads.
      '';
    };

    settings = schema.options;
    extraSettings = mkOption {
      inherit (toml) type;
      default = { };
      description = ''
        Settings that have no option, merged over the others: for a package that is newer than the
        module. A name that the package does not know stops the build with the nearest name.
      '';
    };

    apiKeyFile = mkOption {
      type = types.nullOr types.path;
      default = null;
      example = "/etc/strixhalo/api-keys";
      description = ''
        File with the API keys, one on a line; lines that begin with `#` are comments. Without it
        anyone who reaches the port may use the server. Root's 0600 is right: systemd gives the
        service a copy as a credential. The copy is made at the start, so new keys need
        `systemctl restart strixhalo`.
      '';
    };
    environmentFile = mkOption {
      type = types.nullOr types.path;
      default = null;
      example = "/etc/strixhalo/environment";
      description = ''
        File of `NAME=VALUE` lines, read by systemd at the start, for variables that nobody should
        read in the store. Values override {option}`services.strixhalo.settings`. Keys belong into
        {option}`services.strixhalo.apiKeyFile`, where the module knows of them.
      '';
    };
    environment = mkOption {
      type = types.attrsOf (types.nullOr types.str);
      default = { };
      description = ''
        Environment of the server, readable by everyone; null removes a variable. The hardware
        module puts the variables of its ROCm profile here. Settings do not belong here but into
        {option}`services.strixhalo.settings`, where they are checked.
      '';
    };

    socket.enable = mkOption {
      type = types.bool;
      default = true;
      description = ''
        Whether systemd opens the sockets and hands them to the server. Clients that connect while
        the server restarts then wait for it and are not refused.
      '';
    };
    openFirewall = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether to open the server's port on all network interfaces. Without
        {option}`services.strixhalo.apiKeyFile` that is a warning.
      '';
    };
    firewallInterfaces = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "enp1s0" ];
      description = ''
        Network interfaces on which the firewall lets the server's port through. Without
        {option}`services.strixhalo.apiKeyFile` that is a warning, unless the interface is in
        {option}`networking.firewall.trustedInterfaces`.
      '';
    };
    ipAddressAllow = mkOption {
      type = types.nullOr (types.listOf types.str);
      default = if onlyLocal then [ "localhost" ] else null;
      defaultText = lib.literalMD "`[ \"localhost\" ]` for a server on loopback addresses, else null";
      example = [
        "localhost"
        "192.168.1.0/24"
      ];
      description = ''
        Addresses the server may exchange packets with (systemd's `IPAddressAllow=`), whatever the
        firewall says; null: all. With a list the server cannot reach the Internet either, and it
        has no need to.
      '';
    };

    memoryMax = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "24G";
      description = ''
        Most host memory of the service; beyond it the kernel kills the server, and systemd starts
        it again. Memory that the GPU maps (GTT) is not counted, so this bounds the host's caches,
        not the model. With unified memory, as the default
        {option}`hardware.strixhalo.rocm.unifiedMemory` has it, the model is host memory too, and a
        bound is refused. On a CPU the model counts as well. Unset: no bound.
      '';
    };
    oomScoreAdjust = mkOption {
      type = types.ints.between (-1000) 1000;
      default = -100;
      description = ''
        How ready the kernel is to kill the server when memory runs out, from -1000 (never) to 1000.
        The default protects it a little, because a restart reads the model again, but not above
        sshd, which you need when it is the server that takes the memory.
      '';
    };
    logNamespace = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "strixhalo";
      description = ''
        Journal of its own for the service, with its own size and rate limits, read by
        `journalctl --namespace=NAME`. Null: the system's journal.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    inherit (checks) assertions warnings;

    services.strixhalo = {
      # A lost GPU is an error and not a slow server.
      settings.model.gpu = lib.mkIf gpu.enable (lib.mkDefault "required");
      settings.model.models_dir = lib.mkIf (cfg.models != null) (lib.mkDefault (toString cfg.models));
      environment = lib.mkIf gpu.enable (lib.mapAttrs (_: lib.mkDefault) gpu.rocm.environment);
    };

    # Under /etc, so that SIGHUP finds the new file.
    environment.etc."strixhalo/settings.toml".source = settingsFile;
    # The man page and completions. And for people the command as the service has it: without the
    # variables of its profile `strixhalo verify-gpu` would find no GPU, and `strixhalo plan` count
    # another memory.
    environment.systemPackages = [
      cfg.package
    ]
    ++ lib.optional (environment != { }) (
      lib.hiPrio (
        pkgs.writeShellScriptBin "strixhalo" ''
          ${import ./run-environment.nix { inherit lib; } environment}
          exec ${lib.getExe cfg.package} "$@"
        ''
      )
    );

    users.users.strixhalo = {
      isSystemUser = true;
      group = "strixhalo";
      home = "/var/lib/strixhalo";
      description = "strixhalo server";
    };
    users.groups.strixhalo = { };

    systemd = {
      tmpfiles.settings = lib.mkMerge [
        (lib.mkIf (cfg.models != null) {
          "10-strixhalo".${toString cfg.models}.d = {
            user = cfg.modelsOwner;
            group = "strixhalo";
            mode = "2775";
          };
        })
        (lib.mkIf (promptsDirectory != null) {
          "10-strixhalo".${promptsDirectory}.d = {
            user = "strixhalo";
            group = "strixhalo";
            mode = "0700";
          };
        })
      ];

      services.strixhalo = {
        inherit (unit)
          description
          documentation
          after
          wants
          requires
          unitConfig
          serviceConfig
          ;
        # Also with a socket: the model is loaded at boot, not for the first client.
        wantedBy = [ "multi-user.target" ];
        # Restart, and leave the socket open meanwhile.
        stopIfChanged = false;
        restartTriggers = [ (builtins.toJSON needRestart) ];
        reloadTriggers = [ settingsFile ];
      };
      sockets.strixhalo = lib.mkIf cfg.socket.enable {
        description = "Socket of the ${unit.description}";
        wantedBy = [ "sockets.target" ];
        inherit (unit) socketConfig;
      };
    };

    networking.firewall = {
      allowedTCPPorts = lib.optional cfg.openFirewall port;
      interfaces = lib.genAttrs cfg.firewallInterfaces (_: {
        allowedTCPPorts = [ port ];
      });
    };
  };
}
