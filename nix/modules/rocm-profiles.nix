# The environment of each ROCm profile. Builtins only: the hardware module gives it to the service,
# and nix/apps.nix to `nix run`. What each variable does is said at
# `hardware.strixhalo.rocm.environment`; unified memory has an option of its own,
# `hardware.strixhalo.rocm.unifiedMemory`.
let
  both = {
    ROCBLAS_USE_HIPBLASLT = "1";
    GPU_MAX_HW_QUEUES = "2";
  };
in
{
  gfx1100-compat = both // {
    HSA_OVERRIDE_GFX_VERSION = "11.0.0";
    GGML_CUDA_ENABLE_UNIFIED_MEMORY = "1";
    HSA_XNACK = "1";
  };
  gfx1151-native = both;
  vulkan = { };
}
