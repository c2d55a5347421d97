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
  default = app (lib.getExe packages.strixhalo) "Serve on the GPU; without flags, the built-in demo model";
  cpu = app (lib.getExe packages.strixhalo-cpu) "Serve on the CPU of any x86-64";
  bench = app (lib.getExe bench) "Measure an OpenAI-compatible server";
  rocm-tools = app (lib.getExe rocm-tools) "AMD's rocminfo, rocm-smi and hipconfig";
}
