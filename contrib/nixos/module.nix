# NixOS module: the persist tree and the reset, from one declaration.
#
# The options mirror `environment.persistence`, so an existing list moves over as it is.
{
  config,
  lib,
  pkgs,
  utils,
  ...
}:
let
  inherit (lib)
    mkEnableOption
    mkIf
    mkMerge
    mkOption
    types
    ;
  cfg = config.services.state;
  toTOML = import ./toml.nix { inherit lib; };
  given = lib.filterAttrs (_: value: value != null);

  optional =
    type: description:
    mkOption {
      type = types.nullOr type;
      default = null;
      inherit description;
    };

  entry = types.coercedTo types.str (path: { inherit path; }) (
    types.submodule {
      options = {
        path = mkOption {
          type = types.str;
          description = "Where it is on the machine; relative to the home for users' entries.";
        };
        method = mkOption {
          type = types.enum [
            "bind"
            "symlink"
            "copy"
          ];
          default = "bind";
          description = "How it is put in place.";
        };
        early = optional types.bool "Put it in place in the initrd.";
        user = optional types.str "The owner, when it must be made.";
        group = optional types.str "The group, when it must be made.";
        mode = optional types.str "The mode, octal, when it must be made.";
        ifMissing = optional (types.enum [
          "create"
          "skip"
          "fail"
        ]) "What to do when a file does not exist in the store.";
      };
    }
  );

  entries = {
    directories = mkOption {
      type = types.listOf entry;
      default = [ ];
      description = "Directories to keep.";
    };
    files = mkOption {
      type = types.listOf entry;
      default = [ ];
      description = "Files to keep.";
    };
  };

  store = types.submodule {
    options = entries // {
      class = mkOption {
        type = types.enum [
          "backup"
          "local"
          "cache"
        ];
        default = "backup";
        description = "Whether its content goes into archives, is only kept, or may be lost.";
      };
      hideMounts = mkOption {
        type = types.bool;
        default = false;
        description = "Hide the bind mounts from file managers.";
      };
      allowTrash = mkOption {
        type = types.bool;
        default = false;
        description = "Let file managers make a trash in the bind mounts.";
      };
      users = mkOption {
        type = types.attrsOf (types.submodule { options = entries; });
        default = { };
        description = "Entries relative to users' homes.";
      };
    };
  };

  # An entry without options is written as its path alone.
  renderEntry =
    e:
    let
      table = entryTable e;
    in
    if builtins.attrNames table == [ "path" ] then e.path else table;
  entryTable =
    e:
    given {
      inherit (e)
        path
        early
        user
        group
        mode
        ;
      method = if e.method == "bind" then null else e.method;
      if-missing = e.ifMissing;
    };
  renderEntries =
    e:
    given {
      directories = if e.directories == [ ] then null else map renderEntry e.directories;
      files = if e.files == [ ] then null else map renderEntry e.files;
    };
  renderStore =
    s:
    renderEntries s
    // given {
      class = if s.class == "backup" then null else s.class;
      hide-mounts = if s.hideMounts then true else null;
      allow-trash = if s.allowTrash then true else null;
      users = if s.users == { } then null else builtins.mapAttrs (_: renderEntries) s.users;
    };
  renderRoot =
    r:
    given {
      inherit (r)
        backend
        device
        subvolume
        blank
        dataset
        size
        ;
      past-roots =
        if r.pastRoots == null then null else { inherit (r.pastRoots) last days; };
      capture =
        if r.capture == null then
          null
        else
          {
            max-bytes = r.capture.maxBytes;
            time-limit = r.capture.timeLimit;
          };
      on-failure = r.onFailure;
    };

  settings = cfg.settings // {
    persist = builtins.mapAttrs (_: renderStore) cfg.persistence;
  } // lib.optionalAttrs (cfg.root != null) { root = renderRoot cfg.root; };
  text = toTOML settings;

  targets = cfg.settings.target or { };
  onBattery = lib.optionalAttrs (!(cfg.settings.archive.on-battery or true)) {
    ConditionACPower = true;
  };
  maxAge = cfg.settings.drill.max-age or null;
  # As often as `state init --install-boot` would have it.
  drills =
    let
      written = builtins.match "([0-9]+) *([hdw])" maxAge;
      hours =
        builtins.fromJSON (builtins.elemAt written 0)
        * {
          h = 1;
          d = 24;
          w = 168;
        }
        .${builtins.elemAt written 1};
    in
    if hours < 36 then
      {
        OnCalendar = "*-*-* 00/6:30";
        RandomizedDelaySec = "30min";
      }
    else if hours < 240 then
      {
        OnCalendar = "daily";
        RandomizedDelaySec = "3h";
      }
    else if hours < 1440 then
      {
        OnCalendar = "weekly";
        RandomizedDelaySec = "1d";
      }
    else
      {
        OnCalendar = "monthly";
        RandomizedDelaySec = "3d";
      };
  erases = cfg.root != null && cfg.root.backend != "tmpfs";
  # A root in memory ends with the power; what it held is put away before that, in the first of these.
  keptPaths = builtins.filter (path: cfg.persistence.${path}.class != "cache") storePaths;
  captures =
    cfg.root != null
    && cfg.root.backend == "tmpfs"
    && (cfg.root.pastRoots == null || cfg.root.pastRoots.last > 0)
    && keptPaths != [ ];
  timeLimit = if cfg.root.capture == null then 20 else cfg.root.capture.timeLimit;
  command = "${cfg.package}/bin/state";
  stores = attrNames: map (path: "/sysroot${path}") attrNames;
  # The files that are saved whenever they have changed.
  files = s: s.files ++ lib.concatMap (u: u.files) (builtins.attrValues s.users);
  copied = lib.filter (e: e.method == "copy") (lib.concatMap files (builtins.attrValues cfg.persistence));
  storePaths = builtins.attrNames cfg.persistence;

  complete =
    cfg.root.backend == "tmpfs"
    || (cfg.root.backend == "btrfs" && cfg.root.device != null && cfg.root.subvolume != null)
    || (cfg.root.backend == "zfs" && cfg.root.dataset != null);
  # What sysroot.mount itself waits for, so that the two can never disagree.
  rootDevices =
    if cfg.root.backend == "btrfs" then
      [ "${utils.escapeSystemdPath cfg.root.device}.device" ]
    else
      [ "zfs-import-${builtins.head (builtins.match "([^/]*).*" cfg.root.dataset)}.service" ];
in
{
  options.services.state = {
    enable = mkEnableOption "erasing root at every boot and keeping what is declared";
    package = mkOption {
      type = types.package;
      description = "The package with `bin/state`.";
    };
    root = mkOption {
      type = types.nullOr (
        types.submodule {
          options = {
            backend = mkOption {
              type = types.enum [
                "btrfs"
                "zfs"
                "tmpfs"
              ];
              description = "The engine that holds root.";
            };
            device = optional types.str "btrfs: the device, by a name that does not change.";
            subvolume = optional types.str "btrfs: root's subvolume.";
            blank = optional types.str "The blank snapshot.";
            dataset = optional types.str "ZFS: root's dataset.";
            size = optional types.str "tmpfs: its size limit.";
            pastRoots = optional (types.submodule {
              options = {
                last = mkOption {
                  type = types.ints.unsigned;
                  default = 5;
                  description = "So many of the newest are kept at least.";
                };
                days = mkOption {
                  type = types.ints.unsigned;
                  default = 30;
                  description = "Those younger than so many days are kept.";
                };
              };
            }) "How long past roots are kept.";
            capture = optional (types.submodule {
              options = {
                maxBytes = mkOption {
                  type = types.str;
                  default = "512 MiB";
                  description = "The most that the files in a captured root may hold together.";
                };
                timeLimit = mkOption {
                  type = types.ints.positive;
                  default = 20;
                  description = "So many seconds it may take.";
                };
              };
            }) "tmpfs: the bounds of what is captured when the machine goes down.";
            onFailure = optional (types.enum [
              "boot-unwiped"
              "emergency"
            ]) "What a failed reset does to the boot.";
          };
        }
      );
      default = null;
      description = "The volume that is erased.";
    };
    persistence = mkOption {
      type = types.attrsOf store;
      default = { };
      description = "The stores of the persist tree, by the directory each is mounted at.";
    };
    settings = mkOption {
      type = types.attrsOf types.anything;
      default = { };
      description = "The other tables of state.toml, as they are: archive, target, diff …";
    };
  };

  config = mkIf cfg.enable (mkMerge [
    {
      assertions = [
        {
          assertion = !erases || config.boot.initrd.systemd.enable;
          message = ''
            services.state resets root in the initrd and needs systemd there, where it can say what it
            runs after: set boot.initrd.systemd.enable = true. In the scripted initrd its place would be
            postDeviceCommands, which runs before the machine resumes from hibernation and can destroy
            the hibernated filesystem.
          '';
        }
      ]
      ++ map (path: {
        assertion = config.fileSystems.${path}.neededForBoot or false;
        message = "services.state: the store ${path} must be there before its entries: set fileSystems.\"${path}\".neededForBoot = true.";
      }) storePaths
      ++ [
        {
          assertion = cfg.root == null || complete;
          message = "services.state.root: btrfs wants device and subvolume, zfs wants dataset.";
        }
      ];

      environment.systemPackages = [ cfg.package ];
      environment.etc."state/state.toml".text = text;

      systemd.services.state-mount = {
        description = "Put the persist tree in place";
        documentation = [ "man:state(1)" ];
        wantedBy = [ "local-fs.target" ];
        # Root must be writable for mount points. Those after the first keep state and wait for no filesystem but their own.
        after = [ "systemd-remount-fs.service" ];
        before = [
          "local-fs.target"
          "systemd-journal-flush.service"
          "systemd-random-seed.service"
          "systemd-timesyncd.service"
          "systemd-update-utmp.service"
          "systemd-rfkill.service"
        ];
        unitConfig = {
          DefaultDependencies = false;
          RequiresMountsFor = storePaths;
        };
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          ExecStart = "${command} mount";
          TimeoutStartSec = "5min";
        };
      };
    }
    (mkIf (copied != [ ]) {
      systemd.services.state-watch = {
        description = "Save copied files of the persist tree whenever they have changed";
        documentation = [ "man:state(1)" ];
        wantedBy = [ "sysinit.target" ];
        after = [ "state-mount.service" ];
        # What starts before others is stopped after them: nothing changes a file after its last save.
        before = [
          "sysinit.target"
          "shutdown.target"
        ];
        conflicts = [ "shutdown.target" ];
        unitConfig = {
          DefaultDependencies = false;
          RequiresMountsFor = storePaths;
        };
        serviceConfig = {
          ExecStart = "${command} mount --watch";
          Restart = "on-failure";
          RestartSec = "5s";
          TimeoutStopSec = "40s";
        };
      };
    })
    (mkIf (cfg.root != null) {
      # Fails after a boot without a reset, so that `systemctl --failed` shows it.
      systemd.services.state-check = {
        description = "Tell whether root was reset at this boot";
        documentation = [ "man:state(1)" ];
        wantedBy = [ "multi-user.target" ];
        after = [ "state-mount.service" ];
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          ExecStart = "${command} status --remember";
        };
      };
    })
    (mkIf (cfg.root != null && !erases) {
      # A tmpfs is blank without anybody's doing; this checks that it is mounted as a root must be.
      systemd.services.state-reset = {
        description = "Check that root is a fresh tmpfs";
        documentation = [ "man:state(1)" ];
        wantedBy = [ "multi-user.target" ];
        after = [
          "local-fs.target"
          "state-mount.service"
        ];
        before = [ "state-check.service" ];
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          ExecStart = "${command} reset";
          TimeoutStartSec = "60s";
        };
      };
    })
    (mkIf (targets != { }) {
      systemd.services.state-backup = {
        description = "Archive the persist tree and publish the archive";
        documentation = [ "man:state(1)" ];
        wants = [ "network-online.target" ];
        after = [ "network-online.target" ];
        unitConfig = {
          RequiresMountsFor = storePaths;
        }
        // onBattery;
        serviceConfig = {
          Type = "oneshot";
          ExecStart = "${command} backup";
          Nice = 10;
          IOSchedulingClass = "idle";
          TimeoutStopSec = "3min";
        }
        // lib.optionalAttrs (builtins.any (target: target ? keep) (builtins.attrValues targets)) {
          ExecStartPost = "${command} archives prune";
        };
      };
      systemd.timers.state-backup = {
        description = "Archive the persist tree every night";
        wantedBy = [ "timers.target" ];
        timerConfig = {
          OnCalendar = "*-*-* 01:00";
          RandomizedDelaySec = "3h";
          Persistent = true;
        };
      };
    })
    (mkIf (targets != { } && maxAge != null) {
      systemd.services.state-drill = {
        description = "Prove that a restore works";
        documentation = [ "man:state(1)" ];
        wants = [ "network-online.target" ];
        after = [
          "network-online.target"
          "state-backup.service"
        ];
        unitConfig = {
          RequiresMountsFor = storePaths;
        }
        // onBattery;
        serviceConfig = {
          Type = "oneshot";
          ExecStart = "${command} drill";
          Nice = 15;
          IOSchedulingClass = "idle";
          TimeoutStopSec = "10min";
        };
      };
      systemd.timers.state-drill = {
        description = "Prove now and then that a restore works";
        wantedBy = [ "timers.target" ];
        timerConfig = drills // {
          Persistent = true;
        };
      };
    })
    (mkIf captures {
      # What starts before others is stopped after them: nothing changes a file after it was captured.
      systemd.services.state-capture = {
        description = "Keep what the next boot would lose as a past root";
        documentation = [ "man:state(1)" ];
        wantedBy = [ "sysinit.target" ];
        after = [ "state-mount.service" ];
        before = [
          "sysinit.target"
          "shutdown.target"
        ];
        conflicts = [ "shutdown.target" ];
        unitConfig = {
          DefaultDependencies = false;
          RequiresMountsFor = [ (builtins.head keptPaths) ];
        };
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          ExecStop = "${command} roots capture";
          TimeoutStopSec = "${toString (timeLimit + 40)}s";
        };
      };
    })
    (mkIf (erases || captures) {
      systemd.services.state-gc = {
        description = "Delete the past roots that no rule keeps";
        documentation = [ "man:state(1)" ];
        serviceConfig = {
          Type = "oneshot";
          ExecStart = "${command} roots gc";
          CPUSchedulingPolicy = "idle";
          IOSchedulingClass = "idle";
        };
      };
      systemd.timers.state-gc = {
        description = "Delete the past roots that no rule keeps, some time after the boot";
        wantedBy = [ "timers.target" ];
        timerConfig = {
          OnBootSec = "10min";
          OnUnitActiveSec = "1d";
        };
      };
    })
    (mkIf config.boot.initrd.systemd.enable {
      boot.initrd.systemd.contents."/etc/state/state.toml".text = text;
      boot.initrd.systemd.storePaths = [ "${cfg.package}/bin/state" ];

      boot.initrd.systemd.services.state-mount-early = {
        description = "Put the early part of the persist tree in place";
        documentation = [ "man:state(1)" ];
        wantedBy = [ "initrd.target" ];
        after = [ "initrd-root-fs.target" ];
        # Before the cleaning up, which stops what is not done by then.
        before = [
          "initrd.target"
          "initrd-cleanup.service"
          "initrd-nixos-activation.service"
          "initrd-switch-root.target"
        ];
        unitConfig = {
          DefaultDependencies = false;
          RequiresMountsFor = stores storePaths;
        };
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          ExecStart = "${command} --root /sysroot --config /etc/state/state.toml mount --early";
          TimeoutStartSec = "5min";
        };
      };
    })
    (mkIf (erases && complete) {
      boot.initrd.systemd.services.state-reset = {
        description = "Put root back to blank";
        documentation = [ "man:state(1)" ];
        # Open: a failed reset boots on, loudly. Closed: it stops what would mount root.
        wantedBy = [ "initrd.target" ];
        requiredBy = lib.optional (cfg.root.onFailure == "emergency") "sysroot.mount";
        requires = rootDevices;
        # Resuming from hibernation comes before local-fs-pre.target; nothing may be written before.
        after = rootDevices ++ [ "local-fs-pre.target" ];
        before = [ "sysroot.mount" ];
        conflicts = [ "shutdown.target" ];
        unitConfig.DefaultDependencies = false;
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          ExecStart = "${command} --config /etc/state/state.toml reset";
          PrivateMounts = true;
          KillMode = "mixed";
          # For a disk that is slow. What waits for this waits for its end in any case.
          TimeoutSec = "5min";
        };
      };
    })
  ]);
}
