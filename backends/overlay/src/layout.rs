//! Where everything is, in the directory that holds the upper layers.

use state_api::PastRootName;
use std::path::{Path, PathBuf};

/// The layers that are root now.
pub(crate) const ROOT: &str = "root";
/// Where the new root is staged, and the outgoing one is between the exchange and its being put
/// away.
pub(crate) const STAGED: &str = "root.new";
/// The directory that holds past roots.
pub(crate) const PAST_ROOTS: &str = "past-roots";
/// The directory that holds what nobody wants: roots half made, half deleted or given up. Whatever
/// is found there is deleted when there is time.
pub(crate) const SCRATCH: &str = "scratch";

/// The directory of marks, one for every pinned past root.
pub(crate) fn pins() -> PathBuf {
    Path::new(PAST_ROOTS).join(".pinned")
}

/// The mark of a past root.
pub(crate) fn pin(name: &PastRootName) -> PathBuf {
    pins().join(name.as_str())
}

/// A past root.
pub(crate) fn past(name: &PastRootName) -> PathBuf {
    Path::new(PAST_ROOTS).join(name.as_str())
}

/// A place among the scratch for the root of this number, different from those of all others.
pub(crate) fn scratch(sequence: u64) -> PathBuf {
    Path::new(SCRATCH).join(sequence.to_string())
}
