//! Exchanging a live tree for a staged one, and keeping the old one as the replaced tree.
//!
//! A directory is exchanged with a sibling by one `renameat2(RENAME_EXCHANGE)` ([`Sibling`]); the
//! top of a filesystem has no sibling, so its children are moved out and in under a journal
//! ([`Children`]). Either can lose power after any act: the next call finishes what the journal
//! says was begun, before it does anything else. Or it is left to the next boot ([`waiting`]). Nobody may use the tree meanwhile; who calls
//! makes sure of that.

mod act;
mod children;
mod remove;
mod sibling;
pub mod waiting;

pub use children::Children;
pub use remove::remove_tree;
pub use sibling::Sibling;

/// The directory at the top of a store that is reserved for us.
pub const RESERVED: &str = ".state";

/// What a tree is called that is being staged.
const STAGED: &str = "staged";
/// What a tree is called that was replaced.
const REPLACED: &str = "replaced";

#[cfg(test)]
mod tests;
