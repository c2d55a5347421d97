# What `nix flake check` builds: the packages, the tests of the modules, pages and style. The
# example host is evaluated by it as well, as one of the flake's nixosConfigurations.
{ pkgs, self }:
let
  inherit (pkgs) lib;
  packages = self.packages.${pkgs.stdenv.hostPlatform.system};

  vmTests = import ../tests/vm {
    pkgs = pkgs.extend self.overlays.default;
    nixosModule = self.nixosModules.default;
  };

  inherit (self.nixosConfigurations.strixhalo) options;
in
lib.mapAttrs' (name: lib.nameValuePair "package-${name}") (removeAttrs packages [ "default" ])
// lib.mapAttrs' (name: lib.nameValuePair "vm-${name}") vmTests
// {
  options =
    (pkgs.nixosOptionsDoc {
      options = {
        hardware = { inherit (options.hardware) strixhalo; };
        services = { inherit (options.services) strixhalo; };
      };
    }).optionsCommonMark;

  modules =
    pkgs.runCommand "strixhalo-module-tests"
      {
        nativeBuildInputs = [
          pkgs.nix
          pkgs.python3
          pkgs.remarshal
        ];
        env = {
          NIXPKGS_LIB = "${self.inputs.nixpkgs}/lib";
          STRIXHALO = lib.getExe packages.strixhalo-tools;
        };
      }
      ''
        cp -r ${self} source
        cd source
        HOME=$TMPDIR bash tests/nix/run.sh
        touch $out
      '';

  style =
    pkgs.runCommand "strixhalo-style"
      {
        nativeBuildInputs = [
          pkgs.deadnix
          pkgs.nixfmt
          pkgs.rustfmt
          pkgs.shellcheck
          pkgs.statix
        ];
      }
      ''
        cd ${self}
        find . -name '*.nix' -exec nixfmt --check {} +
        deadnix --fail .
        statix check .
        rustfmt --check --edition 2024 src/lib.rs src/main.rs tests/*.rs
        shellcheck --external-sources dev
        touch $out
      '';
}
