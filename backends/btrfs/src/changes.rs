//! Where two trees of subvolumes may differ.

use crate::Kernel;
use state_api::{Changes, Extent, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A subvolume with those inside it.
pub(crate) struct Tree {
    /// The subvolume that holds the top.
    pub top: PathBuf,
    /// Where the others belong, from the top, and where they are.
    pub nested: BTreeMap<PathBuf, PathBuf>,
}

impl Tree {
    /// The subvolume at `top` with those that lie in it.
    pub(crate) fn of(kernel: &impl Kernel, top: &Path, id: u64) -> Result<Self> {
        let children = kernel.children(id)?.into_iter();
        Ok(Self {
            top: top.to_owned(),
            nested: children
                .map(|child| (child.path.clone(), top.join(child.path)))
                .collect(),
        })
    }
}

/// Where `new` may differ from `old`; `None` if the filesystem cannot tell for their tops, or more
/// than `most` inodes of these differ.
pub(crate) fn between(
    kernel: &impl Kernel,
    old: &Tree,
    new: &Tree,
    most: usize,
) -> Result<Option<Changes>> {
    let Some(mut changes) = kernel.changes(&old.top, &new.top, most)? else {
        return Ok(None);
    };
    for (at, old) in &old.nested {
        match new.nested.get(at) {
            None => changes.add(at.clone(), Extent::Whole),
            Some(new) => match kernel.changes(old, new, most)? {
                None => changes.add(at.clone(), Extent::Whole),
                Some(below) => changes.add_below(at, below),
            },
        }
    }
    for at in new.nested.keys() {
        if !old.nested.contains_key(at) {
            changes.add(at.clone(), Extent::Whole);
        }
    }
    Ok(Some(changes))
}
