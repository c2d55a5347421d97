# install-strixhalo, from an empty disk to a machine that boots from it and answers. There is no
# network, so all that the installed system is built from is in the store of the machine that installs.
{
  flake,
  lib,
  nixosModule,
  pkgs,
  ...
}:
let
  small = ./nodes/installed.nix;

  # What is installed: the flake, whose host is a small one.
  configuration = pkgs.runCommand "strixhalo-flake" { } ''
    cp -r ${flake} "$out"
    chmod -R u+w "$out"
    cd "$out/hosts/strixhalo"
    mv default.nix example.nix
    cp ${small} small.nix
    cat >default.nix <<'EOF'
    { pkgs, ... }:
    {
      imports = [
        ./example.nix
        ./small.nix
      ];
      services.strixhalo.package = (import ../../nix/packages { inherit pkgs; }).strixhalo-cpu;
    }
    EOF
  '';

  # The same but for what the command writes, with all that is needed to build it once more.
  built =
    (import (pkgs.path + "/nixos/lib/eval-config.nix") {
      system = null;
      modules = [
        nixosModule
        ../../hosts/strixhalo
        small
        {
          services.strixhalo.package = pkgs.strixhalo-cpu;
          system.includeBuildDependencies = true;
        }
      ];
    }).config.system.build.toplevel;
in
{
  name = "strixhalo-installer";

  nodes = {
    installer = {
      imports = [
        (import ../../nix/installer/module.nix {
          flake = {
            outPath = configuration;
            inherit (flake) inputs;
          };
        })
      ];
      system.extraDependencies = [ built ];
      system.disableInstallerTools = false;
      nix.settings = {
        substituters = lib.mkForce [ ];
        hashed-mirrors = null;
        connect-timeout = 1;
        flake-registry = "";
      };
      virtualisation = {
        cores = 4;
        memorySize = 4096;
        writableStore = true;
        # /dev/vdb.
        emptyDiskImages = [ 20480 ];
      };
    };

    # The same disk in a machine that boots from it.
    target.virtualisation = {
      memorySize = 2048;
      diskImage = "./empty0.qcow2";
      useBootLoader = true;
      useEFIBoot = true;
      useDefaultFilesystems = false;
      # They would come from a disk image of the machine's own, which is never made.
      efi.keepVariables = false;
      # Asked for by the module of the virtual machine and never read: the disk brings its own system.
      fileSystems."/" = {
        device = "/dev/disk/by-label/nowhere";
        fsType = "ext4";
      };
    };
  };

  testScript = ''
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAID5x6DGnxWW0GNI+xlumsbo3g7fL1p2Tz5q8C+IJOsSP alice@laptop"

    installer.start()
    installer.wait_for_unit("multi-user.target")

    with subtest("the command installs on the empty disk"):
        installer.succeed(
            f"install-strixhalo --disk /dev/vdb --user alice --ssh-key '{key}' < /dev/null >&2", timeout=3600
        )
        installer.succeed("umount -R /mnt && sync")
    installer.shutdown()

    target.state_dir = installer.state_dir
    target.start()

    with subtest("the disk boots, and the server answers"):
        target.wait_for_unit("strixhalo.service")
        target.succeed("curl -sS --fail http://127.0.0.1:8091/health")

    with subtest("the one who was named may use sudo, the GPU and the models, with the key"):
        groups = target.succeed("id -nG alice").split()
        assert {"wheel", "render", "video"} <= set(groups), groups
        assert key in target.succeed("cat /etc/ssh/authorized_keys.d/alice")
        assert target.succeed("stat -c %U /srv/models").strip() == "alice"

    with subtest("the kernel has the memory limits"):
        # As install-strixhalo chooses it for a machine with so little memory.
        assert "ttm.pages_limit=262144" in target.succeed("cat /proc/cmdline")

    with subtest("the configuration lies where the next switch takes it from"):
        target.succeed("test -e /etc/nixos/flake.nix -a -e /etc/nixos/hosts/strixhalo/local.nix")
  '';
}
