# Linux 6.17 of the flake's second nixpkgs, for the modules of any NixOS. From 26.11 on these read
# two facts of a kernel that one packaged in 2025 does not state. Both are what x86-64 had then: the
# kernel that is built stays the same.
linuxPackages:
linuxPackages.extend (
  _: previous: {
    kernel = previous.kernel.overrideAttrs (old: {
      passthru = {
        target = "bzImage";
        buildDTBs = false;
      }
      // (old.passthru or { });
    });
  }
)
