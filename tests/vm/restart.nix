# A crash, a hang and a stop: what is running is ended properly, and no client is turned away.
{ server, ... }:
{
  name = "strixhalo-restart";
  nodes.machine =
    { lib, ... }:
    {
      imports = [ server ];
      services.strixhalo.settings.limits = {
        drain_timeout = 5;
        stall_timeout = 5;
      };
      # The module would take two minutes.
      systemd.services.strixhalo.serviceConfig.WatchdogSec = lib.mkForce 10;
    };

  testScript = ''
    import json

    url = "http://127.0.0.1:8091"

    def show(property):
        return machine.succeed(f"systemctl show -P {property} strixhalo.service").strip()

    def healthy():
        machine.wait_until_succeeds(f"curl -sS --fail {url}/health", timeout=60)

    machine.wait_for_unit("strixhalo.service")

    with subtest("a client that comes while a crashed server starts again is answered"):
        first = show("MainPID")
        machine.succeed(f"kill -KILL {first}")
        # No second try: a refused connection would fail here.
        machine.succeed(f"curl -sS --fail --max-time 60 {url}/v1/models")
        assert show("MainPID") != first
        assert show("NRestarts") == "1"

    with subtest("a server that hangs is killed by the watchdog and comes back"):
        hung = show("MainPID")
        machine.succeed(f"kill -STOP {hung}")
        machine.wait_until_succeeds(
            f"test $(systemctl show -P NRestarts strixhalo.service) -ge 2 && ! test -e /proc/{hung}",
            timeout=90,
        )
        healthy()
        machine.succeed("journalctl -u strixhalo.service | grep -i watchdog")

    with subtest("a stop lets a stream end"):
        body = json.dumps({
            "messages": [{"role": "user", "content": "Hello"}],
            "stream": True,
            "ignore_eos": True,
            "max_tokens": 1000000,
        })
        machine.succeed(f"cat > /tmp/body <<'END'\n{body}\nEND")
        machine.succeed(
            "systemd-run --unit=stream curl -sSN --fail -o /tmp/stream "
            f"-H 'Content-Type: application/json' -d @/tmp/body {url}/v1/chat/completions"
        )
        machine.wait_until_succeeds("test $(wc -l < /tmp/stream) -gt 5")
        machine.succeed("systemctl stop strixhalo.socket strixhalo.service")
        machine.wait_until_succeeds("tail -n 2 /tmp/stream | grep -F 'data: [DONE]'")
        assert show("Result") == "success", show("Result")
        assert show("ExecMainStatus") == "0", show("ExecMainStatus")
  '';
}
