# The unit of unit.nix as the text of unit files, for a systemd outside NixOS and for the tests:
#
#   nix-instantiate --eval --strict --json nix/modules/render-unit.nix \
#     --argstr program /usr/bin/strixhalo --argstr configFile /etc/strixhalo/settings.toml \
#     --arg listenStreams '[ "127.0.0.1:8091" ]'
#
# gives { "strixhalo.service": TEXT, "strixhalo.socket": TEXT or null }. Arguments are unit.nix's.
{ program, configFile, ... }@args:
let
  unit = import ./unit.nix (args // { inherit program configFile; });

  # As NixOS writes them: a list is one line per item, an empty list nothing.
  value =
    v:
    if !builtins.isBool v then
      toString v
    else if v then
      "true"
    else
      "false";
  lines =
    name: v:
    if builtins.isList v then map (item: "${name}=${value item}") v else [ "${name}=${value v}" ];
  section =
    name: settings:
    builtins.concatStringsSep "\n" (
      [ "[${name}]" ] ++ builtins.concatMap (key: lines key settings.${key}) (builtins.attrNames settings)
    )
    + "\n";
  file = builtins.concatStringsSep "\n";
in
{
  "strixhalo.service" = file [
    (section "Unit" (
      unit.unitConfig
      // {
        Description = unit.description;
        Documentation = unit.documentation;
        After = unit.after;
        Wants = unit.wants;
        Requires = unit.requires;
      }
    ))
    (section "Service" unit.serviceConfig)
    (section "Install" { WantedBy = "multi-user.target"; })
  ];
  "strixhalo.socket" =
    if unit.socketConfig == null then
      null
    else
      file [
        (section "Unit" { Description = "Socket of the ${unit.description}"; })
        (section "Socket" unit.socketConfig)
        (section "Install" { WantedBy = "sockets.target"; })
      ];
}
