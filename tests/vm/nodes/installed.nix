# What the machine that tests/vm/installer.nix installs has beside the example host: a virtual machine
# without a GPU, which the test driver can talk to.
{ lib, modulesPath, ... }:
{
  imports = [
    "${modulesPath}/profiles/qemu-guest.nix"
    "${modulesPath}/testing/test-instrumentation.nix"
  ];
  hardware.strixhalo = {
    rocm.profile = "vulkan";
    earlyAmdgpu = false;
    powerProfile = null;
  };
  services.strixhalo = {
    demoModel = true;
    settings.model = {
      path = lib.mkForce null;
      gpu = lib.mkForce "off";
    };
  };
  # The disk moves from one virtual machine to the other, their firmware's variables do not.
  boot.loader.efi.canTouchEfiVariables = lib.mkForce false;
  documentation.enable = false;
}
