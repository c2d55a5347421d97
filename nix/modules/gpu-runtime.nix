# What the server runs the GPU with, which the choices of kernel and driver parameters go by. Our
# packages say it themselves; of another one only hardware.strixhalo.rocm.version can tell.
{ config, lib }:
let
  cfg = config.hardware.strixhalo;
  # service.nix can be left out.
  service = config.services.strixhalo or { enable = false; };
  package = if service.enable then service.package else { };
  backends = package.backendFeatures or cfg.rocm.package.backendFeatures or [ ];
in
rec {
  packageName = "services.strixhalo.package (${lib.getName package})";
  packageProfile = package.rocmProfile or null;
  # False for a package that needs another profile than the one that is set.
  isForProfile = packageProfile == null || packageProfile == cfg.rocm.profile;

  # Null: without ROCm.
  pairedRocm = package.rocmVersion or cfg.rocm.version;
  isRocmBefore72 = pairedRocm != null && lib.versionOlder pairedRocm "7.2";
  # What an error says of it.
  rocm =
    if package ? rocmVersion then
      "ROCm ${pairedRocm} of ${packageName}"
    else
      "ROCm ${pairedRocm} (hardware.strixhalo.rocm.version)";

  usesVulkan = lib.elem "vulkan" backends;
}
