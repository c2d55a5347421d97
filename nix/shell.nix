# What ./dev needs, for `nix develop`.
{
  mkShell,
  cargo,
  cargo-deny,
  ccache,
  clippy,
  cmake,
  deadnix,
  ninja,
  nixfmt,
  nodejs,
  pkg-config,
  python3,
  rustc,
  rustfmt,
  rustPlatform,
  shellcheck,
  statix,
}:
# The compiler is the default gcc: ./dev takes CC and CXX as they are set, and clang would want its
# OpenMP runtime named. libclang is here for bindgen.
mkShell {
  packages = [
    cargo
    cargo-deny
    ccache
    clippy
    cmake
    deadnix
    ninja
    nixfmt
    nodejs
    pkg-config
    python3
    rustc
    rustfmt
    rustPlatform.bindgenHook
    shellcheck
    statix
  ];

  # nixpkgs' compilers drop -march=native unless told otherwise; ./dev builds for this CPU.
  env.NIX_ENFORCE_NO_NATIVE = "0";
}
