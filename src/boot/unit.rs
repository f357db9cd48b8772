//! The units of `contrib/systemd` with their blanks filled in. Pure.

use super::text::{escape_path, fill, word, words};
use crate::persist::PersistTree;
use crate::settings::{Class, OnFailure, Root};
use std::path::Path;

/// A unit: its name and its text.
pub type Unit = (&'static str, String);

const RESET: &str = include_str!("../../contrib/systemd/state-reset.service");
const RESET_OVERLAY: &str = include_str!("../../contrib/systemd/state-reset-overlay.service");
const RESET_TMPFS: &str = include_str!("../../contrib/systemd/state-reset-tmpfs.service");
const FILL: &str = include_str!("../../contrib/systemd/state-fill.service");
const SYSROOT_MOUNT: &str = include_str!("../../contrib/systemd/sysroot.mount");
const CAPTURE: &str = include_str!("../../contrib/systemd/state-capture.service");
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
        && acts_in_the_initrd(root)
    {
        let (name, text, stops) = match root {
            Root::Overlay { .. } => (
                "state-reset.service",
                RESET_OVERLAY,
                "initrd-root-fs.target",
            ),
            Root::Tmpfs { .. } => ("state-fill.service", FILL, "initrd-root-fs.target"),
            _ => ("state-reset.service", RESET, "sysroot.mount"),
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
        units.push((name, fill(text, &blanks)));
    }
    let stores = early_stores(tree);
    if !stores.is_empty() {
        let stores = words(stores.into_iter(), SYSROOT);
        let blanks = [("@PROGRAM@", IN_INITRD), ("@STORES@", &stores)];
        units.push(("state-mount-early.service", fill(MOUNT_EARLY, &blanks)));
    }
    units
}

/// What mounts root in the initrd, where root is one that we fill. It goes where an administrator's
/// units are: before what systemd makes of the kernel command line.
pub fn sysroot(root: Option<&Root>) -> Option<Unit> {
    let Some(Root::Tmpfs {
        size,
        device: Some(_),
        ..
    }) = root
    else {
        return None;
    };
    let size = size
        .as_ref()
        .map(|size| format!(",size={}", size.replace('%', "%%")));
    let options = format!("mode=0755{}", size.unwrap_or_default());
    let text = fill(SYSROOT_MOUNT, &[("@OPTIONS@", &options)]);
    Some(("sysroot.mount", text))
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
        // What had to be done before it was mounted has been; what it needs later is looked at.
        Some(Root::Tmpfs { .. }) => texts.push(("state-reset.service", RESET_TMPFS)),
        Some(_) => {}
    }
    if root.is_some() {
        texts.extend([("state-gc.service", GC), ("state-gc.timer", GC_TIMER)]);
    }
    let mut capture = None;
    if let Some(Root::Tmpfs {
        past_roots,
        capture: bounds,
        ..
    }) = root
        && past_roots.last > 0
        && let Some(home) = tree.stores().find(|(_, class)| *class != Class::Cache)
    {
        let home = word(home.0);
        // Writing what there is to the disk comes on top.
        let timeout = format!("{}s", bounds.time_limit.saturating_add(40));
        let blanks = [
            ("@PROGRAM@", program.as_str()),
            ("@HOME@", &home),
            ("@TIMEOUT@", &timeout),
        ];
        capture = Some(("state-capture.service", fill(CAPTURE, &blanks)));
    }
    let filled = texts
        .into_iter()
        .map(|(name, text)| (name, fill(text, &blanks)));
    filled.chain(capture).collect()
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
        // There is no root but the one that is filled.
        Root::Tmpfs {
            device: Some(_), ..
        } => OnFailure::Emergency,
        Root::Tmpfs { .. } => OnFailure::default(),
    }
}

/// Whether something is done in the initrd: memory that nobody fills is empty at every boot.
fn acts_in_the_initrd(root: &Root) -> bool {
    !matches!(root, Root::Tmpfs { device: None, .. })
}

/// The unit of the device that root is on, or blank; empty where it is not on one that has a name.
fn device(root: &Root) -> String {
    match root {
        Root::Btrfs { device, .. } | Root::Overlay { device, .. } => {
            format!("{}.device", escape_path(device))
        }
        Root::Tmpfs {
            device: Some(device),
            ..
        } => format!("{}.device", escape_path(device)),
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
                "state-reset.service",
                "state-gc.service",
                "state-gc.timer",
                "state-capture.service"
            ]
        );
        let none = tmpfs.replace("\n[persist", "\npast-roots = { last = 0 }\n[persist");
        assert!(!names(&none).contains(&"state-capture.service"));
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

    #[test]
    fn a_root_that_is_filled_is_mounted_as_it_must_be_and_never_started_half() {
        let text = "\
[root]
backend = \"tmpfs\"
device = \"/dev/vdb\"
size = \"25%\"
capture = { time-limit = 5 }
[persist.\"/a\"]
class = \"cache\"
[persist.\"/my store\"]
files = [\"/etc/machine-id\"]
";
        let units = units(text);
        let (name, reset) = &units[0];
        assert_eq!(
            *name, "state-fill.service",
            "systemd takes it for the system's own otherwise"
        );
        assert!(
            reset.contains("\nRequires=dev-vdb.device sysroot.mount\n"),
            "{reset}"
        );
        assert_eq!(enabled_by(reset), ["initrd-root-fs.target.requires"]);
        let (name, capture) = units.last().unwrap();
        assert_eq!(*name, "state-capture.service");
        for line in ["RequiresMountsFor=\"/my store\"", "TimeoutStopSec=45s"] {
            assert!(capture.lines().any(|l| l == line), "{line}: {capture}");
        }
        let settings: Settings = text.parse().unwrap();
        let (name, mount) = sysroot(settings.root.as_ref()).unwrap();
        assert_eq!(name, "sysroot.mount");
        assert!(mount.contains("\nOptions=mode=0755,size=25%%\n"), "{mount}");
        let empty: Settings = "[root]\nbackend = \"tmpfs\"\n".parse().unwrap();
        assert_eq!(sysroot(empty.root.as_ref()), None);
    }

    /// Every comment's line is one that systemd reads as a comment, and no blank is left.
    #[test]
    fn no_blank_is_left() {
        for (name, text) in units(&format!("{BTRFS}{STORES}")) {
            assert!(!text.contains('@'), "{name}: {text}");
        }
    }
}
