# What the installer image has beside NixOS' own: the command install-strixhalo and this flake, which
# it copies to the disk. The tests of tests/vm run it in a machine that has it too.
{ flake }:
{ pkgs, ... }:
{
  environment = {
    systemPackages = [
      (pkgs.callPackage ./package.nix { })
      # For those who go on from here by hand, and over a connection that may break.
      pkgs.git
      pkgs.tmux
    ];
    etc."strixhalo-flake".source = flake;
  };

  # The sources of the flake's inputs, so that nothing but packages has to be fetched.
  system.extraDependencies = map (input: input.outPath) (builtins.attrValues flake.inputs);

  nix.settings.experimental-features = [
    "nix-command"
    "flakes"
  ];
}
