# hardware.strixhalo.loginMessage. Each test is { expected; actual; }.
{ lib }:
let
  inherit (import ./cases.nix { inherit lib; }) is nixos with_;
  on = {
    hardware.strixhalo.loginMessage.enable = true;
  };
  program = package: "${package}/bin/strixhalo";
  hasProgram = package: config: lib.hasInfix (program package) config.environment.loginShellInit;
in
{
  "nothing runs at a login unless it is asked for" = {
    expected = [
      ""
      ""
    ];
    actual = [
      (with_ { }).environment.loginShellInit
      (nixos.eval {
        services.strixhalo.enable = true;
        services.strixhalo.demoModel = true;
        hardware.strixhalo.loginMessage.enable = true;
      }).environment.loginShellInit
    ];
  };
  "the program is the one that serves" = is (
    hasProgram nixos.packages.strixhalo-cpu (with_ {
      imports = [ on ];
      services.strixhalo.package = nixos.packages.strixhalo-cpu;
    })
  );
  "without a service it is the profile's" = {
    expected = [
      true
      true
    ];
    actual = map (hasProgram nixos.packages.strixhalo) [
      (with_ {
        imports = [ on ];
        services.strixhalo.enable = lib.mkForce false;
      })
      (nixos.evalHardware {
        imports = [ on ];
        hardware.strixhalo.enable = true;
      })
    ];
  };
  "it is asked on a terminal only, and whatever it answers the login goes on" = {
    expected = ''
      if [ -t 1 ] && [ -z "''${TMUX-}''${STY-}" ]; then
        ${nixos.package "strixhalo-login-message" ""} ${program nixos.packages.strixhalo} || true
      fi
    '';
    actual = (with_ on).environment.loginShellInit;
  };
  "no unit comes with it, so that a switch has nothing to start or to fail" = {
    expected = builtins.toJSON (with_ { }).systemd;
    actual = builtins.toJSON (with_ on).systemd;
  };
}
