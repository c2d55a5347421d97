# All that the guest needs of the modules, as one JSON object.
{ program }:
let
  render = import ../../nix/modules/render-unit.nix;
  values = import ./values.nix { inherit program; };
  memory = import ../../nix/modules/gpu-memory.nix { };
in
{
  appliance = render values.appliance.arguments;
  cpu = render values.cpu.arguments;
  kernelParams = builtins.concatStringsSep " " memory.kernelParams;
  inherit (memory) pages poolPages;
  udevRules = import ../../nix/modules/udev-rules.nix;
}
