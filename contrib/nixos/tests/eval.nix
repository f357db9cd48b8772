# Evaluates module.nix against stand-ins for nixpkgs' lib and option types.
#   nix-instantiate --eval --strict --json contrib/nixos/tests/eval.nix --arg machine ./example.nix
#
# What this does not cover: nixpkgs' own option types, building the package, booting.
{ machine }:
let
  lib = import ./lib.nix;
  utils.escapeSystemdPath =
    path: builtins.replaceStrings [ "-" "/" ] [ "\\x2d" "-" ] (lib.removePrefix "/" path);
  result = lib.evalModules {
    modules = [
      ./stubs.nix
      ../module.nix
      machine
    ];
    specialArgs = {
      inherit utils;
      pkgs = { };
    };
  };
in
if result.unknown != [ ] then
  throw "unknown options: ${builtins.toJSON result.unknown}"
else
  {
    toml = result.config.environment.etc."state/state.toml".text;
    initrd = result.config.boot.initrd.systemd.services;
    services = result.config.systemd.services;
    timers = result.config.systemd.timers;
    failed = map (a: a.message) (builtins.filter (a: !a.assertion) result.config.assertions);
  }
