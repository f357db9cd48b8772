//! The units of `contrib/systemd` with their blanks filled in. Pure.

use super::text::{escape_path, fill, word, words};
use crate::persist::PersistTree;
use crate::settings::{OnFailure, Root};
use std::path::Path;

/// A unit: its name and its text.
pub type Unit = (&'static str, String);

const RESET: &str = include_str!("../../contrib/systemd/state-reset.service");
const RESET_OVERLAY: &str = include_str!("../../contrib/systemd/state-reset-overlay.service");
const RESET_TMPFS: &str = include_str!("../../contrib/systemd/state-reset-tmpfs.service");
const MOUNT_EARLY: &str = include_str!("../../contrib/systemd/state-mount-early.service");
const MOUNT: &str = include_str!("../../contrib/systemd/state-mount.service");
const WATCH: &str = include_str!("../../contrib/systemd/state-watch.service");
const CHECK: &str = include_str!("../../contrib/systemd/state-check.service");
const GC: &str = include_str!("../../contrib/systemd/state-gc.service");
const GC_TIMER: &str = include_str!("../../contrib/systemd/state-gc.timer");

/// Where the program is in every initrd.
pub const IN_INITRD: &str = "/usr/bin/state";
/// Where the initrd's systemd has root.
const SYSROOT: &str = "/sysroot";

/// What imports pools, one of the two. Not required: it also fails when a pool of somebody else,
/// on another disk, cannot be imported.
const ZFS_IMPORT: &str = "zfs-import-cache.service zfs-import-scan.service";
/// What comes after: the first reads `bootfs` and how root is mounted, the second lets keys be loaded.
const ZFS_IMPORTED: &str = "zfs-env-bootfs.service zfs-import.target";

/// The units of the initrd.
pub fn initrd(root: Option<&Root>, tree: &PersistTree) -> Vec<Unit> {
    let mut units = Vec::new();
    if let Some(root) = root
        && erases_in_the_initrd(root)
    {
        let (text, stops) = match root {
            Root::Overlay { .. } => (RESET_OVERLAY, "initrd-root-fs.target"),
            _ => (RESET, "sysroot.mount"),
        };
        let (import, imported) = match root {
            Root::Zfs { .. } => (ZFS_IMPORT, ZFS_IMPORTED),
            _ => ("", ""),
        };
        let required_by = match on_failure(root) {
            OnFailure::BootUnwiped => "",
            OnFailure::Emergency => stops,
        };
        let blanks = [
            ("@PROGRAM@", IN_INITRD),
            ("@NEEDS@", &device(root)),
            ("@IMPORT@", import),
            ("@IMPORTED@", imported),
            ("@REQUIRED_BY@", required_by),
        ];
        units.push(("state-reset.service", fill(text, &blanks)));
    }
    let stores = early_stores(tree);
    if !stores.is_empty() {
        let stores = words(stores.into_iter(), SYSROOT);
        let blanks = [("@PROGRAM@", IN_INITRD), ("@STORES@", &stores)];
        units.push(("state-mount-early.service", fill(MOUNT_EARLY, &blanks)));
    }
    units
}

/// The units of the system itself. `program` is where this program is there.
pub fn system(root: Option<&Root>, tree: &PersistTree, program: &Path) -> Vec<Unit> {
    let program = word(program);
    let stores = words(tree.stores().map(|(store, _)| store), "");
    let blanks = [("@PROGRAM@", program.as_str()), ("@STORES@", &stores)];
    let mut texts = vec![("state-mount.service", MOUNT)];
    if tree.copied().next().is_some() {
        texts.push(("state-watch.service", WATCH));
    }
    if root.is_some() {
        texts.push(("state-check.service", CHECK));
    }
    match root {
        None => {}
        // No past roots; and nothing that had to be done before it was mounted.
        Some(Root::Tmpfs { .. }) => texts.push(("state-reset.service", RESET_TMPFS)),
        Some(_) => texts.extend([("state-gc.service", GC), ("state-gc.timer", GC_TIMER)]),
    }
    let filled = texts
        .into_iter()
        .map(|(name, text)| (name, fill(text, &blanks)));
    filled.collect()
}

/// The stores that early entries are in.
pub fn early_stores(tree: &PersistTree) -> Vec<&Path> {
    let mut stores: Vec<&Path> = tree
        .entries()
        .filter(|entry| entry.is_early)
        .map(|entry| entry.store.as_path())
        .collect();
    stores.sort();
    stores.dedup();
    stores
}

/// What happens to the boot when the reset fails.
pub fn on_failure(root: &Root) -> OnFailure {
    match root {
        Root::Btrfs { on_failure, .. }
        | Root::Zfs { on_failure, .. }
        | Root::Overlay { on_failure, .. } => *on_failure,
        Root::Tmpfs { .. } => OnFailure::default(),
    }
}

/// Memory is empty at every boot: nothing is done before it is mounted.
fn erases_in_the_initrd(root: &Root) -> bool {
    !matches!(root, Root::Tmpfs { .. })
}

/// The unit of the device that root is on; empty where it is not on one that has a name.
fn device(root: &Root) -> String {
    match root {
        Root::Btrfs { device, .. } | Root::Overlay { device, .. } => {
            format!("{}.device", escape_path(device))
        }
        Root::Zfs { .. } | Root::Tmpfs { .. } => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::text::enabled_by;
    use crate::persist::Users;
    use crate::settings::Settings;

    fn units(text: &str) -> Vec<Unit> {
        let settings: Settings = text.parse().unwrap();
        let tree = PersistTree::resolve(&settings, &Users::parse(b"", b"")).unwrap();
        let mut units = initrd(settings.root.as_ref(), &tree);
        units.extend(system(
            settings.root.as_ref(),
            &tree,
            Path::new("/opt/state"),
        ));
        units
    }

    /// What a text says, without comments.
    fn plain(text: &str) -> String {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| format!("{line}\n")).collect()
    }

    const BTRFS: &str = "\
[root]
backend = \"btrfs\"
device = \"/dev/disk/by-uuid/1b2c-4d\"
subvolume = \"root\"
";
    const STORES: &str = "\
[persist.\"/persist\"]
files = [\"/etc/machine-id\"]
[persist.\"/big store\"]
class = \"local\"
directories = [\"/var/lib/big\"]
";

    #[test]
    fn the_units_of_a_machine() {
        let units = units(&format!("{BTRFS}{STORES}"));
        let text: Vec<String> = units
            .iter()
            .map(|(name, text)| format!("== {name}\n{}", plain(text)))
            .collect();
        assert_eq!(
            text.join("\n"),
            r#"== state-reset.service
[Unit]
Description=Put root back to blank
Documentation=man:state(1)
DefaultDependencies=no
Requires=dev-disk-by\x2duuid-1b2c\x2d4d.device
After=dev-disk-by\x2duuid-1b2c\x2d4d.device
Wants=local-fs-pre.target
After=local-fs-pre.target
Before=sysroot.mount
Conflicts=shutdown.target
Before=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/state --config /etc/state/state.toml reset
StandardError=journal+console
PrivateMounts=yes
KillMode=mixed
TimeoutStartSec=90s

[Install]
WantedBy=initrd.target

== state-mount-early.service
[Unit]
Description=Put the early part of the persist tree in place
Documentation=man:state(1)
DefaultDependencies=no
RequiresMountsFor=/sysroot/persist
After=initrd-fs.target
Before=initrd.target initrd-cleanup.service initrd-switch-root.target
Conflicts=shutdown.target
Before=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStartPre=mount -o remount,rw /sysroot
ExecStart=/usr/bin/state --root /sysroot --config /etc/state/state.toml mount --early
StandardError=journal+console
TimeoutStartSec=60s

[Install]
WantedBy=initrd.target

== state-mount.service
[Unit]
Description=Put the persist tree in place
Documentation=man:state(1)
DefaultDependencies=no
RequiresMountsFor="/big store" /persist
After=systemd-remount-fs.service
Before=local-fs.target systemd-journal-flush.service systemd-random-seed.service systemd-timesyncd.service systemd-update-utmp.service systemd-rfkill.service
Conflicts=shutdown.target
Before=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/opt/state mount
StandardError=journal+console
TimeoutStartSec=60s

[Install]
WantedBy=local-fs.target

== state-check.service
[Unit]
Description=Tell whether root was reset at this boot
Documentation=man:state(1)
After=state-mount.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/opt/state status
StandardError=journal+console

[Install]
WantedBy=multi-user.target

== state-gc.service
[Unit]
Description=Delete the past roots that no rule keeps
Documentation=man:state(1)

[Service]
Type=oneshot
ExecStart=/opt/state roots gc
CPUSchedulingPolicy=idle
IOSchedulingClass=idle

== state-gc.timer
[Unit]
Description=Delete the past roots that no rule keeps, some time after the boot
Documentation=man:state(1)

[Timer]
OnBootSec=10min
OnUnitActiveSec=1d

[Install]
WantedBy=timers.target
"#
        );
    }

    #[test]
    fn a_failure_that_must_stop_the_boot_stops_what_mounts_root() {
        let open = units(BTRFS);
        let closed = units(&format!("{BTRFS}on-failure = \"emergency\"\n"));
        assert_eq!(enabled_by(&open[0].1), ["initrd.target.wants"]);
        assert_eq!(
            enabled_by(&closed[0].1),
            ["initrd.target.wants", "sysroot.mount.requires"]
        );
    }

    #[test]
    fn nothing_is_started_that_has_nothing_to_do() {
        let names =
            |text: &str| -> Vec<&str> { units(text).into_iter().map(|(name, _)| name).collect() };
        assert_eq!(
            names(STORES),
            ["state-mount-early.service", "state-mount.service"]
        );
        let copied = "[persist.\"/p\"]\nfiles = [{ path = \"/etc/passwd\", method = \"copy\" }]\n";
        assert_eq!(
            names(copied),
            [
                "state-mount-early.service",
                "state-mount.service",
                "state-watch.service"
            ]
        );
        let tmpfs = "[root]\nbackend = \"tmpfs\"\n[persist.\"/p\"]\ndirectories = [\"/srv\"]\n";
        // The configuration itself is an early entry wherever there is a store.
        assert_eq!(
            names(tmpfs),
            [
                "state-mount-early.service",
                "state-mount.service",
                "state-check.service",
                "state-reset.service"
            ]
        );
        let zfs = "[root]\nbackend = \"zfs\"\ndataset = \"rpool/local/root\"\n";
        assert_eq!(names(zfs)[0], "state-reset.service");
    }

    #[test]
    fn a_pool_is_imported_and_not_read_yet() {
        let zfs = "[root]\nbackend = \"zfs\"\ndataset = \"rpool/local/root\"\n";
        let text = plain(&units(zfs)[0].1);
        let order: Vec<_> = text
            .lines()
            .filter(|line| {
                ["Requires=", "Wants=", "After=", "Before="]
                    .iter()
                    .any(|key| line.starts_with(key))
            })
            .collect();
        assert_eq!(
            order,
            [
                "After=zfs-import-cache.service zfs-import-scan.service",
                "Before=zfs-env-bootfs.service zfs-import.target",
                "Wants=local-fs-pre.target",
                "After=local-fs-pre.target",
                "Before=sysroot.mount",
                "Before=shutdown.target",
            ]
        );
    }

    /// Every comment's line is one that systemd reads as a comment, and no blank is left.
    #[test]
    fn no_blank_is_left() {
        for (name, text) in units(&format!("{BTRFS}{STORES}")) {
            assert!(!text.contains('@'), "{name}: {text}");
        }
    }
}
