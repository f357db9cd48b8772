//! `[root]`: the volume that is erased.

use super::Size;
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
            /// The device of the filesystem that holds blank (ext4, xfs, btrfs or f2fs), by a name
            /// that does not change: root is filled from blank in the initrd.
            device: Option<PathBuf> = (None) "nobody fills root but the system itself, as on NixOS", example "\"/dev/disk/by-uuid/8f1d2c3b-4a59-4c6d-9e7f-0a1b2c3d4e5f\"";
            /// The blank's path from that filesystem's top: a directory, or an image of a
            /// filesystem (squashfs, erofs, ext4, xfs, btrfs).
            blank: PathBuf = ("state/blank".into()), example "\"images/root.squashfs\"";
            /// How long past roots are kept. `last = 0`: nothing is captured.
            past_roots: PastRoots = (PastRoots::default()), example "{ last = 10, days = 90 }";
            /// What of root is captured as a past root when the machine goes down.
            capture: Capture = (Capture::default()), example "{ max-bytes = \"2 GiB\", time-limit = 60 }";
        }
        later []
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

impl Root {
    /// A root in memory of this size that the system fills by itself, with all defaults.
    pub fn in_memory(size: Option<String>) -> Self {
        Self::Tmpfs {
            size,
            device: None,
            blank: "state/blank".into(),
            past_roots: PastRoots::default(),
            capture: Capture::default(),
        }
    }

    /// A root above what is installed, with its layers on this device and all defaults. They lie in
    /// what is ours where the store `is_whole`, a filesystem and no directory or volume of one: a
    /// restore of it leaves them where they are.
    pub fn above(device: PathBuf, is_whole: bool) -> Self {
        Self::Overlay {
            device,
            directory: match is_whole {
                true => ".state/layers".into(),
                false => "state/layers".into(),
            },
            past_roots: PastRoots::default(),
            on_failure: OnFailure::default(),
        }
    }
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

table! {
    /// `capture`: the bounds of what is captured of a root in memory.
    pub struct Capture {
        /// The most that the files in it may hold together. The smallest come first; what is left
        /// out is named.
        max_bytes: Size = (Size(512 << 20)), example "\"2 GiB\"";
        /// So many seconds it may take. Then what was captured by then is kept.
        time_limit: u32 = (20), example "60";
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

defaults! { PastRoots, Capture }

impl Copy for PastRoots {}
impl Eq for PastRoots {}
