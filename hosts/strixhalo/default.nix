# A complete machine: `nixos-rebuild switch --flake .#strixhalo`. docs/install-nixos.md goes from the
# installer to the first request. What you will want to change is at the top.
{
  config,
  lib,
  ...
}:
let
  cfg = config.hosts.strixhalo;
in
{
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
      memory.installedGiB = 128;
      users = [ cfg.user ];
    };
    nixpkgs.hostPlatform = "x86_64-linux";

    boot = {
      loader.systemd-boot = {
        enable = true;
        # The boot partition holds only so many kernels.
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
      device = "/dev/disk/by-label/nixos";
      fsType = "ext4";
      options = [ "noatime" ];
    };
    fileSystems."/boot" = {
      device = "/dev/disk/by-label/BOOT";
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
