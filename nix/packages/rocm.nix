# ROCm 6.4.1 as AMD built it for Ubuntu 24.04: the packages of rocm-6.4.1.json in one prefix, with
# libraries, interpreters, scripts and CMake files that point into the store. nixpkgs never had
# this version.
#
# Each package has a list of URLs. AMD's is the only public one that is known: to build also after AMD
# has moved these files, keep a copy of them and add its URLs, whose files are checked by the same hash.
{
  lib,
  stdenv,
  fetchurl,
  autoPatchelfHook,
  bash,
  dpkg,
  elfutils,
  expat,
  gcc13,
  libdrm,
  # With the name of AMD's libraries, libxml2.so.2. Older releases of nixpkgs lack it.
  libxml2_13 ? null,
  ncurses,
  numactl,
  patchelf,
  patchelfUnstable ? patchelf,
  perl,
  python3,
  zlib,
  zstd,
}:
let
  release = lib.importJSON ./rocm-6.4.1.json;
  inherit (stdenv.cc) libc;

  # The GPUs that this is for; the libraries bring kernels for a dozen others, of several GB.
  targets = [
    "gfx1100"
    "gfx1151"
  ];

  # AMD's clang brings neither a C library nor libstdc++. AMD built and tested this release with
  # GCC 13, and newer libstdc++ headers are known trouble for HIP; at run time the newest
  # libstdc++ serves all.
  clangFlags = [
    "-idirafter ${lib.getDev libc}/include"
    "-B${lib.getLib libc}/lib"
    "-L${lib.getLib libc}/lib"
    "-L${gcc13.cc.lib}/lib"
    "-L${gcc13.cc.libgcc}/lib"
    "-fuse-ld=lld"
    "-Wl,-dynamic-linker,${stdenv.cc.bintools.dynamicLinker}"
    "-Wl,-rpath,${lib.getLib libc}/lib:${stdenv.cc.cc.lib}/lib"
  ];

  # What has to find all its libraries. Other files may lack some: nothing here needs them.
  checkedFiles = [
    "bin/hipcc"
    "bin/rocminfo"
    "lib/libamd_comgr.so"
    "lib/libamdhip64.so"
    "lib/libhipblas.so"
    "lib/libhipblaslt.so"
    "lib/libhiprtc.so"
    "lib/libhsa-runtime64.so"
    "lib/librocblas.so"
    "lib/librocm_smi64.so"
    "lib/librocsolver.so"
    "lib/librocsparse.so"
    "lib/llvm/bin/clang"
    "lib/llvm/bin/clang-offload-bundler"
    "lib/llvm/bin/lld"
  ];
in
stdenv.mkDerivation {
  pname = "rocm";
  inherit (release) version;

  srcs = map (
    package:
    fetchurl {
      # The name in the URL has a character that the store refuses.
      name = "${package.name}-${release.version}.deb";
      inherit (package) urls sha256;
    }
  ) release.packages;

  nativeBuildInputs = [
    autoPatchelfHook
    dpkg
  ];
  buildInputs = [
    bash
    elfutils
    expat
    libdrm
    ncurses
    numactl
    perl
    python3
    stdenv.cc.cc.lib
    zlib
    zstd
  ]
  # AMD's lld of some releases is linked with it.
  ++ lib.optional (libxml2_13 != null) libxml2_13;

  unpackPhase = ''
    runHook preUnpack
    for package in $srcs; do
      dpkg-deb --extract "$package" .
    done
    runHook postUnpack
  '';

  dontConfigure = true;
  dontBuild = true;

  installPhase = ''
    runHook preInstall
    cp -r opt/rocm-${release.version} "$out"
    chmod -R u+w "$out"

    # AMD's packages make this link when they are installed.
    cd "$out"
    [[ -e llvm ]] || ln -s lib/llvm llvm

    find "$out" -type l -lname '/opt/rocm*' | while read -r link; do
      target=$(readlink "$link")
      ln -sfn "$out/''${target#/opt/rocm*/}" "$link"
    done
    find "$out" -xtype l -delete

    # Scripts, CMake files and the like; -I leaves binaries alone.
    grep -rlIZ /opt/rocm "$out" | xargs -0 --no-run-if-empty \
      sed -i -e "s|/opt/rocm-${lib.escapeRegex release.version}|$out|g" -e "s|/opt/rocm|$out|g"

    for library in rocblas hipblaslt; do
      find "$out/lib/$library/library" -type f -name '*gfx*' \
        ${lib.concatMapStringsSep " " (target: "! -name '*${target}*'") targets} -delete
    done

    # clang, clang++ and clang-cpp each read a file of their name beside them.
    cd lib/llvm/bin
    printf '%s\n' "--gcc-install-dir=$(echo ${gcc13.cc}/lib/gcc/*/*)" \
      ${lib.escapeShellArgs clangFlags} >gcc13.cfg
    for name in clang clang++ clang-cpp; do
      echo @gcc13.cfg >>"$name.cfg"
    done
    runHook postInstall
  '';

  # Libraries that are opened by name, such as comgr by the HIP runtime, lie in the same prefix.
  appendRunpaths = [ "${placeholder "out"}/lib" ];
  # installCheckPhase looks at the files that matter.
  autoPatchelfIgnoreMissingDeps = [ "*" ];
  dontPatchELF = true;
  # A library that asks for an executable stack cannot be opened by name since glibc 2.41. What is no
  # library is left as it is. The stdenv's patchelf may be too old to know the option.
  postFixup = ''
    find "$out" -type f -name '*.so*' \
      -exec ${patchelfUnstable}/bin/patchelf --clear-execstack {} \; 2>/dev/null || true
  '';
  # Code for GPUs is ELF as well.
  dontStrip = true;

  doInstallCheck = true;
  installCheckPhase = ''
    runHook preInstallCheck
    if grep -rlI /opt/rocm "$out"; then
      echo "these files still name /opt/rocm"
      exit 1
    fi
    find "$out" -type f | while read -r file; do
      isELF "$file" || continue
      # Libraries have no interpreter and GPU code has no rpath: patchelf says so, which is fine.
      rpath=$(patchelf --print-rpath "$file" 2>/dev/null || true)
      interpreter=$(patchelf --print-interpreter "$file" 2>/dev/null || true)
      if [[ "$rpath $interpreter" == */opt/* ]]; then
        echo "$file looks for libraries in /opt: $rpath $interpreter"
        exit 1
      fi
    done
    for file in ${toString checkedFiles}; do
      if ldd "$out/$file" | grep 'not found'; then
        echo "$file lacks these libraries"
        exit 1
      fi
    done
    for library in rocblas hipblaslt; do
      ls "$out/lib/$library/library" | grep gfx1100 >kernels.txt || {
        echo "$library has no kernels for gfx1100"
        exit 1
      }
    done

    cat >hello.cpp <<'EOF'
    #include <cmath>
    #include <iostream>
    #include <string>
    int main(int argc, char **) {
      std::cout << std::string("hello ") << std::sqrt(4.0 * argc) << "\n";
    }
    EOF
    "$out/lib/llvm/bin/clang++" -std=c++17 -O2 hello.cpp -o hello
    ./hello

    cat >kernel.hip <<'EOF'
    #include <hip/hip_runtime.h>
    __global__ void scale(float *values, float factor) {
      values[blockIdx.x * blockDim.x + threadIdx.x] *= factor;
    }
    void launch(float *values) { scale<<<1, 32>>>(values, 2.0f); }
    EOF
    "$out/bin/hipcc" --offload-arch=gfx1100 --offload-arch=gfx1151 -c kernel.hip -o kernel.o
    # As CMake calls it.
    ROCM_PATH=$out HIP_PATH=$out "$out/lib/llvm/bin/clang++" -x hip \
      --offload-arch=gfx1100 --offload-arch=gfx1151 -c kernel.hip -o kernel.o
    runHook postInstallCheck
  '';

  meta = {
    description = "AMD's ROCm ${release.version}: HIP runtime and compiler, rocBLAS, hipBLASLt, tools";
    homepage = "https://rocm.docs.amd.com/en/docs-${release.version}/";
    license = with lib.licenses; [
      asl20
      llvm-exception
      mit
      ncsa
    ];
    sourceProvenance = [ lib.sourceTypes.binaryNativeCode ];
    platforms = [ "x86_64-linux" ];
  };
}
