# docs/options.md against the options, without nixpkgs' renderer, which the flake's check `options`
# compares it with. Each test is { expected; actual; }.
{ lib }:
let
  inherit (import ./cases.nix { inherit lib; }) nixos;
  doc = import ../../nix/options-doc.nix {
    inherit lib;
    inherit (nixos) options;
  };

  # Without what the renderer changes: white space, marks of code, backslashes and quotes.
  words = lib.replaceStrings (lib.attrNames changed) (lib.attrValues changed);
  changed = {
    " " = "";
    "\n" = "";
    "`" = "";
    "\\" = "";
    "{option}" = "";
    "“" = "\"";
    "”" = "\"";
    "‘" = "'";
    "’" = "'";
  };

  documented = lib.filter (option: option.visible && !option.internal) (
    map doc.transformOptions (lib.optionAttrSetToDocList doc.options)
  );
  entry =
    option:
    words (
      option.description
      + "*Type:*${option.type}"
      + lib.optionalString (option ? default) "*Default:*${option.default.text}"
      + lib.optionalString (option ? example) "*Example:*${option.example.text}"
      + "*Declared by:*"
      + lib.concatMapStrings (file: "- [${file.name}](${file.url})") option.declarations
    );
  options = lib.listToAttrs (map (option: lib.nameValuePair option.name (entry option)) documented);

  # A heading, and all that follows it.
  section =
    text:
    let
      lines = lib.splitString "\n" text;
    in
    lib.nameValuePair (words (lib.head lines)) (words (lib.concatStringsSep "\n" (lib.tail lines)));
  page = lib.listToAttrs (
    map section (lib.tail (lib.splitString "\n## " ("\n" + lib.readFile ../../docs/options.md)))
  );
in
{
  "docs/options.md has every option and no other (refresh it as nix/options-doc.nix says)" = {
    expected = lib.attrNames options;
    actual = lib.attrNames page;
  };
  "docs/options.md says of each what the modules say (refresh it as nix/options-doc.nix says)" = {
    expected = [ ];
    actual = lib.filter (name: page.${name} or null != options.${name}) (lib.attrNames options);
  };
  "modules are named by their place in the repository, wherever that is" = {
    expected = [
      "nix/modules/hardware.nix"
      "nix/modules/login-message.nix"
      "nix/modules/service.nix"
    ];
    actual = lib.unique (lib.concatMap (option: map (file: file.name) option.declarations) documented);
  };
}
