# A machine with the server on the CPU and the built-in model.
{ nixosModule }:
{
  lib,
  pkgs,
  ...
}:
{
  imports = [ nixosModule ];

  services.strixhalo = {
    enable = true;
    package = pkgs.strixhalo-cpu;
    demoModel = lib.mkDefault true;
    settings.model.gpu = "off";
  };

  environment.systemPackages = [
    pkgs.curl
    pkgs.jq
  ];
  virtualisation = {
    cores = 2;
    memorySize = 2048;
  };
}
