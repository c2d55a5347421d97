# Wrong settings stop the evaluation; what only the server can tell stops the build. No machine.
{
  lib,
  nixosModule,
  pkgs,
  ...
}:
let
  configure =
    settings:
    (import (pkgs.path + "/nixos/lib/eval-config.nix") {
      # The packages that the caller has.
      system = null;
      modules = [
        nixosModule
        {
          services.strixhalo = {
            enable = true;
            package = pkgs.strixhalo-cpu;
            demoModel = lib.mkDefault true;
            settings.model.gpu = lib.mkDefault "off";
          };
          nixpkgs.pkgs = pkgs;
          boot.loader.grub.enable = false;
          fileSystems."/" = {
            device = "none";
            fsType = "tmpfs";
          };
          system.stateVersion = "26.05";
        }
        settings
      ];
    }).config;

  evaluates = settings: (builtins.tryEval (configure settings).system.build.toplevel.drvPath).success;
  refused = {
    typo.services.strixhalo.settings.server.prot = 8091;
    range.services.strixhalo.settings.server.port = 70000;
    enum.services.strixhalo.settings.model.gpu = "on";
    keyInStore.services.strixhalo.apiKeyFile = "${pkgs.writeText "keys" "sk"}";
    noModel.services.strixhalo.demoModel = false;
  };
  accepted = lib.filter (name: evaluates refused.${name}) (lib.attrNames refused);

  unknownToTheServer =
    (configure { services.strixhalo.extraSettings.server.prot = 8091; })
    .environment.etc."strixhalo/settings.toml".source;
in
assert lib.assertMsg (evaluates { }) "the configuration without a mistake has to evaluate";
assert lib.assertMsg (accepted == [ ]) "accepted: ${toString accepted}";
pkgs.runCommand "strixhalo-bad-settings"
  {
    failed = pkgs.testers.testBuildFailure unknownToTheServer;
  }
  ''
    grep -F "unknown setting server.prot; did you mean port?" "$failed/testBuildFailure.log"
    touch "$out"
  ''
