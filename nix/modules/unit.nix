# The server's systemd unit as plain attribute sets. Only builtins are used, so that the tests can
# render the very unit that NixOS runs with `nix-instantiate` alone (render-unit.nix) and run it
# under another distribution's systemd.
{
  # The strixhalo binary, and the settings file it is started with.
  program,
  configFile,
  user ? "strixhalo",
  group ? "strixhalo",
  # /dev/kfd and /dev/dri/renderD* belong to group render, /dev/dri/card* to video. They are looked
  # up by name: their numbers differ between distributions.
  supplementaryGroups ? [
    "render"
    "video"
  ],
  # Device nodes beside /dev/null and its like. Empty for a server that computes on the CPU.
  # /dev/kfd is named by its path: "char-kfd" would allow the same, because the driver has no other
  # node under that name, but systemd finds it by the driver's number, which the stand-in of
  # tests/systemd, on a machine without the driver, does not have.
  devices ? [
    "/dev/kfd rw"
    "char-drm rw"
  ],
  # GPU runtimes map memory that is writable and executable when they load code for the GPU.
  # A CPU build needs no such memory and may be denied it.
  allowWritableCode ? devices != [ ],
  # File with API keys; systemd copies it for the service, which need not be able to read the file.
  apiKeyFile ? null,
  environment ? { },
  environmentFiles ? [ ],
  # Addresses for the socket unit, in systemd's notation. Empty: the server listens by itself.
  listenStreams ? [ ],
  # Directory with the models: its file system has to be mounted before the start.
  modelsDirectory ? null,
  # Directory of saved prompts, where it is none of the unit's own.
  promptsDirectory ? null,
  # The only peers that packets may come from or go to; null: anyone.
  ipAddressAllow ? null,
  # At least twice `limits.stall_timeout`: the heartbeat stops when a decode takes longer than that.
  watchdogSec ? 120,
  # `limits.drain_timeout` of the settings.
  drainSec ? 30,
  # Time until the first sign of life. The server asks for more while it loads a model.
  startSec ? 300,
  memoryMax ? null,
  oomScoreAdjust ? -100,
  logNamespace ? null,
}:
let
  withoutNulls =
    set: removeAttrs set (builtins.filter (name: set.${name} == null) (builtins.attrNames set));
  mapToList = f: set: map (name: f name set.${name}) (builtins.attrNames set);

  socketActivated = listenStreams != [ ];
  hasUnixSocket = builtins.any (address: builtins.substring 0 1 address == "/") listenStreams;

  # A value is taken as it is: systemd would expand `%` in it.
  assign =
    name: value: builtins.toJSON "${name}=${builtins.replaceStrings [ "%" ] [ "%%" ] (toString value)}";

  ipFilter =
    if ipAddressAllow == null then
      { }
    else
      {
        IPAddressDeny = "any";
        IPAddressAllow = ipAddressAllow;
      };
in
{
  description = "LLM server for AMD Strix Halo";
  documentation = [ "man:strixhalo(1)" ];
  # A socket may be bound before its address exists (FreeBind below); a server that binds an address
  # of its own has to wait for the network.
  after =
    if socketActivated then
      [
        "network.target"
        "strixhalo.socket"
      ]
    else
      [ "network-online.target" ];
  wants = if socketActivated then [ ] else [ "network-online.target" ];
  requires = if socketActivated then [ "strixhalo.socket" ] else [ ];

  unitConfig = {
    RequiresMountsFor = builtins.filter (path: path != null) [
      modelsDirectory
      promptsDirectory
    ];
    # An appliance never gives up on a crash loop: it goes on trying, ever more slowly (RestartSteps
    # below), and the journal has every try. What a restart cannot cure ends it at once instead
    # (RestartPreventExitStatus).
    StartLimitIntervalSec = 0;
  };

  serviceConfig = withoutNulls (
    {
      # -- life cycle ---------------------------------------------------------------------------
      # Ready after the warm-up decode; SIGHUP reloads.
      Type = "notify-reload";
      NotifyAccess = "main";
      ExecStart = "${program} serve --config ${configFile}";
      # 90 GB take 50 s from a fast NVMe disk and 15 minutes from a USB disk. While it reads, the
      # server extends this with EXTEND_TIMEOUT_USEC, so the value only bounds a silent start. Tests
      # of the GPU that are to pass before READY have this time, too.
      TimeoutStartSec = startSec;
      # The drain, then giving tens of gigabytes back.
      TimeoutStopSec = drainSec + 30;
      WatchdogSec = watchdogSec;
      # After the watchdog's SIGABRT; a process that hangs in the GPU driver may need SIGKILL.
      TimeoutAbortSec = 30;
      # Also after a crash, a watchdog kill, an out-of-memory kill and a lost GPU (exit status 69).
      Restart = "on-failure";
      RestartSec = 2;
      RestartSteps = 6;
      RestartMaxDelaySec = 60;
      # Usage, bad model data, no model, no permission, bad settings: the next try would say the same.
      RestartPreventExitStatus = "64 65 66 77 78";
      # A second SIGTERM cuts the drain short. That is an answer to a request, not a failure.
      SuccessExitStatus = "143";
      KillMode = "mixed";

      # -- who it is, what it may keep ----------------------------------------------------------
      User = user;
      Group = group;
      SupplementaryGroups = supplementaryGroups;
      UMask = "0077";
      StateDirectory = "strixhalo";
      StateDirectoryMode = "0700";
      # Compiled GPU code goes here, and the prompts that outlive the server. Neither needs a backup,
      # and prompts are nobody else's business.
      CacheDirectory = "strixhalo";
      CacheDirectoryMode = "0700";
      RuntimeDirectory = "strixhalo";
      RuntimeDirectoryMode = "0755";
      # A socket that systemd listens on may lie there, and has to outlive a restart.
      RuntimeDirectoryPreserve = true;
      WorkingDirectory = "/var/lib/strixhalo";
      LoadCredential = if apiKeyFile == null then [ ] else [ "api-keys:${toString apiKeyFile}" ];
      Environment =
        mapToList assign (
          {
            HOME = "/var/lib/strixhalo";
            XDG_CACHE_HOME = "/var/cache/strixhalo";
            # Huge pages for weights in main memory: a CPU decodes a fifth faster.
            GLIBC_TUNABLES = "glibc.malloc.hugetlb=1";
          }
          // environment
        )
        # %d is the directory that the credentials are copied to.
        ++ (if apiKeyFile == null then [ ] else [ ''"STRIXHALO_SERVER__API_KEY_FILE=%d/api-keys"'' ]);
      EnvironmentFile = environmentFiles;
      LogNamespace = logNamespace;

      # -- memory and other limits --------------------------------------------------------------
      # One connection is one file, and so is every part of a split model.
      LimitNOFILE = 65536;
      # `model.mlock`, and host memory that the GPU runtime pins.
      LimitMEMLOCK = "infinity";
      # A core file would hold the model, the prompts and the keys.
      LimitCORE = 0;
      # Host memory only: what the GPU maps (GTT) is not charged to the unit. With unified memory the
      # model is host memory, and the module refuses a bound.
      MemoryMax = memoryMax;
      # Slightly protected: the server is what the machine is for, and starting it again reads the
      # model again. Not more: if it is the one that eats the memory, sshd should survive it.
      OOMScoreAdjust = oomScoreAdjust;

      # -- devices ------------------------------------------------------------------------------
      # PrivateDevices would hide /dev/kfd and /dev/dri, so a server with a GPU does without. The
      # list allows no other device.
      PrivateDevices = devices == [ ];
      DevicePolicy = "closed";
      DeviceAllow = devices;

      # -- file system --------------------------------------------------------------------------
      ProtectSystem = "strict";
      ProtectHome = true;
      ReadWritePaths = if promptsDirectory == null then [ ] else [ promptsDirectory ];
      PrivateTmp = true;
      PrivateMounts = true;
      # What a load is checked against stays readable: free memory (/proc/meminfo, /proc/buddyinfo,
      # hence not "pid"), what the GPU has (/sys/class/drm) and which processes compute on it, by
      # number (/sys/class/kfd/kfd/proc); ProtectKernelTunables makes /sys read-only. Not seen are these
      # processes' names, which ProtectProc hides, and /proc/PID/fdinfo of other users, which takes
      # privileges in any case: whoever draws or uses Vulkan counts only in what GTT and VRAM have in
      # use. The GPU runtimes read /proc/cpuinfo.
      ProtectProc = "invisible";
      ProcSubset = "all";

      # -- kernel -------------------------------------------------------------------------------
      ProtectKernelTunables = true;
      ProtectKernelModules = true;
      ProtectKernelLogs = true;
      ProtectControlGroups = true;
      ProtectClock = true;
      ProtectHostname = true;
      CapabilityBoundingSet = "";
      AmbientCapabilities = "";
      NoNewPrivileges = true;
      # A user namespace of its own. Access through render and video goes by the kernel's own group
      # ids, which a namespace does not change.
      PrivateUsers = true;
      RestrictNamespaces = true;
      RestrictRealtime = true;
      RestrictSUIDSGID = true;
      LockPersonality = true;
      MemoryDenyWriteExecute = !allowWritableCode;
      RemoveIPC = true;
      KeyringMode = "private";
      SystemCallArchitectures = "native";
      # A call that is refused fails; killing the server would tell less.
      SystemCallErrorNumber = "EPERM";
      SystemCallFilter = [
        "@system-service"
        "~@privileged @resources"
        # Out of @resources: the GPU runtime places memory, thread pools place threads.
        "mbind set_mempolicy sched_setaffinity"
      ];

      # -- network ------------------------------------------------------------------------------
      RestrictAddressFamilies = "AF_UNIX AF_INET AF_INET6";
    }
    // ipFilter
  );

  # Null without socket activation.
  socketConfig =
    if !socketActivated then
      null
    else
      {
        ListenStream = listenStreams;
        FileDescriptorName = "http";
        FreeBind = true;
        # As the server itself does it: `::` alone takes IPv4 as well, beside `0.0.0.0` it must not.
        BindIPv6Only = if builtins.length listenStreams > 1 then "ipv6-only" else "both";
        NoDelay = true;
        Backlog = 1024;
        # A start that fails for good leaves the connection waiting, and would be tried again without
        # end. After this many tries in a minute the socket fails, and clients are refused.
        TriggerLimitIntervalSec = 60;
        TriggerLimitBurst = 20;
      }
      // (
        if hasUnixSocket then
          {
            SocketMode = "0660";
            SocketUser = user;
            SocketGroup = group;
          }
        else
          { }
      )
      # Packets are charged to the unit that made the socket.
      // ipFilter;
}
