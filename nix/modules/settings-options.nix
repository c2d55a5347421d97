# NixOS options from the JSON schema of the settings: the same names, types, ranges and texts.
#
# An option that nobody sets is null and is left out of the file, so that the server's own default
# applies. That is not the same as writing the default down: a context that is set is never cut to
# what fits, one that is not set is.
{ lib, schema }:
let
  inherit (lib) mkOption types;

  bounded =
    number: min: max:
    if min != null && max != null then
      number.between min max
    else
      types.addCheck number.type (value: (min == null || value >= min) && (max == null || value <= max))
      // {
        description =
          number.type.description
          + lib.optionalString (min != null) ", at least ${toString min}"
          + lib.optionalString (max != null) ", at most ${toString max}";
      };

  optionType = {
    bool = _: types.bool;
    str = _: types.str;
    int =
      { min, max, ... }:
      bounded {
        type = types.int;
        between = types.ints.between;
      } min max;
    number =
      { min, max, ... }:
      bounded {
        type = types.number;
        between = types.numbers.between;
      } min max;
    enum = { values, ... }: types.enum values;
    list = { items, ... }: types.listOf (toType items);
    # Free keys, for the server to judge.
    object = _: types.attrsOf types.anything;
  };
  toType = type: optionType.${type.name} type;

  # Where each variant has a text of its own, it follows the option's.
  meanings =
    type:
    lib.concatMapStrings (value: "\n- `${value}`: ${type.meanings.${value}}") (
      lib.filter (value: type.meanings.${value} or "" != "") (type.values or [ ])
    );

  show = value: "`${lib.generators.toPretty { multiline = false; } value}`";

  toOption =
    {
      description,
      default,
      type,
      ...
    }:
    mkOption {
      type = types.nullOr (toType type);
      default = null;
      description =
        description
        + lib.optionalString (meanings type != "") "\n${meanings type}"
        + lib.optionalString (default != null) "\n\nThe server's default: ${show default}.";
    };

  toOptions = lib.mapAttrs (
    _: entry: if entry.kind == "section" then toOptions entry.options else toOption entry
  );

  # What the server takes where nothing is set, in the same tree.
  toDefaults = lib.mapAttrs (
    _: entry: if entry.kind == "section" then toDefaults entry.options else entry.default
  );

  # What somebody set, without the sections in which nobody did.
  setIn =
    entries: values:
    lib.filterAttrs (_: value: value != null) (
      lib.mapAttrs (
        name: entry:
        let
          inner = setIn entry.options values.${name};
        in
        if entry.kind == "value" then
          values.${name}
        else if inner == { } then
          null
        else
          inner
      ) entries
    );

  described = import ./settings-schema.nix schema;
in
{
  options = toOptions described;
  defaults = toDefaults described;
  set = setIn described;
}
