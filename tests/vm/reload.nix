# A switch to another log level reloads the server: the same process goes on.
{ server, ... }:
{
  name = "strixhalo-reload";
  nodes.machine = {
    imports = [ server ];
    services.strixhalo.settings.sampling.temperature = 0.25;
    specialisation.verbose.configuration.services.strixhalo.settings.log.level = "debug";
  };

  testScript =
    { nodes, ... }:
    let
      verbose = "${nodes.machine.system.build.toplevel}/specialisation/verbose";
    in
    ''
      def pid():
          return machine.succeed("systemctl show -P MainPID strixhalo.service").strip()

      machine.wait_for_unit("strixhalo.service")
      before = pid()

      with subtest("the settings file is the checked one"):
          machine.succeed("grep -F 'temperature = 0.25' /etc/strixhalo/settings.toml")
          machine.succeed("strixhalo config check /etc/strixhalo/settings.toml")

      with subtest("a switch reloads and does not restart"):
          machine.succeed("${verbose}/bin/switch-to-configuration test >&2")
          machine.succeed("grep -F debug /etc/strixhalo/settings.toml")
          machine.wait_until_succeeds("journalctl -u strixhalo.service | grep -F 'setting log.level'")
          assert pid() == before
          machine.require_unit_state("strixhalo.service", "active")

      with subtest("so does systemctl reload"):
          machine.succeed("systemctl reload strixhalo.service")
          assert pid() == before
          machine.succeed("curl -sS --fail http://127.0.0.1:8091/health")
    '';
}
