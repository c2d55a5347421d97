# What `nix run .#NAME` starts.
{ pkgs, self }:
let
  inherit (pkgs) lib;
  packages = self.packages.${pkgs.stdenv.hostPlatform.system};

  app = program: description: {
    type = "app";
    inherit program;
    meta = { inherit description; };
  };

  # The variables that the service would have, unless the caller has set them. An empty one is taken
  # away: to llama.cpp an empty GGML_CUDA_ENABLE_UNIFIED_MEMORY is switched on as well.
  profiles = import ./modules/rocm-profiles.nix;
  environmentOf =
    package:
    lib.concatStrings (
      lib.mapAttrsToList (name: value: ''
        export ${name}="''${${name}-${value}}"
        [[ -n ''$${name} ]] || unset ${name}
      '') profiles.${package.rocmProfile}
    );

  strixhalo = pkgs.writeShellApplication {
    name = "strixhalo";
    text = ''
      ${environmentOf packages.strixhalo}
      exec ${lib.getExe packages.strixhalo} "$@"
    '';
  };

  # A benchmark talks HTTP: it needs no llama.cpp, so nothing big is built for it.
  bench = pkgs.writeShellApplication {
    name = "strixhalo-bench";
    text = ''
      exec ${lib.getExe packages.strixhalo-tools} bench "$@"
    '';
  };

  rocm-tools = pkgs.writeShellApplication {
    name = "rocm-tools";
    runtimeInputs = [ packages.rocm ];
    text = ''
      ${environmentOf packages.strixhalo}
      case ''${1:-all} in
        all)
          rocminfo
          rocm-smi
          hipconfig --full
          ;;
        rocminfo | rocm-smi | hipconfig)
          exec "$@"
          ;;
        *)
          echo "usage: rocm-tools [rocminfo | rocm-smi | hipconfig] [ARGUMENTS]" >&2
          exit 64
          ;;
      esac
    '';
  };
in
{
  default = app (lib.getExe strixhalo) "Serve on the GPU; without flags, the built-in demo model";
  cpu = app (lib.getExe packages.strixhalo-cpu) "Serve on the CPU of any x86-64";
  bench = app (lib.getExe bench) "Measure an OpenAI-compatible server";
  rocm-tools = app (lib.getExe rocm-tools) "AMD's rocminfo, rocm-smi and hipconfig";
}
