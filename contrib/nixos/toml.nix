# Renders a Nix value as TOML, without building anything: attribute sets as tables, lists of
# values as arrays (sets inside them inline), `null` left out.
{ lib }:
let
  inherit (builtins)
    attrNames
    concatStringsSep
    filter
    isAttrs
    isBool
    isInt
    isList
    isString
    match
    toJSON
    ;
  # TOML's basic strings take JSON's escapes, but for `\/`, which toJSON never writes.
  key = name: if match "[A-Za-z0-9_-]+" name != null then name else toJSON name;
  given = set: filter (name: set.${name} != null) (attrNames set);
  inline =
    value:
    if isBool value then
      (if value then "true" else "false")
    else if isInt value then
      toString value
    else if isString value then
      toJSON value
    else if isList value then
      "[${lib.concatMapStringsSep ", " inline value}]"
    else if isAttrs value then
      "{ ${lib.concatMapStringsSep ", " (name: "${key name} = ${inline value.${name}}") (given value)} }"
    else
      throw "a value that TOML does not have";
  table =
    path: set:
    let
      names = given set;
      isTable = name: isAttrs set.${name};
      values = map (name: "${key name} = ${inline set.${name}}") (filter (name: !isTable name) names);
      header = if path == [ ] || values == [ ] then [ ] else [ "[${concatStringsSep "." (map key path)}]" ];
    in
    (if values == [ ] then [ ] else [ (concatStringsSep "\n" (header ++ values) + "\n") ])
    ++ lib.concatMap (name: table (path ++ [ name ]) set.${name}) (filter isTable names);
in
set: concatStringsSep "\n" (table [ ] set)
