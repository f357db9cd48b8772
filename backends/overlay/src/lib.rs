//! The overlay engine: an installed root that is never written (the lower layer), and what a boot
//! writes in an upper layer on another filesystem. A reset begins a new upper layer; the outgoing
//! one becomes a past root. Any filesystem will do that can exchange two names: ext4, xfs, btrfs.
//!
//! See overlayfs.rst in the kernel's documentation for what layers are.
#![forbid(unsafe_code)]

mod act;
mod engine;
mod kernel;
mod layout;
mod live;
mod plan;
mod step;
mod survey;

pub use engine::Overlay;
pub use kernel::{Disk, Kernel, Lower, Mounted, Node, Origin};
pub use live::{Live, Stack};
pub use step::Step;
pub use survey::{FoundPast, Survey};
