# The installer image, and the host that install-strixhalo leaves: installedHost is the example host
# with tests/systemd/installed.nix as its local.nix, which the emulated machine of tests/systemd
# compares with what the command writes. Each test is { expected; actual; }.
{ lib, installedHost }:
let
  nixos = import ./nixos.nix { inherit lib; };
  host = nixos.eval installedHost;

  flake = {
    outPath = "/flake";
    inputs = {
      nixpkgs.outPath = "/nixpkgs";
      linux.outPath = "/linux";
    };
  };
  # nixpkgs' own installer stays out.
  image = import ../../nix/iso.nix {
    system = "x86_64-linux";
    self = flake;
    nixpkgs = {
      outPath = "/nixpkgs";
      lib.nixosSystem =
        { modules }:
        {
          config.system.build.isoImage = {
            nixpkgsModule = lib.head modules;
            config = nixos.evalAny (
              lib.tail modules
              ++ [
                {
                  _module.args.pkgs = nixos.pkgs // {
                    callPackage = file: _: nixos.package (baseNameOf (dirOf file)) "1";
                    git = nixos.package "git" "1";
                    tmux = nixos.package "tmux" "1";
                  };
                }
              ]
            );
          };
        };
    };
  };
in
{
  "what install-strixhalo writes is accepted, without a word" = {
    expected = [ ];
    actual = nixos.failures host ++ host.warnings;
  };
  "it wins over the example's own values" = {
    expected = {
      user = "alice";
      keys = 1;
      password = "/etc/strixhalo/password";
      owner = "alice";
      gpu = [ "alice" ];
      installedGiB = 96;
      disks = [
        "/dev/disk/by-uuid/ROOT"
        "/dev/disk/by-uuid/BOOT"
      ];
    };
    actual = {
      inherit (host.hosts.strixhalo) user;
      keys = lib.length host.users.users.alice.openssh.authorizedKeys.keys;
      password = host.users.users.alice.hashedPasswordFile;
      owner = host.services.strixhalo.modelsOwner;
      gpu = host.hardware.strixhalo.users;
      inherit (host.hardware.strixhalo.memory) installedGiB;
      disks = map (path: host.fileSystems.${path}.device) [
        "/"
        "/boot"
      ];
    };
  };
  "a key is what was pasted, whatever is in it" = {
    expected = true;
    actual = lib.hasSuffix " \"alice\" \${x} \\ josé" (lib.head host.hosts.strixhalo.sshKeys);
  };
  "the image is nixpkgs' minimal installer with the command, the flake and its inputs" = {
    expected = {
      module = "/nixpkgs/nixos/modules/installer/cd-dvd/installation-cd-minimal.nix";
      commands = [
        "installer"
        "git"
        "tmux"
      ];
      flake = "/flake";
      sources = [
        "/linux"
        "/nixpkgs"
      ];
      help = true;
    };
    actual = {
      module = image.nixpkgsModule;
      commands = map lib.getName image.config.environment.systemPackages;
      flake = image.config.environment.etc."strixhalo-flake".source.outPath;
      sources = image.config.system.extraDependencies;
      help = lib.hasInfix "sudo install-strixhalo" image.config.services.getty.helpLine;
    };
  };
}
