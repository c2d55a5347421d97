# Runs the tests of one file and gives lines for run.sh: "ok NAME" or "FAILED NAME: what differs".
{ file, ... }@args:
let
  content = import file;
  tests = if builtins.isFunction content then content (removeAttrs args [ "file" ]) else content;
  outcome =
    name:
    let
      inherit (tests.${name}) expected actual;
      equal = builtins.tryEval (actual == expected);
    in
    if !equal.success then
      "FAILED ${name}: the evaluation fails"
    else if equal.value then
      "ok ${name}"
    else
      "FAILED ${name}: expected ${builtins.toJSON expected}, got ${builtins.toJSON actual}";
in
builtins.concatStringsSep "" (map (name: outcome name + "\n") (builtins.attrNames tests))
