# The packages, as far as it can be told without nixpkgs. Each test is { expected; actual; }.
{ lib }:
let
  rocm =
    packages:
    import ../../nix/packages/rocm.nix (
      {
        inherit lib;
        stdenv = {
          mkDerivation = attributes: attributes;
          cc = {
            libc = "libc";
            cc.lib = "libstdc++";
            bintools.dynamicLinker = "ld.so";
          };
        };
        fetchurl = arguments: arguments;
        gcc13.cc = {
          lib = "gcc13-lib";
          libgcc = "gcc13-libgcc";
          outPath = "gcc13";
        };
        patchelfUnstable = "patchelf-unstable";
      }
      // lib.genAttrs [
        "autoPatchelfHook"
        "bash"
        "dpkg"
        "elfutils"
        "expat"
        "libdrm"
        "ncurses"
        "numactl"
        "patchelf"
        "perl"
        "python3"
        "zlib"
        "zstd"
      ] (name: name)
      // packages
    );

  # What each package is made with.
  packages = import ../../nix/packages {
    pkgs = {
      inherit lib;
      callPackage = _: arguments: arguments // { outPath = "package"; };
      rocmPackages = {
        clr = {
          outPath = "clr";
          version = "7.2.3";
          hipClangPath = "clang";
        };
        hipblas = "hipblas";
        rocblas = "rocblas";
      };
      shaderc = {
        outPath = "shaderc";
        bin = "glslc";
      };
      spirv-headers = "spirv-headers";
      vulkan-headers = "vulkan-headers";
      vulkan-loader = "vulkan-loader";
    };
  };
  server = import ../../nix/packages/server.nix {
    inherit lib;
    rustPlatform = {
      bindgenHook = "bindgen-hook";
      buildRustPackage = make: make { finalPackage = null; };
    };
    cmake = "cmake";
    testers.testVersion = _: null;
    source = "source";
    strixhalo-tools = "tools";
    pname = "strixhalo";
    description = "";
  };
in
{
  "llama.cpp is patched, and the plan is told so" = {
    expected = [
      true
      "1"
    ];
    actual = [
      (lib.hasInfix ''<"$rollbackPatch"'' server.postPatch && lib.pathExists server.rollbackPatch)
      server.env.STRIXHALO_QWEN3NEXT_ROLLBACK
    ];
  };
  "each of AMD's packages has a list of addresses and a hash" = {
    expected = [ ];
    actual = lib.filter (
      source: !(lib.isList source.urls && source.urls != [ ] && lib.stringLength source.sha256 == 64)
    ) (rocm { }).srcs;
  };
  "AMD's linker finds libxml2.so.2 where nixpkgs has it, and older nixpkgs still evaluates" = {
    expected = [
      true
      false
    ];
    actual = map (given: lib.elem "libxml2_13" (rocm given).buildInputs) [
      { libxml2_13 = "libxml2_13"; }
      { }
    ];
  };
  "no library asks for an executable stack" = {
    expected = true;
    actual = lib.hasInfix "patchelf-unstable/bin/patchelf --clear-execstack" (rocm { }).postFixup;
  };
  "one package has what the HIP and the Vulkan package have" = {
    expected = {
      backendFeatures = [
        "hip"
        "vulkan"
      ];
      rocmProfile = "gfx1151-native";
      rocmVersion = "7.2.3";
      backendLibraries =
        packages.strixhalo-rocm7.backendLibraries ++ packages.strixhalo-vulkan.backendLibraries;
      inherit (packages.strixhalo-vulkan) backendTools;
      inherit (packages.strixhalo-rocm7) backendEnvironment targetCpu;
    };
    actual = {
      inherit (packages.strixhalo-hip-vulkan)
        backendFeatures
        rocmProfile
        rocmVersion
        backendLibraries
        backendTools
        backendEnvironment
        targetCpu
        ;
    };
  };
}
