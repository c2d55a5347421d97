# What `nix flake check` builds: the packages and the installer image, the example host in each
# profile, the tests of the modules, pages and style.
{ pkgs, self }:
let
  inherit (pkgs) lib;
  packages = self.packages.${pkgs.stdenv.hostPlatform.system};

  vmTests = import ../tests/vm {
    pkgs = pkgs.extend self.overlays.default;
    nixosModule = self.nixosModules.default;
    flake = self;
  };

  hostIn =
    profile:
    (self.nixosConfigurations.strixhalo.extendModules {
      modules = [ { hardware.strixhalo.rocm = { inherit profile; }; } ];
    }).config.system.build.toplevel;

  optionsDoc = pkgs.nixosOptionsDoc (
    import ./options-doc.nix {
      inherit lib;
      inherit (self.nixosConfigurations.strixhalo) options;
    }
  );
in
lib.mapAttrs' (name: lib.nameValuePair "package-${name}") (removeAttrs packages [ "default" ])
// lib.mapAttrs' (name: lib.nameValuePair "vm-${name}") vmTests
// lib.mapAttrs' (profile: _: lib.nameValuePair "host-${profile}" (hostIn profile)) (
  import ./modules/rocm-profiles.nix
)
// {
  options-page = optionsDoc.optionsCommonMark;

  # Blank lines do not count: the renderer has some more or fewer with the number of cores.
  options = pkgs.runCommand "strixhalo-options" { } ''
    page=${optionsDoc.optionsCommonMark}
    if ! diff --ignore-blank-lines --unified ${../docs/options.md} "$page"; then
      echo 'docs/options.md is not the page of the options; refresh it, in the repository:' >&2
      echo 'cp "$(nix build --no-link --print-out-paths .#checks.x86_64-linux.options-page)" docs/options.md' >&2
      exit 1
    fi
    touch $out
  '';

  modules =
    pkgs.runCommand "strixhalo-module-tests"
      {
        nativeBuildInputs = [
          pkgs.nix
          pkgs.python3
          pkgs.remarshal
        ];
        env = {
          NIXPKGS_LIB = "${pkgs.path + "/lib"}";
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
        shellcheck --external-sources dev nix/installer/install-strixhalo.sh nix/modules/login-message.sh
        touch $out
      '';
}
