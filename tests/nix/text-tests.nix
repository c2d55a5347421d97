# What the pages and the example host tell people to do, where another word would cost them a machine
# that does not boot, or memory. Each test is { expected; actual; }.
{ lib }:
let
  # Line breaks are where they fit.
  words = file: lib.replaceStrings [ "\n" "#" ] [ " " "" ] (lib.readFile file);
  squeezed =
    file: lib.concatStringsSep " " (lib.filter (word: word != "") (lib.splitString " " (words file)));
  pages = {
    readme = ../../README.md;
    install = ../../docs/install-nixos.md;
    options = ../../docs/options.md;
    profiles = ../../docs/profiles.md;
    host = ../../hosts/strixhalo/default.nix;
    hardware = ../../nix/modules/hardware.nix;
    checks = ../../nix/modules/hardware-checks.nix;
    command = ../../nix/installer/install-strixhalo.sh;
  };
  says = {
    "the boot partition has room for ten kernels and initrds" = {
      install = "mkpart ESP fat32 1MiB 2GiB";
      command = "size=2GiB, type=C12A7328-F81F-11D2-BA4B-00C04F8EC93B";
    };
    "the cost of a quantized cache is said beside the line" = {
      host = "170 instead of 336 tokens/s of prompt";
    };
    "the cost of the IOMMU is today's" = {
      hardware = "5 to 12 % more speed";
      options = "5 to 12 % more speed";
    };
    "what a switch does while the model loads or is missing is said" = {
      install = "waits until the server is ready";
    };
    "it is also said with which status it then ends" = {
      install = "ends with status 4";
    };
    "each profile's kernel pin and known hang are named" = {
      profiles = "ROCm/TheRock#1413";
      hardware = "ROCm/TheRock#1413";
    };
  };
in
{
  "no text leaves the size of the UMA frame buffer to the firmware" = {
    expected = [ ];
    actual = lib.attrNames (lib.filterAttrs (_: file: lib.hasInfix "Auto" (lib.readFile file)) pages);
  };
}
// lib.mapAttrs (_: wanted: {
  expected = [ ];
  actual = lib.attrNames (
    lib.filterAttrs (
      page: text: !lib.hasInfix (lib.replaceStrings [ "#" ] [ "" ] text) (squeezed pages.${page})
    ) wanted
  );
}) says
