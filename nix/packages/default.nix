# The packages, for a nixpkgs. Each file is a function for callPackage.
{ pkgs }:
let
  inherit (pkgs) callPackage lib rocmPackages;

  source = import ./source.nix { inherit lib; };
  hip = import ./hip.nix;
  strixhalo-tools = callPackage ./tools.nix { inherit source; };
  server = arguments: callPackage ./server.nix ({ inherit source strixhalo-tools; } // arguments);

  # AMD's own ROCm 6.4.1, unpacked.
  rocm = callPackage ./rocm.nix { };

  rocm7 = {
    rocmProfile = "gfx1151-native";
    rocmVersion = rocmPackages.clr.version;
    backendFeatures = [ "hip" ];
    backendLibraries = [
      rocmPackages.clr
      rocmPackages.hipblas
      rocmPackages.rocblas
    ];
    backendEnvironment = hip {
      prefix = "${rocmPackages.clr}";
      clang = "${rocmPackages.clr.hipClangPath}/clang++";
      targets = [ "gfx1151" ];
    };
  };

  vulkan = {
    backendFeatures = [ "vulkan" ];
    # glslc compiles the shaders.
    backendTools = [ (lib.getBin pkgs.shaderc) ];
    backendLibraries = [
      pkgs.spirv-headers
      pkgs.vulkan-headers
      pkgs.vulkan-loader
    ];
  };
in
rec {
  inherit rocm strixhalo-tools;
  default = strixhalo;

  strixhalo = server {
    pname = "strixhalo";
    description = "LLM server for AMD Ryzen AI MAX+ 395, on ROCm 6.4.1";
    targetCpu = "znver5";
    rocmProfile = "gfx1100-compat";
    rocmVersion = rocm.version;
    backendFeatures = [ "hip" ];
    backendLibraries = [ rocm ];
    # gfx1100 for the override that the appliance sets by default, gfx1151 for running without it.
    backendEnvironment = hip {
      prefix = "${rocm}";
      clang = "${rocm}/lib/llvm/bin/clang++";
      targets = [
        "gfx1100"
        "gfx1151"
      ];
    };
  };

  strixhalo-rocm7 = server (
    rocm7
    // {
      pname = "strixhalo-rocm7";
      description = "LLM server for AMD Ryzen AI MAX+ 395, on nixpkgs' ROCm";
      targetCpu = "znver5";
    }
  );

  strixhalo-vulkan = server (
    vulkan
    // {
      pname = "strixhalo-vulkan";
      description = "LLM server for AMD Ryzen AI MAX+ 395, on Vulkan";
      targetCpu = "znver5";
    }
  );

  # Both, so that one machine can compare them: docs/profiles.md says how.
  strixhalo-hip-vulkan = server (
    rocm7
    // {
      pname = "strixhalo-hip-vulkan";
      description = "LLM server for AMD Ryzen AI MAX+ 395, on nixpkgs' ROCm and on Vulkan";
      targetCpu = "znver5";
      backendFeatures = rocm7.backendFeatures ++ vulkan.backendFeatures;
      backendLibraries = rocm7.backendLibraries ++ vulkan.backendLibraries;
      inherit (vulkan) backendTools;
    }
  );

  # Runs on every x86-64 of the last ten years; the VM tests use it.
  strixhalo-cpu = server {
    pname = "strixhalo-cpu";
    description = "LLM server that speaks the OpenAI API, on the CPU";
  };
}
