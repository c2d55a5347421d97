# Who logs in on a terminal reads what the doctor finds, and a login goes on whatever it finds: here a
# GPU that is not there.
{ server, ... }:
{
  name = "strixhalo-login-message";
  nodes.machine =
    { pkgs, ... }:
    {
      imports = [ server ];
      hardware.strixhalo = {
        enable = true;
        # The machine has no such GPU; the kernel of this profile is nixpkgs' own.
        rocm.profile = "vulkan";
        earlyAmdgpu = false;
        powerProfile = null;
        loginMessage.enable = true;
      };
      users.users.alice.isNormalUser = true;
      # For `script`, which plays a terminal.
      environment.systemPackages = [ pkgs.util-linux ];
      # A switch that has the message for the first time, or no longer.
      specialisation.silent.configuration =
        { lib, ... }:
        {
          hardware.strixhalo.loginMessage.enable = lib.mkForce false;
        };
    };

  testScript =
    { nodes, ... }:
    let
      system = "${nodes.machine.system.build.toplevel}";
    in
    ''
      def login(command):
          return machine.succeed(f"script --quiet --return --command 'su - alice -c \"{command}\"' /dev/null")

      machine.wait_for_unit("strixhalo.service")
      summary = machine.succeed("su alice -c 'strixhalo doctor --summary'").strip()
      assert 1 <= len(summary.splitlines()) <= 3, summary

      with subtest("a login on a terminal shows the summary and goes on"):
          shown = login("echo in").split()
          assert len(shown) > 1 and shown[-1] == "in", shown

      with subtest("a login without a terminal, such as a copy, shows nothing"):
          assert machine.succeed("su - alice -c 'echo in' | cat").strip() == "in"

      with subtest("neither way does a switch fail on it"):
          machine.succeed("${system}/specialisation/silent/bin/switch-to-configuration test >&2")
          assert login("echo in").strip() == "in"
          machine.succeed("${system}/bin/switch-to-configuration test >&2")
          assert login("echo in").strip() != "in"
    '';
}
