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

  profiles = import ./modules/rocm-profiles.nix;
  environmentOf =
    package: import ./modules/run-environment.nix { inherit lib; } profiles.${package.rocmProfile};

  # The server's program in the environment of its profile, with these arguments before the caller's.
  strixhalo =
    name: arguments:
    pkgs.writeShellApplication {
      inherit name;
      text = ''
        ${environmentOf packages.strixhalo}
        exec ${lib.getExe packages.strixhalo} ${toString (arguments ++ [ "\"$@\"" ])}
      '';
    };
  command = name: app (lib.getExe (strixhalo "strixhalo-${name}" [ name ]));

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
  default = app (lib.getExe (
    strixhalo "strixhalo" [ ]
  )) "Serve on the GPU; without flags, the built-in demo model";
  cpu = app (lib.getExe packages.strixhalo-cpu) "Serve on the CPU of any x86-64";
  doctor = command "doctor" "Check this machine: kernel, memory limits, devices, groups, the service";
  plan = command "plan" "What a model takes of this machine's memory, from its header";
  verify-gpu = command "verify-gpu" "Prove that the GPU computes what the CPU computes";
  bench = app (lib.getExe bench) "Measure an OpenAI-compatible server";
  rocm-tools = app (lib.getExe rocm-tools) "AMD's rocminfo, rocm-smi and hipconfig";
}
