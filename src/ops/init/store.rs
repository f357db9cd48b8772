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

/// How a store is made where there is none.
pub(super) fn how_to_make_a_store(machine: &Machine, store: &Path) -> String {
    let make = match machine.root().and_then(|root| root.filesystem.to_str()) {
        Some("btrfs") => {
            "make a subvolume beside root (`btrfs subvolume create` on the mounted top level)"
        }
        Some("zfs") => {
            "make a dataset that is no child of root (`zfs create -o mountpoint=legacy POOL/safe/persist`)"
        }
        _ => "make a filesystem of its own on a partition that is kept",
    };
    let store = Shown(store);
    format!("{make}, mount it at {store} from /etc/fstab, and run `state init` again")
}
