# docs/options.md as text, from the options themselves. nixpkgs' lib is all it needs; the flake also
# builds nixpkgs' own page of the same options as a check.
{ lib }:
let
  modules = import ./modules {
    packagesFor = _: { };
    linux617For = _: { };
  };
  inherit
    (lib.evalModules {
      modules = [
        modules.default
        {
          # Only the declarations are looked at.
          _module.check = false;
          _module.args.pkgs = {
            formats.toml = _: { type = lib.types.attrsOf lib.types.anything; };
          };
        }
      ];
    })
    options
    ;
  inherit (lib)
    concatMapStrings
    optionalString
    removeSuffix
    replaceStrings
    ;

  # As nixosOptionsDoc shows values: code, unless the option has a text for them.
  shown =
    value:
    if value._type or "" == "literalMD" then
      " ${removeSuffix "\n" value.text}"
    else if lib.hasInfix "\n" value.text then
      "\n\n```nix\n${removeSuffix "\n" value.text}\n```"
    else
      " `${value.text}`";
  # {option}`name` is for nixpkgs' renderer.
  plain = replaceStrings [ "{option}" ] [ "" ];

  entry = option: ''
    ### `${option.name}`

    ${plain (removeSuffix "\n" option.description)}

    Type: ${option.type}
    ${optionalString (option ? default) "\nDefault:${plain (shown option.default)}\n"}${
      optionalString (option ? example) "\nExample:${shown option.example}\n"
    }
  '';
  of =
    tree: lib.filter (option: option.visible && !option.internal) (lib.optionAttrSetToDocList tree);
  page = tree: concatMapStrings entry (of tree);
in
''
  <!-- Made by nix/options-page.sh from the modules; tests/nix tells when it is stale. -->

  # NixOS options

  `hardware.strixhalo` is the machine, `services.strixhalo` the server. Sources are named as
  owner/repository#thread; `ROCm#N` is ROCm/ROCm, `ggml#N` is ggml-org/llama.cpp. A setting that
  is null is left to the server, whose default is named with it. Speeds and costs are what users
  reported in public; this project has measured none of them.

  ## The machine

  ${page { inherit (options.hardware) strixhalo; }}
  ## The server

  ${page {
    services.strixhalo = removeAttrs options.services.strixhalo [ "settings" ];
  }}
  ## The server's settings

  ${page { services.strixhalo = { inherit (options.services.strixhalo) settings; }; }}''
