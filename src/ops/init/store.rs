//! Which of a machine's volumes can be the store. Pure, but for what [`Look`] is asked.

use super::propose::Look;
use crate::machine::{Machine, STORES};
use crate::paths::Shown;
use std::path::{Path, PathBuf};

/// Places that hold the system itself, and what comes and goes.
const NO_STORES: [&str; 15] = [
    "/", "/boot", "/efi", "/nix", "/usr", "/bin", "/etc", "/var", "/home", "/root", "/srv", "/opt",
    "/tmp", "/run", "/media",
];

/// Names that people give to stores, the usual ones first.
const USUAL: [&str; 6] = [
    "/persist",
    "/nix/persist",
    "/persistent",
    "/state",
    "/mnt/persist",
    "/data/persist",
];

/// The store: a mounted volume that is not root's, by its usual names, else the only one there is.
pub(super) fn store_of(machine: &Machine, look: &dyn Look) -> (PathBuf, bool) {
    let usual = USUAL
        .iter()
        .map(Path::new)
        .find(|path| is_apart(machine, path, look));
    if let Some(path) = usual {
        return (path.to_owned(), true);
    }
    let mut others: Vec<&Path> = machine
        .mounts
        .iter()
        .map(|mount| mount.at.as_path())
        .filter(|at| {
            let is_system =
                |place: &&str| *at == Path::new(place) || *place != "/" && at.starts_with(place);
            !NO_STORES.iter().any(is_system) && is_apart(machine, at, look)
        })
        .collect();
    others.sort();
    others.dedup();
    match others[..] {
        [only] => (only.to_owned(), true),
        _ => ("/persist".into(), false),
    }
}

/// Whether a directory outlives root: it lies on a filesystem that can hold a store, and not in
/// root's volume.
pub(super) fn is_apart(machine: &Machine, path: &Path, look: &dyn Look) -> bool {
    let Some(mount) = machine.mount_of(path) else {
        return false;
    };
    let can_hold = STORES.iter().any(|name| mount.filesystem == *name);
    let is_root_s = machine
        .root()
        .is_some_and(|root| Machine::is_same_volume(root, mount));
    can_hold && !is_root_s && look.seen(path).is_some_and(|seen| seen.is_directory)
}

/// How a store is made where there is none: what to type.
pub(super) fn how_to_make_a_store(machine: &Machine, store: &Path) -> String {
    let at = Shown(store);
    let name = Shown(Path::new(store.file_name().unwrap_or_default()));
    let root = machine.root();
    let source = root.map(|root| PathBuf::from(&root.source));
    let device = source.as_deref().unwrap_or(Path::new("/dev/DEVICE"));
    // By the name that root has there, which does not change.
    let line_of_root = machine.fstab.iter().find(|line| line.at == Path::new("/"));
    let named = line_of_root.map_or(device, |line| Path::new(&line.source));
    let (make, line) = match root.and_then(|root| root.filesystem.to_str()) {
        Some("btrfs") => (
            format!(
                "a subvolume beside root: `mount -o subvolid=5 {} /mnt`, `btrfs subvolume create /mnt/{name}`, `umount /mnt`",
                Shown(device)
            ),
            format!("{} {at} btrfs subvol={name},x-initrd.mount 0 0", Shown(named)),
        ),
        Some("zfs") => {
            let pool = device.iter().next().unwrap_or(device.as_os_str());
            let dataset = Path::new(pool).join("safe").join(store.file_name().unwrap_or_default());
            (
                format!(
                    "a dataset that is no child of root: `zfs create -p -o mountpoint=legacy {}`",
                    Shown(&dataset)
                ),
                format!("{} {at} zfs x-initrd.mount 0 0", Shown(&dataset)),
            )
        }
        _ => (
            "a filesystem on a partition or disk of its own: `mkfs.ext4 /dev/DEVICE`, which erases it".to_owned(),
            format!("UUID=… {at} ext4 x-initrd.mount 0 0"),
        ),
    };
    format!(
        "make {make}; `mkdir -p {at}`, the line `{line}` in /etc/fstab, `mount {at}`, and `state init` again; docs/moving.md has it step by step"
    )
}
