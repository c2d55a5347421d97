# Reads the JSON schema of the settings (`strixhalo config schema`) into plain descriptions of
# options, with builtins only: settings-options.nix makes NixOS options of them. A schema construct
# that is not known here is an error, so that a new one cannot lose its meaning on the way.
#
#   { kind = "section"; description; options = { NAME = DESCRIPTION; ... }; }
#   { kind = "value"; description; nullable; default; type = TYPE; }
#
# where TYPE is { name = "bool" | "str" | "object"; }, { name = "int" | "number"; min; max; } with
# null for no bound, { name = "enum"; values; meanings; } or { name = "list"; items = TYPE; }.
let
  inherit (builtins)
    attrNames
    concatStringsSep
    elem
    filter
    head
    isBool
    isList
    isString
    length
    listToAttrs
    mapAttrs
    ;

  where = path: "settings schema, ${if path == [ ] then "top" else concatStringsSep "." path}";

  get =
    key: fallback: node:
    node.${key} or fallback;

  # Keys beside those that say nothing about the values.
  meaningful =
    node:
    filter (
      key:
      !elem key [
        "$schema"
        "title"
        "description"
        "default"
        # Width and sign of a number: schemars writes the bounds that follow from it as well.
        "format"
      ]
    ) (attrNames node);

  onlyKeys =
    path: allowed: node:
    let
      unknown = filter (key: !elem key allowed) (meaningful node);
    in
    if unknown == [ ] then
      node
    else
      throw "${where path}: unknown construct `${head unknown}`; teach nix/modules/settings-schema.nix what it means";

  # A schema for the other keys would be neither.
  takesAnyKey = node: isBool (node.additionalProperties or null) && node.additionalProperties;
  refusesOtherKeys = node: isBool (node.additionalProperties or null) && !node.additionalProperties;

  isNull = node: node == { type = "null"; };

  # `Option<T>` is written as a list of two types, or as "any of T and null".
  withoutNull =
    path: node:
    if isList (node.type or null) then
      let
        types = filter (type: type != "null") node.type;
      in
      if length types == 1 && elem "null" node.type then
        {
          nullable = true;
          inner = node // {
            type = head types;
          };
        }
      else
        throw "${where path}: a value of several types has no option type"
    else if node ? anyOf then
      let
        others = filter (alternative: !isNull alternative) (onlyKeys path [ "anyOf" ] node).anyOf;
      in
      if length others == 1 && length node.anyOf == 2 then
        {
          nullable = true;
          inner = head others;
        }
      else
        throw "${where path}: `anyOf` is only known as a value or null"
    else
      {
        nullable = false;
        inner = node;
      };

  bounded = name: path: node: {
    inherit name;
    min = (bounds path node).minimum or null;
    max = (bounds path node).maximum or null;
  };
  bounds =
    path:
    onlyKeys path [
      "type"
      "minimum"
      "maximum"
    ];

  # An enum with a comment on each variant.
  constants =
    path: alternatives:
    let
      checked = map (onlyKeys path [
        "type"
        "const"
      ]) alternatives;
      constant =
        node:
        if isString (node.const or null) then
          node.const
        else
          throw "${where path}: `oneOf` is only known for string constants";
    in
    {
      name = "enum";
      values = map constant checked;
      meanings = listToAttrs (
        map (node: {
          name = constant node;
          value = node.description or "";
        }) checked
      );
    };

  types = {
    boolean = path: node: builtins.seq (onlyKeys path [ "type" ] node) { name = "bool"; };
    integer = bounded "int";
    number = bounded "number";
    string =
      path: node:
      if node ? enum then
        {
          name = "enum";
          values =
            (onlyKeys path [
              "type"
              "enum"
            ] node).enum;
          meanings = { };
        }
      else
        builtins.seq (onlyKeys path [ "type" ] node) { name = "str"; };
    array =
      path: node:
      let
        checked = onlyKeys path [
          "type"
          "items"
        ] node;
      in
      {
        name = "list";
        items = typeOf (path ++ [ "items" ]) (
          checked.items or (throw "${where path}: a list without `items`")
        );
      };
    # A map with free keys; a struct is a section and does not come here.
    object =
      path: node:
      let
        checked = onlyKeys path [
          "type"
          "additionalProperties"
        ] node;
      in
      if takesAnyKey checked then
        { name = "object"; }
      else
        throw "${where path}: an object needs `properties`, or `additionalProperties: true`";
  };

  typeOf =
    path: node:
    if node ? oneOf then
      constants path (onlyKeys path [ "oneOf" ] node).oneOf
    else if node ? type && types ? ${toString node.type} then
      types.${node.type} path node
    else
      throw "${where path}: no type that is known here";

  section =
    path: node:
    let
      checked = onlyKeys path [
        "type"
        "properties"
        "additionalProperties"
        # Every setting has a default, so nothing has to be written; schemars lists names here all
        # the same where it describes what is read back.
        "required"
      ] node;
    in
    if !refusesOtherKeys checked then
      throw "${where path}: a section has to refuse unknown keys (`additionalProperties: false`)"
    else
      {
        kind = "section";
        description = get "description" "" node;
        options = mapAttrs (name: describe (path ++ [ name ])) node.properties;
      };

  value =
    path: node:
    let
      inherit (withoutNull path node) nullable inner;
    in
    {
      kind = "value";
      inherit nullable;
      description = get "description" (throw "${where path}: no description") node;
      default = get "default" null node;
      type = typeOf path inner;
    };

  describe = path: node: if node ? properties then section path node else value path node;
in
schema: (describe [ ] schema).options
