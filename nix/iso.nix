# The installer image: `nix build .#iso`, then write result/iso/*.iso to a stick. NixOS' minimal
# installer, which a machine without a graphical desktop needs no more than, with our command in it.
{
  nixpkgs,
  self,
  system,
}:
(nixpkgs.lib.nixosSystem {
  modules = [
    "${nixpkgs}/nixos/modules/installer/cd-dvd/installation-cd-minimal.nix"
    (import ./installer/module.nix { flake = self; })
    (
      { lib, ... }:
      {
        nixpkgs.hostPlatform = system;
        networking.hostName = lib.mkForce "strixhalo-installer";
        services.getty.helpLine = lib.mkForce ''

          To install strixhalo on a disk of this machine, with a network cable in, type:

            sudo install-strixhalo

          It asks for the disk, for a login and for its SSH key. To paste the key instead of typing
          it, set a password with `passwd`, look up the address with `ip -br a`, and continue from
          another machine with `ssh nixos@ADDRESS`, inside `tmux`: then a lost connection loses
          nothing (`tmux attach` is the way back). For Wi-Fi see the NixOS manual.
        '';
      }
    )
  ];
}).config.system.build.isoImage
