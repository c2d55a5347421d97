# Configurations that must not evaluate. run.sh evaluates each by itself and looks for every line of
# `says` in the error, which names the option and the way out.
{ lib }:
let
  nixos = import ./nixos.nix { inherit lib; };
  mistake = settings: says: {
    inherit says;
    evaluate =
      builtins.toJSON
        (nixos.settings (
          nixos.eval {
            services.strixhalo = {
              inherit settings;
              enable = true;
            };
          }
        )).value;
  };
in
{
  "a misspelt setting" = mistake { server.prot = 1; } [
    "services.strixhalo.settings.server.prot' does not exist"
    "Did you mean `services.strixhalo.settings.server.port'"
  ];
  "a misspelt section" = mistake { contxt.ctx_size = 1; } [
    "services.strixhalo.settings.contxt' does not exist"
    "services.strixhalo.settings.context'"
  ];
  "a value out of range" = mistake { server.port = 70000; } [
    "services.strixhalo.settings.server.port' is not of type"
    "between 0 and 65535"
  ];
  "a value below a range that has no end" = mistake { sampling.repeat_last_n = -2; } [
    "services.strixhalo.settings.sampling.repeat_last_n' is not of type"
    "at least -1"
  ];
  "a word that an enum does not have" = mistake { model.gpu = "on"; } [
    "services.strixhalo.settings.model.gpu' is not of type"
    "\"required\", \"auto\", \"off\""
  ];
  "a value of another type" = mistake { model.mmap = "yes"; } [
    "services.strixhalo.settings.model.mmap' is not of type"
    "boolean"
  ];
  "a number that is none" = mistake { sampling.temperature = "hot"; } [
    "services.strixhalo.settings.sampling.temperature' is not of type"
    "between 0"
  ];
  "a list item that an enum does not have" = mistake { sampling.samplers = [ "top_q" ]; } [
    "services.strixhalo.settings.sampling.samplers"
    "top_k"
  ];
}
