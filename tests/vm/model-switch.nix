# A specialisation with another model: switching to it loads that model, and turns nobody away.
{ server, ... }:
{
  name = "strixhalo-model-switch";
  nodes.machine = {
    imports = [ server ];
    # As a user would have put it there.
    systemd.tmpfiles.settings.models."/srv/models/other.gguf".C.argument = "${
      ../models/tiny-qwen3moe.gguf
    }";
    specialisation.other.configuration =
      { lib, ... }:
      {
        services.strixhalo = {
          demoModel = lib.mkForce false;
          settings.model.path = "other.gguf";
          settings.model.alias = [ "other" ];
        };
      };
  };

  testScript =
    { nodes, ... }:
    let
      other = "${nodes.machine.system.build.toplevel}/specialisation/other";
    in
    ''
      import json

      url = "http://127.0.0.1:8091"

      def served():
          return json.loads(machine.succeed(f"curl -sS --fail {url}/v1/models"))["data"][0]["id"]

      def pid():
          return machine.succeed("systemctl show -P MainPID strixhalo.service").strip()

      machine.wait_for_unit("strixhalo.service")
      before, process = served(), pid()
      assert before != "other"

      # One request after the other, all the time; curl fails on a refused connection.
      machine.succeed(
          "systemd-run --unit=clients /bin/sh -c "
          f'"while $(command -v curl) -sS -o /dev/null --max-time 60 {url}/v1/models; do :; done; exit 1"'
      )
      machine.succeed("${other}/bin/switch-to-configuration test >&2")
      machine.wait_for_unit("strixhalo.service")
      assert served() == "other"
      assert pid() != process

      with subtest("no connection was refused meanwhile"):
          machine.require_unit_state("clients.service", "active")
    '';
}
