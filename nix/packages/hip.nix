# Variables for a HIP build of llama-cpp-sys-2 and the CMake build inside it.
#
# prefix: holds lib/cmake/hip-lang and the libraries. clang: the HIP compiler, which must not be
# hipcc. targets: GPUs to compile for; without any, CMake takes one that nobody here has.
{
  prefix,
  clang,
  targets,
}:
{
  # The crate links what lies in $ROCM_PATH/lib.
  ROCM_PATH = prefix;
  HIP_PATH = prefix;
  HIP_PLATFORM = "amd";
  CMAKE_HIP_PLATFORM = "amd";
  CMAKE_HIP_COMPILER = clang;
  # Given, so that CMake does not ask hipconfig, which is not in a strict build's PATH.
  CMAKE_HIP_COMPILER_ROCM_ROOT = prefix;
  CMAKE_HIP_ARCHITECTURES = builtins.concatStringsSep ";" targets;
  # LLVM of ROCm 7.0 to 7.2 does not unroll enough (llama.cpp issue 17917: 40 % slower);
  # harmless on 6.4.
  CMAKE_HIP_FLAGS = "-mllvm --amdgpu-unroll-threshold-local=600";
  # HIP objects end up in a Rust executable, which is position independent.
  CMAKE_POSITION_INDEPENDENT_CODE = "ON";
}
