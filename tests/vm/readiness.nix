# A unit that is ordered after the server starts when the model is loaded, and not before.
{ server, ... }:
{
  name = "strixhalo-readiness";
  nodes.machine =
    { pkgs, ... }:
    {
      imports = [ server ];
      # Without the socket a client that comes too early would be refused, and seen to be.
      services.strixhalo.socket.enable = false;
      systemd.services.client = {
        wantedBy = [ "multi-user.target" ];
        requires = [ "strixhalo.service" ];
        after = [ "strixhalo.service" ];
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          ExecStart = "${pkgs.curl}/bin/curl -sS --fail http://127.0.0.1:8091/health";
        };
      };
    };

  testScript = ''
    def show(unit, property):
        return machine.succeed(f"systemctl show -P {property} {unit}").strip()

    machine.wait_for_unit("multi-user.target")

    with subtest("the first request of the dependent unit is answered"):
        machine.require_unit_state("client.service", "active")

    with subtest("the dependent unit starts after READY"):
        ready = int(show("strixhalo.service", "ActiveEnterTimestampMonotonic"))
        client = int(show("client.service", "ExecMainStartTimestampMonotonic"))
        assert 0 < ready <= client, (ready, client)

    with subtest("the unit is told what to say"):
        assert show("strixhalo.service", "Type") == "notify-reload"
        assert show("strixhalo.service", "StatusText") != ""
        assert show("strixhalo.service", "NRestarts") == "0"
  '';
}
