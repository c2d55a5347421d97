# The command install-strixhalo. nixos-install is the running system's.
{
  lib,
  runCommand,
  makeWrapper,
  coreutils,
  dosfstools,
  e2fsprogs,
  gawk,
  gnugrep,
  gnused,
  iproute2,
  openssh,
  openssl,
  systemd,
  util-linux,
}:
runCommand "install-strixhalo"
  {
    nativeBuildInputs = [ makeWrapper ];
    meta = {
      description = "Installs NixOS with strixhalo on a disk";
      license = with lib.licenses; [
        mit
        asl20
      ];
      mainProgram = "install-strixhalo";
      platforms = [ "x86_64-linux" ];
    };
  }
  ''
    install -D -m 755 ${./install-strixhalo.sh} "$out/bin/install-strixhalo"
    patchShebangs "$out/bin"
    wrapProgram "$out/bin/install-strixhalo" --prefix PATH : ${
      lib.makeBinPath [
        coreutils
        dosfstools
        e2fsprogs
        gawk
        gnugrep
        gnused
        iproute2
        openssh
        openssl
        # udevadm
        systemd
        util-linux
      ]
    }
  ''
