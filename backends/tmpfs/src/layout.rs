//! Where everything is. Past roots are in a directory of a store, blank is on a filesystem of its
//! choice; both are written as paths from one top, and [`crate::Live`] knows where each begins.

use state_api::PastRootName;
use std::path::{Path, PathBuf};

/// The directory that holds past roots.
pub(crate) const PAST_ROOTS: &str = "past-roots";
/// The tree that root is filled from.
pub(crate) const BLANK: &str = "blank";
/// A new blank, complete, until it has its name.
pub(crate) const STAGED: &str = "blank.new";
/// The blank before this one.
pub(crate) const PREVIOUS: &str = "blank-previous";
/// Where a new blank is copied to, until it is complete.
pub(crate) const BUILDING: &str = "blank.building";
/// What is being deleted.
pub(crate) const DISCARDED: &str = "blank.discarded";

/// The directory that holds what nobody wants: past roots half captured or half deleted. Whatever
/// is found there is deleted when there is time.
pub(crate) fn scratch_dir() -> PathBuf {
    Path::new(PAST_ROOTS).join(".scratch")
}

/// A place among the scratch, different for every number.
pub(crate) fn scratch(sequence: u64) -> PathBuf {
    scratch_dir().join(sequence.to_string())
}

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
