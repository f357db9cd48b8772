{ lib, ... }:
let inherit (lib) mkOption types; any = types.attrsOf types.anything; unit = types.attrsOf (types.submodule { freeformType = any; options = { wantedBy = mkOption { type = types.listOf types.str; default = []; }; }; });
in { options = {
  assertions = mkOption { type = types.listOf types.unspecified; default = []; };
  warnings = mkOption { type = types.listOf types.str; default = []; };
  fileSystems = mkOption { default = {}; type = types.attrsOf (types.submodule ({ name, ... }: { options = {
      mountPoint = mkOption { type = types.str; default = name; }; device = mkOption { type = types.nullOr types.str; default = null; }; fsType = mkOption { type = types.str; default = "auto"; };
      options = mkOption { type = types.listOf types.str; default = [ "defaults" ]; }; neededForBoot = mkOption { type = types.bool; default = false; }; depends = mkOption { type = types.listOf types.str; default = []; }; }; })); };
  boot.initrd.systemd = { enable = mkOption { type = types.bool; default = false; }; services = mkOption { type = unit; default = {}; }; mounts = mkOption { type = types.listOf any; default = []; }; tmpfiles.settings = mkOption { type = types.anything; default = {}; }; storePaths = mkOption { type = types.listOf types.anything; default = []; }; targets = mkOption { type = types.anything; default = {}; }; extraBin = mkOption { type = any; default = {}; }; contents = mkOption { type = any; default = {}; }; };
  boot.initrd.supportedFilesystems = mkOption { type = types.anything; default = {}; };
  systemd = { services = mkOption { type = unit; default = {}; }; timers = mkOption { type = unit; default = {}; }; mounts = mkOption { type = types.listOf any; default = []; }; targets = mkOption { type = types.anything; default = {}; }; tmpfiles.settings = mkOption { type = types.anything; default = {}; }; tmpfiles.rules = mkOption { type = types.listOf types.str; default = []; }; };
  environment = { systemPackages = mkOption { type = types.listOf types.anything; default = []; }; etc = mkOption { type = types.attrsOf (types.submodule { freeformType = any; }); default = {}; }; };
  users.users = mkOption { type = types.anything; default = {}; };
}; }
