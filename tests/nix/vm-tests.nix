# The machines of tests/vm, as far as nixpkgs' lib alone can tell: their options exist, have values of
# the right type, and pass our own assertions. Each test is { expected; actual; }.
{ lib }:
let
  nixos = import ./nixos.nix { inherit lib; };
  folder = ../vm;
  files = lib.filter (
    file:
    lib.hasSuffix ".nix" file
    # These two describe no machine.
    && !lib.elem file [
      "bad-settings.nix"
      "default.nix"
    ]
  ) (lib.attrNames (builtins.readDir folder));

  pkgs = nixos.pkgs // {
    strixhalo-cpu = nixos.package "strixhalo-cpu" "1";
    callPackage = file: _: nixos.package (baseNameOf (dirOf file)) "1";
    curl = nixos.package "curl" "1";
    git = nixos.package "git" "1";
    tmux = nixos.package "tmux" "1";
    jq = nixos.package "jq" "1";
    util-linux = nixos.package "util-linux" "1";
    writeShellScript = name: _: nixos.package name "1";
  };
  server = import ../vm/nodes/server.nix { nixosModule = { }; };
  contentOf =
    file:
    import (folder + "/${file}") {
      inherit lib pkgs server;
      nixosModule = { };
      flake = {
        outPath = "/flake";
        inputs = { };
      };
    };

  configOf =
    node:
    nixos.eval {
      imports = [
        { _module.args.pkgs = pkgs; }
        node
      ];
    };
  machine =
    node:
    let
      config = configOf node;
    in
    {
      failures = nixos.failures config;
      unit = builtins.isString (builtins.toJSON (config.systemd.services.strixhalo.serviceConfig or { }));
      settings = builtins.isString (
        builtins.toJSON (if config.services.strixhalo.enable then (nixos.settings config).value else { })
      );
      # Each is the machine with a few more settings.
      specialisations = lib.mapAttrs (
        _: special:
        nixos.failures (
          nixos.eval {
            imports = [
              { _module.args.pkgs = pkgs; }
              node
              special.configuration
            ];
          }
        )
      ) config.specialisation;
    };
in
{
  "the keys of tests/vm/access.nix are not in the store with its machines" = {
    expected = [ ];
    actual = lib.filter (
      name: lib.hasInfix "sk-" (builtins.toJSON (configOf (contentOf "access.nix").nodes.${name}).systemd)
    ) (lib.attrNames (contentOf "access.nix").nodes);
  };
}
// lib.listToAttrs (
  map (file: {
    name = "the machines of tests/vm/${file} are well formed";
    value = {
      expected = [ ];
      actual = lib.concatMap (
        name:
        let
          found = machine (contentOf file).nodes.${name};
        in
        lib.optional (
          found.failures != [ ]
          || lib.any (failures: failures != [ ]) (lib.attrValues found.specialisations)
          || !found.unit
          || !found.settings
        ) { ${name} = found; }
      ) (lib.attrNames (contentOf file).nodes);
    };
  }) files
)
