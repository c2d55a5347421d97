# What hardware.strixhalo puts on the kernel's command line is what the memory manager of the GPU
# driver goes by.
{ server, ... }:
{
  name = "strixhalo-kernel";
  nodes.machine = {
    imports = [ server ];
    hardware.strixhalo = {
      enable = true;
      # The machine has no such GPU; the kernel of this profile is nixpkgs' own.
      rocm.profile = "gfx1151-native";
      memory.installedGiB = 128;
      memory.pagePoolSize = 1000000;
      earlyAmdgpu = false;
      powerProfile = null;
    };
  };

  testScript = ''
    machine.wait_for_unit("strixhalo.service")

    with subtest("the command line has the limits"):
        parameters = machine.succeed("cat /proc/cmdline").split()
        assert "ttm.pages_limit=30720000" in parameters, parameters
        assert "ttm.page_pool_size=1000000" in parameters, parameters
        assert "amd_iommu=off" in parameters, parameters

    with subtest("the module takes them"):
        machine.succeed("modprobe ttm")
        assert machine.succeed("cat /sys/module/ttm/parameters/pages_limit").strip() == "30720000"
        assert machine.succeed("cat /sys/module/ttm/parameters/page_pool_size").strip() == "1000000"

    with subtest("the kernel is one that ROCm 7.2 runs on"):
        machine.succeed("printf '6.18.4\n%s\n' $(uname -r) | sort -VC")

    with subtest("the environment of the profile reaches the server"):
        environment = machine.succeed("tr '\\0' '\\n' < /proc/$(systemctl show -P MainPID strixhalo)/environ")
        assert "GPU_MAX_HW_QUEUES=2" in environment, environment
        assert "HSA_OVERRIDE_GFX_VERSION" not in environment, environment

    with subtest("and the command that people type"):
        machine.succeed("grep -q GPU_MAX_HW_QUEUES $(command -v strixhalo)")
        machine.succeed("strixhalo version && man -w strixhalo")
  '';
}
