# The NixOS modules, with what they take from the flake: its packages, and Linux 6.17 from its
# second nixpkgs. Both are functions of a system such as "x86_64-linux".
{ packagesFor, linux617For }:
let
  flake = { inherit packagesFor linux617For; };
  # The key lets a configuration import both a module and `default` without declaring options twice.
  module = file: {
    key = toString file;
    _file = toString file;
    imports = [ (import file flake) ];
  };
in
rec {
  hardware = module ./hardware.nix;
  service = module ./service.nix;
  default.imports = [
    hardware
    service
  ];
}
