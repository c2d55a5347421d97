# What the tests of the modules share.
{ lib }:
rec {
  nixos = import ./nixos.nix { inherit lib; };

  box = {
    hardware.strixhalo.enable = true;
    services.strixhalo = {
      enable = true;
      settings.model.path = "model.gguf";
    };
  };
  with_ =
    configuration:
    nixos.eval {
      imports = [
        box
        configuration
      ];
    };
  # The one failing assertion, or warning, has these words.
  says = words: texts: {
    expected = [ true ];
    actual = map (
      text: lib.all (word: lib.hasInfix word (lib.replaceStrings [ "\n" ] [ " " ] text)) words
    ) texts;
  };
  refused = configuration: words: says words (nixos.failures (with_ configuration));
  warned = configuration: words: says words (with_ configuration).warnings;
  is = actual: {
    expected = true;
    inherit actual;
  };
  params = configuration: (with_ configuration).boot.kernelParams;
  serviceOf = configuration: (with_ configuration).systemd.services.strixhalo.serviceConfig;
  inStore = name: "${builtins.storeDir}/00000000000000000000000000000000-${name}";
  native = {
    hardware.strixhalo.rocm.profile = "gfx1151-native";
  };
  vulkan = {
    hardware.strixhalo.rocm.profile = "vulkan";
  };
}
