# The reading of the JSON schema, with builtins only. Each test is { expected; actual; }; one that
# has to fail gives true where the evaluation throws.
let
  read = import ../../nix/modules/settings-schema.nix;
  top = properties: {
    type = "object";
    additionalProperties = false;
    inherit properties;
  };
  one =
    node:
    (read (top {
      x = {
        description = "X.";
      }
      // node;
    })).x;
  throws = value: {
    expected = false;
    actual = (builtins.tryEval (builtins.deepSeq value null)).success;
  };
  typed = expected: node: {
    inherit expected;
    actual = (one node).type;
  };
in
{
  "the server's whole schema is understood" = {
    expected = true;
    actual = builtins.deepSeq (read (builtins.fromJSON (builtins.readFile ../../nix/modules/settings.schema.json))) true;
  };
  "a boolean" = typed { name = "bool"; } { type = "boolean"; };
  "a string" = typed { name = "str"; } { type = "string"; };
  "an integer with bounds" =
    typed
      {
        name = "int";
        min = 0;
        max = 65535;
      }
      {
        type = "integer";
        format = "uint16";
        minimum = 0;
        maximum = 65535;
      };
  "a number without an upper bound" =
    typed
      {
        name = "number";
        min = 0.0;
        max = null;
      }
      {
        type = "number";
        format = "float";
        minimum = 0.0;
      };
  "an enum" =
    typed
      {
        name = "enum";
        values = [
          "a"
          "b"
        ];
        meanings = { };
      }
      {
        type = "string";
        enum = [
          "a"
          "b"
        ];
      };
  "an enum with a comment on each variant" =
    typed
      {
        name = "enum";
        values = [ "a" ];
        meanings.a = "The first.";
      }
      {
        oneOf = [
          {
            type = "string";
            const = "a";
            description = "The first.";
          }
        ];
      };
  "a list of enums" =
    typed
      {
        name = "list";
        items = {
          name = "enum";
          values = [ "a" ];
          meanings = { };
        };
      }
      {
        type = "array";
        items = {
          type = "string";
          enum = [ "a" ];
          description = "An item.";
        };
      };
  "a map with free keys" = typed { name = "object"; } {
    type = "object";
    additionalProperties = true;
  };
  "an optional string" = {
    expected = [
      true
      { name = "str"; }
    ];
    actual =
      with one {
        type = [
          "string"
          "null"
        ];
      }; [
        nullable
        type
      ];
  };
  "an optional enum" = {
    expected = [
      true
      [ "a" ]
    ];
    actual =
      with one {
        anyOf = [
          {
            type = "string";
            enum = [ "a" ];
          }
          { type = "null"; }
        ];
      }; [
        nullable
        type.values
      ];
  };
  "a section in a section" = {
    expected = "bool";
    actual =
      (one (top {
        y = {
          type = "boolean";
          description = "Y.";
        };
      })).options.y.type.name;
  };
  "a default and a description" = {
    expected = [
      true
      "X."
    ];
    actual =
      with one {
        type = "boolean";
        default = true;
      }; [
        default
        description
      ];
  };
  "a reference is not known" = throws (one {
    "$ref" = "#/$defs/T";
  });
  "a pattern is not known" = throws (one {
    type = "string";
    pattern = "^a";
  });
  "a tagged union is not known" = throws (one {
    oneOf = [
      {
        type = "object";
        properties = { };
      }
    ];
  });
  "a value of two types is not known" = throws (one {
    type = [
      "string"
      "integer"
    ];
  });
  "a section that takes unknown keys is refused" = throws (read {
    type = "object";
    properties = { };
  });
  "a setting without a description is refused" = throws (
    read (top {
      x.type = "boolean";
    })
  );
}
