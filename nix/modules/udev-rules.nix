# Who may open the GPU. Explicit, because systemd's own rules can be built to let everyone in. A
# file of its own, so that tests/systemd can run udev with it.
''
  SUBSYSTEM=="kfd", KERNEL=="kfd", GROUP="render", MODE="0660"
  SUBSYSTEM=="drm", KERNEL=="renderD*", GROUP="render", MODE="0660"
''
