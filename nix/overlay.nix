# The packages for other flakes' nixpkgs. `rocm` gets a name that says whose it is.
{ pkgs }:
let
  packages = import ./packages { inherit pkgs; };
in
{
  inherit (packages)
    strixhalo
    strixhalo-cpu
    strixhalo-hip-vulkan
    strixhalo-rocm7
    strixhalo-tools
    strixhalo-vulkan
    ;
  strixhalo-rocm = packages.rocm;
}
