# What `services.strixhalo` refuses and what it warns of. `effective` is what the server will go by.
{
  config,
  effective,
  isAddress,
  lib,
  onlyLocal,
}:
let
  cfg = config.services.strixhalo;
  inherit (effective.server) host port;
  # Every file of a model, by the setting that names it.
  modelPaths = lib.filterAttrs (_: path: path != null) {
    "model.path" = effective.model.path;
    "embedding_model.path" = effective.embedding_model.path;
    "rerank_model.path" = effective.rerank_model.path;
  };
  promptsDir = effective.cache.disk_dir;
  withoutSlash = path: lib.removeSuffix "/" (toString path);
  modelsDir =
    if effective.model.models_dir == null then null else withoutSlash effective.model.models_dir;

  opensFirewall = cfg.openFirewall || cfg.firewallInterfaces != [ ];
  firewall = config.networking.firewall;
  # The port may be opened by the firewall's own options as well; ours end up there too.
  opensPort =
    rules:
    lib.elem port (rules.allowedTCPPorts or [ ])
    || lib.any (range: range.from <= port && port <= range.to) (rules.allowedTCPPortRanges or [ ]);
  # What opens it on every interface, if anything does.
  everywhere =
    if !firewall.enable then
      "networking.firewall.enable = false"
    else if cfg.openFirewall then
      "services.strixhalo.openFirewall"
    else if opensPort firewall then
      "networking.firewall.allowedTCPPorts or networking.firewall.allowedTCPPortRanges"
    else
      null;
  untrustedInterfaces = lib.filter (
    name: opensPort firewall.interfaces.${name} && !lib.elem name (firewall.trustedInterfaces or [ ])
  ) (lib.attrNames firewall.interfaces);
  asksNobody = !onlyLocal && cfg.apiKeyFile == null;

  isAbsolute = lib.hasPrefix "/";
  inStore = path: path != null && lib.hasPrefix "${builtins.storeDir}/" (toString path);
  # The service sees no home directories.
  isHidden =
    path:
    path != null
    && lib.any (prefix: lib.hasPrefix prefix "${toString path}/") [
      "/home/"
      "/root/"
      "/run/user/"
    ];

  # By name, because a value does not tell. The server's own are STRIXHALO_SERVER__API_KEYS and
  # LLAMA_API_KEY.
  variables = lib.attrNames (lib.filterAttrs (_: value: value != null) cfg.environment);
  isKey = name: builtins.match ".*(API_KEY.*|_TOKEN|_SECRET|_PASSWORD)" name != null;
  isFile = lib.hasSuffix "_FILE";
  keyVariables = lib.filter (name: isKey name && !isFile name) variables;
  keyFileVariables = lib.filter (name: isKey name && isFile name) variables;
  # All names by which the server takes a setting.
  isSetting = name: builtins.match "STRIXHALO_.*__.*|LLAMA_ARG_.*" name != null;
  settingVariables = lib.filter (name: isSetting name && !isKey name) variables;
in
{
  assertions = [
    {
      assertion = cfg.demoModel || effective.model.path != null;
      message = ''
        services.strixhalo.settings.model.path is not set: name a GGUF file, relative to
        services.strixhalo.models, or set services.strixhalo.demoModel = true to serve the
        built-in demo model.'';
    }
    {
      assertion = !(cfg.demoModel && effective.model.path != null);
      message = ''
        services.strixhalo.demoModel is set, and so is services.strixhalo.settings.model.path:
        remove one of them.'';
    }
    {
      assertion = !inStore modelsDir || inStore cfg.models;
      message = ''
        services.strixhalo.settings.model.models_dir (${toString modelsDir}) is in the Nix store: models
        there are copied by every deployment. Remove it, and name a directory outside the store in
        services.strixhalo.models, such as "/srv/models".'';
    }
    {
      # A directory in the store is refused already, whichever of the two names it.
      assertion =
        cfg.models == null
        || inStore cfg.models
        || inStore modelsDir
        || modelsDir == withoutSlash cfg.models;
      message = ''
        services.strixhalo.settings.model.models_dir (${toString modelsDir}) is not
        services.strixhalo.models (${toString cfg.models}), which the module makes at boot: remove the
        setting, which follows services.strixhalo.models, and name the directory there.'';
    }
    {
      assertion = !inStore cfg.models;
      message = ''
        services.strixhalo.models is in the Nix store: name a directory outside it, as a string,
        such as "/srv/models".'';
    }
    {
      assertion = !inStore cfg.apiKeyFile;
      message = ''
        services.strixhalo.apiKeyFile (${toString cfg.apiKeyFile}) is in the Nix store, which everyone can
        read: name a file outside it, as a string, such as "/etc/strixhalo/api-keys".'';
    }
    {
      assertion = !inStore cfg.environmentFile;
      message = ''
        services.strixhalo.environmentFile (${toString cfg.environmentFile}) is in the Nix store, which
        everyone can read: name a file outside it, as a string.'';
    }
    {
      assertion = effective.server.api_keys == [ ];
      message = ''
        services.strixhalo.settings.server.api_keys would write keys to the Nix store, which
        everyone can read: put them into a file and name it in services.strixhalo.apiKeyFile.'';
    }
    {
      assertion = effective.server.api_key_file == null;
      message = ''
        services.strixhalo.settings.server.api_key_file is read by the service itself, which sees
        only files of its own user: use services.strixhalo.apiKeyFile.'';
    }
    {
      assertion = keyVariables == [ ];
      message = ''
        services.strixhalo.environment has ${lib.concatStringsSep ", " keyVariables}, which would lie in
        the Nix store, which everyone can read: put API keys into a file and name it in
        services.strixhalo.apiKeyFile, and other secrets into services.strixhalo.environmentFile.'';
    }
    {
      assertion = keyFileVariables == [ ];
      message = ''
        services.strixhalo.environment has ${lib.concatStringsSep ", " keyFileVariables}, a file that is
        read by the service itself, which sees only files of its own user: use
        services.strixhalo.apiKeyFile.'';
    }
    {
      # The socket, the firewall, the paths the unit may see and `config check` go by the settings.
      assertion = settingVariables == [ ];
      message = ''
        services.strixhalo.environment has ${lib.concatStringsSep ", " settingVariables}, which would
        override services.strixhalo.settings unseen by the socket, the firewall and all checks: write
        it as a setting, such as services.strixhalo.settings.server.port (docs/settings.md has the
        names).'';
    }
    {
      assertion = port != 0 || !(cfg.socket.enable || opensFirewall);
      message = ''
        services.strixhalo.settings.server.port = 0 takes any free port, which neither a socket
        unit nor a firewall can know: name a port, or set services.strixhalo.socket.enable = false
        and keep the firewall closed.'';
    }
    {
      assertion = !cfg.socket.enable || lib.all isAddress host;
      message = ''
        services.strixhalo.settings.server.host has a name, and a socket unit takes only addresses
        and unix:PATH: write the address, or set services.strixhalo.socket.enable = false.'';
    }
    {
      # Any value turns it on. A package without ROCm does not read it.
      assertion =
        cfg.memoryMax == null
        || cfg.package.rocmVersion or "unknown" == null
        || !lib.elem "GGML_CUDA_ENABLE_UNIFIED_MEMORY" variables;
      message = ''
        services.strixhalo.memoryMax (${toString cfg.memoryMax}) bounds the host memory of the service, and
        with GGML_CUDA_ENABLE_UNIFIED_MEMORY in its environment the whole model is host memory: the
        kernel would kill the server whenever it loads. Set
        hardware.strixhalo.rocm.unifiedMemory = false (and remove the variable from
        services.strixhalo.environment, if it is set there), or remove services.strixhalo.memoryMax.'';
    }
    {
      assertion =
        !lib.any isHidden (
          [
            cfg.models
            modelsDir
          ]
          ++ lib.attrValues modelPaths
        );
      message = ''
        services.strixhalo.models, services.strixhalo.settings.model.models_dir and the paths of models
        (${lib.concatMapStringsSep ", " (name: "services.strixhalo.settings.${name}") (lib.attrNames modelPaths)})
        must not be in a home directory, which the service cannot see: move the models, to /srv/models
        for example.'';
    }
    {
      assertion =
        promptsDir == null || isAbsolute promptsDir && !isHidden promptsDir && !inStore promptsDir;
      message = ''
        services.strixhalo.settings.cache.disk_dir (${toString promptsDir}) has to be an absolute path
        outside of home directories and the Nix store, which the service cannot write to: remove it,
        and saved prompts lie in /var/cache/strixhalo/prompts.'';
    }
  ]
  ++ lib.concatLists (
    lib.mapAttrsToList (name: path: [
      {
        assertion = !inStore path;
        message = ''
          services.strixhalo.settings.${name} (${toString path}) is in the Nix store: a model
          there is copied by every deployment. Put it into ${
            if cfg.models == null then "a directory outside the store" else toString cfg.models
          }
          (services.strixhalo.models) and name it relative to that.'';
      }
      {
        assertion = isAbsolute path || modelsDir != null;
        message = ''
          services.strixhalo.settings.${name} (${toString path}) is relative, and
          services.strixhalo.models = null leaves no directory to look in: write an absolute path, or
          name the directory in services.strixhalo.models.'';
      }
    ]) modelPaths
  );

  warnings =
    lib.optional (asksNobody && everywhere != null) (
      ''
        services.strixhalo is open on every interface of this machine (${everywhere}) and
        asks for no key: set services.strixhalo.apiKeyFile, or open the port only where you trust
        everyone, with services.strixhalo.firewallInterfaces and
        networking.firewall.trustedInterfaces.''
      + lib.optionalString (cfg.environmentFile != null) ''
        ${" "}services.strixhalo.environmentFile does not count, because nothing here can tell whether it
        holds keys: write them to a file, one on a line, and name it in services.strixhalo.apiKeyFile.''
    )
    # Here a file of variables is given the benefit of the doubt: the interface was named on purpose.
    ++
      lib.optional
        (asksNobody && everywhere == null && cfg.environmentFile == null && untrustedInterfaces != [ ])
        ''
          services.strixhalo is open on ${lib.concatStringsSep ", " untrustedInterfaces} (services.strixhalo.firewallInterfaces or
          networking.firewall.interfaces) and asks for no key: set services.strixhalo.apiKeyFile.
          Where you trust everyone on that network, and with every port of this machine, add the
          interface to networking.firewall.trustedInterfaces.''
    ++ lib.optional (opensFirewall && onlyLocal) ''
      services.strixhalo.openFirewall or firewallInterfaces is set, but the server listens on
      ${toString host} only: set services.strixhalo.settings.server.host, to [ "0.0.0.0" ] for example.'';
}
