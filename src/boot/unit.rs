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
        let writable = match root {
            Some(Root::Overlay { .. }) => "",
            _ => SYSROOT,
        };
        let blanks = [
            ("@PROGRAM@", IN_INITRD),
            ("@STORES@", &stores),
            ("@WRITABLE@", writable),
        ];
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
    if let Some(Root::Tmpfs { .. }) = root {
        // What had to be done before it was mounted has been; what it needs later is looked at.
        texts.push(("state-reset.service", RESET_TMPFS));
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
mod tests;
