# The server for one backend and one CPU.
{
  lib,
  rustPlatform,
  cmake,
  testers,
  source,
  strixhalo-tools,
  pname,
  description,
  # For rustc and, as -march, for llama.cpp. "znver5" is this machine's; a binary for it does not
  # run elsewhere.
  targetCpu ? "x86-64-v3",
  backendFeatures ? [ ],
  # What the backend needs: cargo features, programs and libraries to build with, and variables.
  backendTools ? [ ],
  backendLibraries ? [ ],
  backendEnvironment ? { },
  # The profile of nix/modules/rocm-profiles.nix that its GPU code is for.
  rocmProfile ? null,
  # The ROCm that it runs on, which the kernel has to go with; null for a backend without.
  rocmVersion ? null,
}:
let
  manifest = lib.importTOML ../../Cargo.toml;

  # ggml's names of instruction sets, and flags that /proc/cpuinfo has only where the code runs. A
  # sandbox sets SOURCE_DATE_EPOCH, with which ggml leaves out all of them unless told otherwise.
  instructions = {
    x86-64-v3 = {
      ggml = [
        "AVX"
        "AVX2"
        "BMI2"
        "F16C"
        "FMA"
      ];
      cpuinfo = [
        "avx2"
        "bmi2"
      ];
    };
    znver5 = {
      ggml = instructions.x86-64-v3.ggml ++ [
        "AVX512"
        "AVX512_VBMI"
        "AVX512_VNNI"
        "AVX512_BF16"
      ];
      cpuinfo = [
        "avx512_vp2intersect"
        "avx_vnni"
      ];
    };
  };
  wanted =
    instructions.${targetCpu} or (throw ''
      strixhalo: no list of instruction sets for targetCpu "${targetCpu}"; there is one for: ${toString (lib.attrNames instructions)}
    '');
in
rustPlatform.buildRustPackage (finalAttrs: {
  inherit pname;
  inherit (manifest.package) version;
  src = source;
  cargoLock.lockFile = ../../Cargo.lock;
  buildFeatures = backendFeatures;

  nativeBuildInputs = [
    cmake
    rustPlatform.bindgenHook
  ]
  ++ backendTools;
  buildInputs = backendLibraries;

  # Drafts for Qwen3-Coder-Next are taken back without a copy: docs/speculation.md. That it fits is
  # tested in tests/engine/source.rs.
  rollbackPatch = ./qwen3next-rollback.patch;
  postPatch = ''
    patch -p1 -d "$cargoDepsCopy"/llama-cpp-sys-2-* <"$rollbackPatch"
  '';

  # CMake is called by llama-cpp-sys-2, which hands it every variable that begins with CMAKE_ or
  # GGML_ as a definition.
  dontUseCmakeConfigure = true;
  env = {
    RUSTFLAGS = "-C target-cpu=${targetCpu}";
    GGML_CCACHE = "OFF";
    # What the patch above makes true, for the memory plan.
    STRIXHALO_QWEN3NEXT_ROLLBACK = "1";
  }
  // lib.listToAttrs (map (name: lib.nameValuePair "GGML_${name}" "ON") wanted.ggml)
  // backendEnvironment;
  preBuild = ''
    export CMAKE_BUILD_PARALLEL_LEVEL=$NIX_BUILD_CORES
  '';

  # The tests start servers and watch time limits, which a loaded builder breaks: `./dev test`.
  doCheck = false;

  # Man pages, completions and the schema, from a binary that runs here.
  postInstall = ''
    cp -r --no-preserve=mode ${strixhalo-tools}/share "$out/share"
  '';

  doInstallCheck = true;
  installCheckPhase = ''
    runHook preInstallCheck
    program=$out/bin/strixhalo

    if ldd "$program" | grep 'not found'; then
      echo "$program lacks these libraries"
      exit 1
    fi
    rpath=$(patchelf --print-rpath "$program")
    interpreter=$(patchelf --print-interpreter "$program")
    if [[ "$rpath $interpreter" == */opt/* ]]; then
      echo "$program looks for libraries outside the store: $rpath $interpreter"
      exit 1
    fi

    # A builder with another CPU cannot run what it built.
    runs=yes
    for flag in ${toString wanted.cpuinfo}; do
      grep -q -w -m 1 "$flag" /proc/cpuinfo || runs=
    done
    if [[ -n $runs ]]; then
      "$program" --version
      "$program" config example >settings.toml
      "$program" config check settings.toml
      "$program" version | tee version.txt
      for set in ${toString wanted.ggml}; do
        grep -q "\b$set = 1" version.txt || { echo "llama.cpp was compiled without $set"; exit 1; }
      done
    else
      echo "not run: this CPU lacks instructions of ${targetCpu}, which $program is compiled for"
    fi
    runHook postInstallCheck
  '';

  passthru = {
    inherit
      backendFeatures
      rocmProfile
      rocmVersion
      targetCpu
      ;
    # Checks settings on every machine.
    tools = strixhalo-tools;
    tests.version = testers.testVersion { package = finalAttrs.finalPackage; };
  };

  meta = {
    inherit description;
    license = with lib.licenses; [
      mit
      asl20
    ];
    mainProgram = "strixhalo";
    platforms = [ "x86_64-linux" ];
  };
})
