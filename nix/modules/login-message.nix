# `hardware.strixhalo.loginMessage`: who logs in reads what the doctor finds.
#
# Not a message of the day: PAM shows a file, which would say how the machine was when it booted. And
# no unit, so that nothing of it can fail a switch.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.hardware.strixhalo;
  # service.nix can be left out.
  service = config.services.strixhalo or { enable = false; };
  package = if service.enable then service.package else cfg.rocm.package;
  script = pkgs.writeShellScript "strixhalo-login-message" (builtins.readFile ./login-message.sh);
in
{
  options.hardware.strixhalo.loginMessage.enable = lib.mkOption {
    type = lib.types.bool;
    default = false;
    example = true;
    description = ''
      Whether a login on a terminal, at the machine or over SSH, shows the summary of
      `strixhalo doctor`: one to three lines. It comes from {option}`environment.loginShellInit`;
      shells inside tmux and screen do not show it again.

      What it costs: some tenths of a second at each login, and two seconds where the GPU's driver
      hangs; a login is never refused for it.

      Source: a choice of this project; the example host has it on.
    '';
  };

  config = lib.mkIf (cfg.enable && cfg.loginMessage.enable) {
    # Any shell reads it, and so does a login without a terminal, such as a copy by rsync.
    environment.loginShellInit = ''
      if [ -t 1 ] && [ -z "''${TMUX-}''${STY-}" ]; then
        ${script} ${lib.getExe package} || true
      fi
    '';
  };
}
