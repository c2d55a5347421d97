# What pkgs.nixosOptionsDoc is given for docs/options.md, which is its Markdown page as it is. After
# a change of options, on a machine whose Nix can build, in the repository:
#
#   cp "$(nix build --no-link --print-out-paths .#checks.x86_64-linux.options-page)" docs/options.md
{ lib, options }:
{
  options = {
    hardware = { inherit (options.hardware) strixhalo; };
    services = { inherit (options.services) strixhalo; };
  };
  # Links from docs/ to the modules, not their paths in the store.
  transformOptions =
    option:
    option
    // {
      declarations = map (
        file:
        let
          name = lib.removePrefix "${toString ../.}/" file;
        in
        {
          inherit name;
          url = "../${name}";
        }
      ) option.declarations;
    };
}
