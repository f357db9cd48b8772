//! What differs between two trees, and what of it anybody needs to be told: completely at first,
//! quietly at last. Reads only.

mod change;
mod compare;
mod fingerprint;
pub mod learned;
mod quiet;

pub use change::{Aspect, Change, Quiet, What, word};
pub use compare::{Comparison, compare, compare_at, same_bytes};
pub use fingerprint::fingerprints;
pub use quiet::Filter;
