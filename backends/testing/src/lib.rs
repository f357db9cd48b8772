//! Simulated machines, and the suites that every engine has to pass.
//!
//! The simulators ([`SimBtrfs`], [`SimOverlay`], [`SimZfs`]) stand behind the engines' own kernel
//! traits. They are complete, deterministic, stricter than the real filesystems, and remember
//! every state a power cut can leave. [`sweep`] cuts, breaks and resumes every plan on them; [`suite`] is what
//! any engine must do, on simulators and on real filesystems alike.
#![forbid(unsafe_code)]

pub mod btrfs;
pub mod disk;
pub mod edits;
pub mod overlay;
pub mod rig;
pub mod sim;
pub mod store;
pub mod suite;
pub mod sweep;
pub mod tape;
pub mod tree;
pub mod write_log;
pub mod zfs;

pub use btrfs::SimBtrfs;
pub use overlay::SimOverlay;
pub use store::SimStore;
pub use zfs::SimZfs;
