//! The btrfs engine: root as a subvolume beside its blank snapshot, the store as a subvolume, a
//! directory or a whole filesystem. Only ioctls; no program of btrfs-progs is needed.
#![forbid(unsafe_code)]

mod kernel;

pub use kernel::{Child, Filesystem, Kernel, Mounted, Node, Space, Subvolume, TOP_LEVEL};
