//! Archives: one `.tar.zst` with a manifest inside, and a small label beside it.
//!
//! `docs/archive-format.md` describes the format byte by byte. Whatever is read is taken to be
//! hostile: lengths are checked before anything is allocated, the manifest is the authority on
//! what there is, and nothing is written outside the staging directory.

pub mod base;
pub mod chain;
mod compare;
pub(crate) mod crew;
#[cfg(feature = "offsite")]
pub mod encryption;
mod error;
pub mod extract;
pub mod frame;
pub mod label;
pub mod machine;
pub mod manifest;
pub mod member;
pub mod older;
pub mod owners;
pub mod pax;
mod press;
pub mod proof;
pub mod read;
pub mod select;
#[cfg(feature = "offsite")]
pub mod signature;
mod sparse;
pub mod sums;
mod tar;
pub mod write;

pub use compare::compare;
pub use error::{Bad, Error, Result};

/// The version of the format that is written, and the newest that is read.
pub const FORMAT: u64 = 1;

/// The longest chain that is read: a full archive and what builds on it.
pub const MOST_CHAIN: usize = 1000;

/// How far the writing or reading of an archive has come.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// Entries done.
    pub entries: u64,
    /// Bytes of content done.
    pub bytes: u64,
    /// The path at work.
    pub path: &'a [u8],
}

/// The longest path: with the NUL behind it, it is the longest the kernel takes at once, from us
/// as from every tool that extracts archives.
pub const PATH_MAX: usize = 4095;
/// The longest name of one component.
pub const NAME_MAX: usize = 255;
/// The largest value of an extended attribute: the kernel's own limit.
pub const XATTR_MAX: usize = 64 << 10;
/// The most that all files with holes of one archive may hold, holes read as zeros. A hole costs
/// no space and yet has to be hashed: that much takes the better part of an hour.
pub const MOST_SPARSE_BYTES: u64 = 4 << 40;
