# What the binary is made of: a change of documentation, tests or modules does not rebuild it.
{ lib }:
lib.fileset.toSource {
  root = ../..;
  fileset = lib.fileset.unions [
    ../../Cargo.lock
    ../../Cargo.toml
    ../../assets
    ../../nix/modules/settings.schema.json
    ../../src
  ];
}
