# What install-strixhalo was told and found: this machine alone has it.
{
  hosts.strixhalo = {
    user = "alice";
    sshKeys = [
      "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAID5x6DGnxWW0GNI+xlumsbo3g7fL1p2Tz5q8C+IJOsSP \"alice\" \${x} \\ josé"
    ];
    passwordFile = "/etc/strixhalo/password";
  };
  hardware.strixhalo.memory.installedGiB = 96;
  # Another disk may have file systems with the same labels.
  fileSystems."/".device = "/dev/disk/by-uuid/ROOT";
  fileSystems."/boot".device = "/dev/disk/by-uuid/BOOT";
}
