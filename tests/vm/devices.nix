# Who may open the GPU, and what else the service may touch: a probe runs under the server's own
# unit settings.
{ server, ... }:
{
  name = "strixhalo-devices";
  nodes.machine =
    {
      config,
      lib,
      pkgs,
      ...
    }:
    {
      imports = [ server ];
      hardware.strixhalo = {
        enable = true;
        rocm.profile = "gfx1151-native";
        earlyAmdgpu = false;
        powerProfile = null;
        users = [ "alice" ];
      };
      # Found in a machine without a GPU: the server goes on with the CPU.
      services.strixhalo.settings.model.gpu = lib.mkForce "auto";
      # A real /dev/dri/renderD128 without hardware.
      boot.kernelModules = [ "vgem" ];

      users.users.alice.isNormalUser = true;
      users.users.bob.isNormalUser = true;

      systemd.services.probe = {
        requires = [ "strixhalo.service" ];
        after = [ "strixhalo.service" ];
        serviceConfig = config.systemd.services.strixhalo.serviceConfig // {
          Type = "oneshot";
          Restart = "no";
          WatchdogSec = 0;
          # The server's own stays its own.
          RuntimeDirectory = "probe";
          ExecStart = toString (
            pkgs.writeShellScript "probe" ''
              try() { if "$@" 2>/dev/null; then echo "yes: $*"; else echo "no: $*"; fi; }
              reads() { : < "$1"; }
              writes() { : > "$1"; }
              try reads /dev/dri/renderD128
              try reads /dev/kmsg
              try reads /dev/vda
              try reads /proc/meminfo
              try reads /home/alice/secret
              try writes /var/lib/strixhalo/file
              try writes /srv/models/file
              try writes /etc/file
              try writes /sys/module/ttm/parameters/pages_limit
              grep -E '^(NoNewPrivs|CapEff|CapBnd|Seccomp):' /proc/self/status
            ''
          );
        };
      };
    };

  testScript = ''
    machine.wait_for_unit("strixhalo.service")
    machine.wait_until_succeeds("test -e /dev/dri/renderD128")

    with subtest("the render node belongs to its group and to nobody else"):
        assert machine.succeed("stat -c '%G %a' /dev/dri/renderD128").strip() == "render 660"
        machine.succeed("su alice -c 'head -c 0 /dev/dri/renderD128'")
        machine.fail("su bob -c 'head -c 0 /dev/dri/renderD128'")

    with subtest("the server runs in the groups of the GPU"):
        groups = machine.succeed("grep ^Groups: /proc/$(systemctl show -P MainPID strixhalo)/status").split()
        for name in ("render", "video"):
            number = machine.succeed(f"getent group {name} | cut -d: -f3").strip()
            assert number in groups, (name, number, groups)

    machine.succeed("echo secret > /home/alice/secret; chmod 0644 /home/alice/secret; chmod 0755 /home/alice")
    machine.succeed("systemctl start probe.service")
    probe = machine.succeed("journalctl -u probe.service -o cat")

    with subtest("the service opens the GPU and no other device"):
        assert "yes: reads /dev/dri/renderD128" in probe, probe
        assert "no: reads /dev/kmsg" in probe, probe
        assert "no: reads /dev/vda" in probe, probe

    with subtest("it reads what a GPU runtime reads, and no homes"):
        assert "yes: reads /proc/meminfo" in probe, probe
        assert "no: reads /home/alice/secret" in probe, probe

    with subtest("it writes to its own directory only"):
        assert "yes: writes /var/lib/strixhalo/file" in probe, probe
        assert "no: writes /srv/models/file" in probe, probe
        assert "no: writes /etc/file" in probe, probe
        assert "no: writes /sys/module/ttm/parameters/pages_limit" in probe, probe

    with subtest("it has no privileges and gains none"):
        assert "NoNewPrivs:\t1" in probe, probe
        assert "CapEff:\t0000000000000000" in probe, probe
        assert "CapBnd:\t0000000000000000" in probe, probe
        assert "Seccomp:\t2" in probe, probe
  '';
}
