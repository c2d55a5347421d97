# The commands that need no llama.cpp: `config`, `bench`, `generate`. It builds in minutes and runs
# on every x86-64, so man pages, shell completions and checks of settings come from it, also where
# the builder cannot run the server itself.
{
  lib,
  rustPlatform,
  installShellFiles,
  source,
}:
let
  manifest = lib.importTOML ../../Cargo.toml;
in
rustPlatform.buildRustPackage {
  pname = "strixhalo-tools";
  inherit (manifest.package) version;
  src = source;
  cargoLock.lockFile = ../../Cargo.lock;
  buildNoDefaultFeatures = true;
  nativeBuildInputs = [ installShellFiles ];
  # `plan` knows what the servers of this flake keep.
  env.STRIXHALO_QWEN3NEXT_ROLLBACK = "1";

  # The tests start servers and watch time limits, which a loaded builder breaks: `./dev test`.
  doCheck = false;

  postInstall = ''
    "$out/bin/strixhalo" generate man man
    installManPage man/*.1
    for shell in bash fish zsh; do
      "$out/bin/strixhalo" generate completions "$shell" >"completions.$shell"
      installShellCompletion --cmd strixhalo "--$shell" "completions.$shell"
    done
    install -D -m 444 nix/modules/settings.schema.json "$out/share/strixhalo/settings.schema.json"
  '';

  doInstallCheck = true;
  installCheckPhase = ''
    runHook preInstallCheck
    "$out/bin/strixhalo" --version
    "$out/bin/strixhalo" config example >settings.toml
    "$out/bin/strixhalo" config check settings.toml
    "$out/bin/strixhalo" config schema >schema.json
    cmp schema.json "$out/share/strixhalo/settings.schema.json"
    runHook postInstallCheck
  '';

  meta = {
    description = "Settings checker and benchmark of strixhalo, without the server";
    license = with lib.licenses; [
      mit
      asl20
    ];
    mainProgram = "strixhalo";
    platforms = [ "x86_64-linux" ];
  };
}
