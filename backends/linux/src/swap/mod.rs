//! Exchanging a live tree for a staged one, and keeping the old one as the replaced tree.
//!
//! A directory is exchanged with a sibling by one `renameat2(RENAME_EXCHANGE)` ([`Sibling`]); the
//! top of a filesystem has no sibling, so its children are moved out and in under a journal
//! ([`Children`]). Either can lose power after any act: the next call finishes what the journal
//! says was begun, before it does anything else. Nobody may use the tree meanwhile; who calls
//! makes sure of that.

mod act;
mod children;
mod remove;
mod sibling;

pub use children::Children;
pub use remove::remove_tree;
pub use sibling::Sibling;

/// The directory at the top of a store that is reserved for us.
pub const RESERVED: &str = ".state";

#[cfg(test)]
mod tests;
