# A complete machine: `nixos-rebuild switch --flake .#strixhalo`. docs/install-nixos.md goes from the
# installer to the first request. What you will want to change is at the top. What install-strixhalo
# was told and found is in local.nix beside this file, and wins.
{
  config,
  lib,
  ...
}:
let
  cfg = config.hosts.strixhalo;
in
{
  imports = lib.optional (builtins.pathExists ./local.nix) ./local.nix;

  options.hosts.strixhalo = {
    user = lib.mkOption {
      type = lib.types.str;
      description = "Login of the one who runs the machine; may use sudo, the GPU and the models.";
    };
    sshKeys = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      example = [ "ssh-ed25519 AAAA... alice@laptop" ];
      description = "SSH public keys of this user. Passwords are not accepted over SSH.";
    };
    passwordFile = lib.mkOption {
      type = lib.types.nullOr lib.types.str;
      default = null;
      description = ''
        File with the hash of this user's first password; `passwd` changes it afterwards. Null: the
        user has no password until `passwd` sets one.
      '';
    };
  };

  config = {
    # -- who logs in ------------------------------------------------------------------------------
    hosts.strixhalo = {
      user = lib.mkDefault "admin";
      # Without a key nobody can log in over SSH.
      sshKeys = [
        # "ssh-ed25519 AAAA... alice@laptop"
      ];
    };

    warnings = lib.optional (
      cfg.sshKeys == [ ]
    ) "hosts.strixhalo.sshKeys is empty: nobody can log in over SSH, only at the machine itself.";

    # -- hardware ---------------------------------------------------------------------------------
    hardware.strixhalo = {
      enable = true;
      memory.installedGiB = lib.mkDefault 128;
      users = [ cfg.user ];
      # What `strixhalo doctor` finds, in a few lines.
      loginMessage.enable = true;
      # How the GPU is driven: docs/profiles.md compares the three. For a new machine:
      #   rocm.profile = "gfx1151-native";
      # To stay on what the Compose set-up ran, without its slower way to allocate:
      #   rocm.unifiedMemory = false;
    };
    nixpkgs.hostPlatform = "x86_64-linux";

    boot = {
      loader.systemd-boot = {
        enable = true;
        # The boot partition of 2 GiB holds only so many kernels and initrds; 5 for one of 1 GiB.
        configurationLimit = 10;
      };
      loader.efi.canTouchEfiVariables = true;
      initrd.availableKernelModules = [
        "nvme"
        "sd_mod"
        "thunderbolt"
        "usb_storage"
        "usbhid"
        "xhci_pci"
      ];
    };

    # The labels are given when the disk is formatted.
    fileSystems."/" = {
      device = lib.mkDefault "/dev/disk/by-label/nixos";
      fsType = "ext4";
      options = [ "noatime" ];
    };
    fileSystems."/boot" = {
      device = lib.mkDefault "/dev/disk/by-label/BOOT";
      fsType = "vfat";
      options = [
        "fmask=0077"
        "dmask=0077"
      ];
    };

    # -- the server -------------------------------------------------------------------------------
    services.strixhalo = {
      enable = true;
      modelsOwner = cfg.user;
      settings = {
        model = {
          # In /srv/models.
          path = "Qwen3-Coder-Next-Q8_0-00001-of-00003.gguf";
          alias = [ "qwen3-coder-next" ];
          n_gpu_layers = 999;
          mmap = false;
        };
        context = {
          # Two slots of 262144 tokens, which is what the model was trained for.
          ctx_size = 524288;
          parallel = 2;
          batch = 2048;
          ubatch = 512;
          flash_attn = "on";
          # Half the memory of f16, and what the Compose set-up had. One user of this GPU measured
          # 170 instead of 336 tokens/s of prompt, and 19.4 instead of 29.1 generated, with q8_0
          # at a depth of 19k (GLM-4.7-Flash on Vulkan). `strixhalo bench` tells for your model.
          cache_type_k = "q8_0";
          cache_type_v = "q8_0";
        };
        sampling = {
          temperature = 1.0;
          top_k = 40;
          top_p = 0.95;
          min_p = 0.01;
        };
        server = {
          port = 8091;
          metrics = true;
          # For this machine only. To serve the network, make a file with a key and add:
          #   host = [ "0.0.0.0" ];
          # here, and below:
          #   apiKeyFile = "/etc/strixhalo/api-keys";
          #   openFirewall = true;
          host = [ "127.0.0.1" ];
        };
      };
    };

    # -- network and users ------------------------------------------------------------------------
    networking.hostName = "strixhalo";
    networking.useDHCP = lib.mkDefault true;

    services.openssh = {
      enable = true;
      settings = {
        PasswordAuthentication = false;
        KbdInteractiveAuthentication = false;
        PermitRootLogin = "no";
      };
    };

    users.users.${cfg.user} = {
      isNormalUser = true;
      extraGroups = [ "wheel" ];
      openssh.authorizedKeys.keys = cfg.sshKeys;
      hashedPasswordFile = cfg.passwordFile;
    };

    # A flake in a git checkout is read by git.
    programs.git.enable = true;

    # -- the system -------------------------------------------------------------------------------
    nix.settings.experimental-features = [
      "nix-command"
      "flakes"
    ];

    time.timeZone = lib.mkDefault "UTC";
    # The release this machine was installed with. It stays as it is through updates.
    system.stateVersion = "26.05";
  };
}
