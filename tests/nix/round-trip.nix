# Settings as the module writes them, as JSON for nixpkgs' own converter to TOML. run.sh lets the
# real binary check the file, and compares what `config show` reads from it.
{ lib }:
let
  nixos = import ./nixos.nix { inherit lib; };
  written = configuration: (nixos.settings (nixos.eval configuration)).value;
  schema = import ../../nix/modules/settings-options.nix {
    inherit lib;
    schema = lib.importJSON ../../nix/modules/settings.schema.json;
  };
  withoutNulls = lib.filterAttrsRecursive (_: value: value != null);
in
{
  # What hosts/strixhalo serves.
  host = (nixos.settings (nixos.eval ../../hosts/strixhalo)).value;
  # Every setting that has a default, set to it.
  everything = written {
    services.strixhalo.enable = true;
    services.strixhalo.settings = withoutNulls schema.defaults;
  };
  # Text and numbers that a careless writer of TOML would break.
  hostile = written {
    services.strixhalo = {
      enable = true;
      settings = {
        model = {
          path = "models/quote \" backslash \\ snow ☃ 'x'.gguf";
          chat_template = "{% if a %}\n\t\"tab\" {{ b }}\n{% endif %}";
          chat_template_kwargs = {
            enable_thinking = false;
            nested.list = [
              1
              2.5
              "three"
            ];
          };
        };
        sampling = {
          temperature = 1;
          min_p = 1.0e-3;
          dry_sequence_breakers = [
            "\n"
            "\""
          ];
        };
        server.host = [
          "::1"
          "unix:/run/strixhalo/socket"
        ];
        limits.body_bytes = 1099511627776;
      };
    };
  };
}
