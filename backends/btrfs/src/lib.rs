//! The btrfs engine: root as a subvolume beside its blank snapshot, the store as a subvolume, a
//! directory or a whole filesystem. Only ioctls; no program of btrfs-progs is needed.
#![forbid(unsafe_code)]

mod act;
mod blank;
mod changes;
mod delete;
mod engine;
mod kernel;
mod layout;
mod live;
mod plan;
mod renew;
mod shown;
mod step;
mod store;
mod survey;

pub use engine::Btrfs;
pub use kernel::{Child, Filesystem, Kernel, Mounted, Node, Space, Subvolume, TOP_LEVEL};
pub use live::{Live, Place};
pub use step::Step;
pub use store::BtrfsStore;
pub use survey::{Found, FoundPast, Nested, Survey};
