# Keys and the firewall, from a second machine.
{ lib, server, ... }:
let
  onTheNetwork = {
    imports = [ server ];
    services.strixhalo.settings.server.host = [ "0.0.0.0" ];
  };
in
{
  name = "strixhalo-access";

  nodes = {
    guarded = {
      imports = [ onTheNetwork ];
      services.strixhalo = {
        apiKeyFile = "/etc/strixhalo-keys";
        firewallInterfaces = [ "eth1" ];
      };
      # The test writes the key file first: what a machine is built from lies in the store.
      systemd.services.strixhalo.wantedBy = lib.mkForce [ ];
    };
    closed = onTheNetwork;
    client =
      { pkgs, ... }:
      {
        environment.systemPackages = [ pkgs.curl ];
      };
  };

  testScript = ''
    import secrets

    key = f"sk-{secrets.token_hex(16)}"

    start_all()
    guarded.wait_for_unit("multi-user.target")
    guarded.succeed(f"umask 077 && echo {key} > /etc/strixhalo-keys")
    guarded.succeed("systemctl start strixhalo.service")
    closed.wait_for_unit("strixhalo.service")
    client.wait_for_unit("multi-user.target")

    def status(machine, url, *options):
        return machine.succeed(
            f"curl -sS -o /dev/null -w '%{{http_code}}' --max-time 20 {' '.join(options)} {url}"
        ).strip()

    with subtest("the interface that is named lets requests in"):
        client.wait_until_succeeds("curl -sS --fail http://guarded:8091/health")

    with subtest("without the key they are refused, with it answered"):
        models = "http://guarded:8091/v1/models"
        assert status(client, models) == "401"
        assert status(client, models, "-H 'Authorization: Bearer sk-wrong'") == "401"
        assert status(client, models, f"-H 'Authorization: Bearer {key}'") == "200"
        assert status(client, models, f"-H 'x-api-key: {key}'") == "200"

    with subtest("the key is not where others can read it"):
        environ = "/proc/$(systemctl show -P MainPID strixhalo)/environ"
        guarded.succeed(f"grep -q API_KEY_FILE {environ}")
        guarded.fail(f"grep -R {key} /etc/strixhalo /etc/systemd/system {environ}")
        guarded.fail("su nobody -s /bin/sh -c 'cat /run/credentials/strixhalo.service/api-keys'")

    with subtest("a firewall that nobody opened is closed"):
        assert status(closed, "http://127.0.0.1:8091/health") == "200"
        client.succeed("ping -c 1 closed")
        client.fail("curl -sS --max-time 5 http://closed:8091/health")
  '';
}
