# The example host, as far as nixpkgs' lib alone can tell. Each test is { expected; actual; }.
{ lib }:
let
  nixos = import ./nixos.nix { inherit lib; };
  host = nixos.eval ../../hosts/strixhalo;
  withKey = nixos.eval {
    imports = [ ../../hosts/strixhalo ];
    hosts.strixhalo.sshKeys = [ "ssh-ed25519 AAAA alice" ];
  };
in
{
  "nothing that it sets is refused" = {
    expected = [ ];
    actual = nixos.failures host;
  };
  "without an ssh key it says so, with one it says nothing" = {
    expected = [
      1
      0
    ];
    actual = map (config: lib.length config.warnings) [
      host
      withKey
    ];
  };
  "it serves what the replaced set-up served" = {
    expected = {
      model = {
        path = "Qwen3-Coder-Next-Q8_0-00001-of-00003.gguf";
        models_dir = "/srv/models";
        alias = [ "qwen3-coder-next" ];
        n_gpu_layers = 999;
        gpu = "required";
        mmap = false;
      };
      context = {
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
        host = [ "127.0.0.1" ];
        port = 8091;
        metrics = true;
      };
    };
    actual = (nixos.settings host).value;
  };
  "it has file systems by label, a boot loader, a network and ssh" = {
    expected = {
      devices = [
        "/dev/disk/by-label/nixos"
        "/dev/disk/by-label/BOOT"
      ];
      boot = true;
      dhcp = true;
      passwords = false;
    };
    actual = {
      devices = map (path: host.fileSystems.${path}.device) [
        "/"
        "/boot"
      ];
      boot = host.boot.loader.systemd-boot.enable;
      dhcp = host.networking.useDHCP;
      passwords = host.services.openssh.settings.PasswordAuthentication;
    };
  };
  "who logs in reads what the doctor finds" = {
    expected = true;
    actual = lib.hasInfix "strixhalo-login-message" host.environment.loginShellInit;
  };
  "what the flake needs to be built again is installed" = {
    expected = true;
    actual = host.programs.git.enable or false;
  };
  "who logs in is set where it is edited, and can be set from outside" = {
    expected = [
      "admin"
      "alice"
    ];
    actual = [
      host.hosts.strixhalo.user
      (nixos.eval {
        imports = [ ../../hosts/strixhalo ];
        hosts.strixhalo.user = "alice";
      }).hosts.strixhalo.user
    ];
  };
  "its user may use sudo, the GPU and the models" = {
    expected = {
      groups = [
        "render"
        "video"
        "wheel"
      ];
      keys = [ "ssh-ed25519 AAAA alice" ];
      owner = "admin";
    };
    actual = {
      groups = lib.sort lib.lessThan withKey.users.users.admin.extraGroups;
      inherit (withKey.users.users.admin.openssh.authorizedKeys) keys;
      owner = withKey.services.strixhalo.modelsOwner;
    };
  };
}
