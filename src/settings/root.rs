//! `[root]`: the volume that is erased.

use super::table::{defaults, table, tagged, words};
use std::path::PathBuf;

tagged! {
    /// `[root]`: the volume that is erased, on one of four engines.
    pub enum Root by "backend" {
        /// A subvolume of a btrfs filesystem, beside its blank.
        Btrfs "btrfs" {
            /// The device, by a name that does not change.
            device: PathBuf = required, example "\"/dev/disk/by-uuid/1b2c4d5e-0f3a-4b6c-8d9e-a1b2c3d4e5f6\"";
            /// The root subvolume's path from the filesystem's top level.
            subvolume: PathBuf = required, example "\"root\"";
            /// The blank's path from the filesystem's top level.
            blank: Option<PathBuf> = (None) "the subvolume's path with `-blank`", example "\"root-blank\"";
            /// How long past roots are kept.
            past_roots: PastRoots = (PastRoots::default()), example "{ last = 10, days = 90 }";
            /// What happens to the boot when a reset fails.
            on_failure: OnFailure = (OnFailure::default()), example "\"emergency\"";
        }
        later []
        /// A ZFS dataset with its blank snapshot on it.
        Zfs "zfs" {
            /// The root dataset.
            dataset: String = required, example "\"rpool/local/root\"";
            /// The short name of the blank snapshot.
            blank: String = ("blank".into()), example "\"blank\"";
            /// How long past roots are kept.
            past_roots: PastRoots = (PastRoots::default()), example "{ last = 0, days = 0 }";
            /// What happens to the boot when a reset fails.
            on_failure: OnFailure = (OnFailure::default()), example "\"emergency\"";
        }
        later []
        /// Memory, fresh at every boot: there is nothing to erase.
        Tmpfs "tmpfs" {
            /// Its size limit as tmpfs(5) writes it: a share of the memory, or a number of bytes
            /// with k, m or g.
            size: Option<String> = (None) "the kernel's: half of the memory", example "\"25%\"";
        }
        later ["capture", "past-roots"]
        /// An installed system that is never written, below a layer that is erased.
        Overlay "overlay" {
            /// The device of the filesystem that holds what is written: not the installed system's.
            device: PathBuf = required, example "\"/dev/disk/by-uuid/8f1d2c3b-4a59-4c6d-9e7f-0a1b2c3d4e5f\"";
            /// The directory on it that holds the layers, from the filesystem's top.
            directory: PathBuf = ("state/layers".into()), example "\"layers\"";
            /// How long past roots are kept.
            past_roots: PastRoots = (PastRoots::default()), example "{ last = 10, days = 90 }";
            /// What happens to the boot when a reset fails.
            on_failure: OnFailure = (OnFailure::default()), example "\"emergency\"";
        }
        later []
    }
    later []
}

table! {
    /// `past-roots`: a past root is kept while either rule holds it.
    pub struct PastRoots {
        /// So many of the newest are kept at least. 0: none is kept at all, a reset gives the
        /// outgoing root up at once.
        last: u32 = (5), example "10";
        /// Those younger than so many days are kept.
        days: u32 = (30), example "90";
    }
    later []
}

words! {
    /// What a failed reset does to the boot.
    pub enum OnFailure {
        /// Boot on with the root as it is, loudly.
        BootUnwiped "boot-unwiped",
        /// Stop in the emergency shell.
        Emergency "emergency",
    }
    later []
}

defaults! { PastRoots }

impl Copy for PastRoots {}
impl Eq for PastRoots {}
