# The unit's function, with builtins only. Each test is { expected; actual; }.
let
  unit = import ../../nix/modules/unit.nix;
  render = import ../../nix/modules/render-unit.nix;
  least = {
    program = "/bin/strixhalo";
    configFile = "/etc/strixhalo/settings.toml";
  };
  service = args: (unit (least // args)).serviceConfig;
  has =
    needle: text:
    builtins.match ".*${needle}.*" (builtins.replaceStrings [ "\n" ] [ "|" ] text) != null;
  is = actual: {
    expected = true;
    inherit actual;
  };
in
{
  "the watchdog waits at least twice as long as a stalled decode may take" = is (
    (service { }).WatchdogSec >= 2 * 60
  );
  "stopping leaves time for the drain" = is ((service { drainSec = 500; }).TimeoutStopSec > 500);
  "nothing that a restart cannot cure is tried again" = {
    expected = "64 65 66 77 78";
    actual = (service { }).RestartPreventExitStatus;
  };
  "a crash loop is never given up" = {
    expected = 0;
    actual = (unit least).unitConfig.StartLimitIntervalSec;
  };
  "a server with a GPU may open the GPU and no other device" = {
    expected = [
      "closed"
      false
      [
        "/dev/kfd rw"
        "char-drm rw"
      ]
    ];
    actual = with service { }; [
      DevicePolicy
      PrivateDevices
      DeviceAllow
    ];
  };
  "what a load is checked against is not hidden from the service" = {
    expected = {
      ProcSubset = "all";
      ProtectProc = "invisible";
      hiding = [ ];
    };
    actual = {
      inherit (service { }) ProcSubset ProtectProc;
      hiding = builtins.filter (name: (service { }) ? ${name}) [
        "InaccessiblePaths"
        "PrivatePIDs"
        "RootDirectory"
        "TemporaryFileSystem"
      ];
    };
  };
  "a server on the CPU sees no devices and maps no writable code" = {
    expected = [
      true
      [ ]
      true
    ];
    actual = with service { devices = [ ]; }; [
      PrivateDevices
      DeviceAllow
      MemoryDenyWriteExecute
    ];
  };
  "a key file is handed over as a credential" = {
    expected = [
      [ "api-keys:/etc/keys" ]
      true
    ];
    actual = with service { apiKeyFile = "/etc/keys"; }; [
      LoadCredential
      (builtins.elem ''"STRIXHALO_SERVER__API_KEY_FILE=%d/api-keys"'' Environment)
    ];
  };
  "without a key file nothing names one" = is (
    !has "API_KEY" (render least)."strixhalo.service" && (service { }).LoadCredential == [ ]
  );
  "weights in main memory get huge pages, unless the environment says otherwise" = {
    expected = [
      true
      false
    ];
    actual = map (builtins.elem ''"GLIBC_TUNABLES=glibc.malloc.hugetlb=1"'') [
      (service { }).Environment
      (service { environment.GLIBC_TUNABLES = ""; }).Environment
    ];
  };
  "an environment value reaches the server as it is" = is (
    builtins.elem ''"A=50 %% \"of\" \\ it"''
      (service { environment.A = ''50 % "of" \ it''; }).Environment
  );
  "with a socket the service needs it and does not wait for the network" = {
    expected = {
      requires = [ "strixhalo.socket" ];
      after = [
        "network.target"
        "strixhalo.socket"
      ];
      wants = [ ];
    };
    actual = {
      inherit (unit (least // { listenStreams = [ "127.0.0.1:8091" ]; })) requires after wants;
    };
  };
  "without a socket there is no socket unit and the network comes first" = {
    expected = {
      socket = null;
      requires = [ ];
      after = [ "network-online.target" ];
      wants = [ "network-online.target" ];
    };
    actual = {
      socket = (render least)."strixhalo.socket";
      inherit (unit least) requires after wants;
    };
  };
  "a socket in the file system is for the service's group only" = {
    expected = "0660";
    actual = (unit (least // { listenStreams = [ "/run/strixhalo.sock" ]; })).socketConfig.SocketMode;
  };
  "an address list bounds the service and its socket" = {
    expected = [
      "any"
      [ "localhost" ]
    ];
    actual =
      let
        made = unit (
          least
          // {
            listenStreams = [ "127.0.0.1:8091" ];
            ipAddressAllow = [ "localhost" ];
          }
        );
      in
      [
        made.serviceConfig.IPAddressDeny
        made.socketConfig.IPAddressAllow
      ];
  };
  "options that are unset leave no line" = is (
    !has "MemoryMax" (render least)."strixhalo.service"
    && !has "LogNamespace" (render least)."strixhalo.service"
    && has "[|]MemoryMax=8G[|]" (render (least // { memoryMax = "8G"; }))."strixhalo.service"
  );
  "the text of the unit has every setting of the function" =
    let
      config = service { };
      text = (render least)."strixhalo.service";
      value = v: if builtins.isBool v then builtins.toJSON v else toString v;
      lines = builtins.filter builtins.isString (builtins.split "\n" text);
      expected = builtins.concatMap (
        name:
        map (v: "${name}=${value v}") (
          if builtins.isList config.${name} then config.${name} else [ config.${name} ]
        )
      ) (builtins.attrNames config);
    in
    {
      expected = [ ];
      actual = builtins.filter (line: !builtins.elem line lines) expected;
    };
}
