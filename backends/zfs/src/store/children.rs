//! The datasets that are mounted in a store.

use super::ZfsStore;
use crate::layout::below;
use crate::{Dataset, DatasetKind};
use state_api::Result;
use std::path::{Path, PathBuf};

/// A dataset mounted in the store.
pub(super) struct Child {
    pub(super) dataset: String,
    pub(super) guid: u64,
    /// Where, from the store's top.
    pub(super) at: PathBuf,
}

impl ZfsStore {
    /// The datasets mounted in the store now, parents before children.
    pub(super) fn children(&self) -> Result<Vec<Child>> {
        Ok(self.with_children()?.1)
    }

    /// The guid of the store's own dataset, and the datasets mounted in the store now.
    pub(super) fn with_children(&self) -> Result<(Option<u64>, Vec<Child>)> {
        let mounted = |dataset: Dataset| {
            let inside = |at: &PathBuf| Some(at.strip_prefix(&self.path).ok()?.to_owned());
            let at = dataset.mounted_at.iter().find_map(inside)?;
            let is_child = dataset.kind == DatasetKind::Filesystem && dataset.name != self.dataset;
            is_child.then_some(Child {
                dataset: dataset.name,
                guid: dataset.guid,
                at,
            })
        };
        let datasets = self.kernel.mounted(&self.dataset)?;
        let own = datasets.iter().find(|own| own.name == self.dataset);
        let guid = own.map(|own| own.guid);
        let mut children: Vec<_> = datasets.into_iter().filter_map(mounted).collect();
        children.sort_by(|a, b| a.at.cmp(&b.at));
        Ok((guid, children))
    }

    /// What tells its datasets, by their guids, and where each is. Mount points can be exchanged, and names; neither
    /// writes anything.
    pub(super) fn layout<'a>(
        &self,
        own: Option<u64>,
        children: impl Iterator<Item = (Option<u64>, &'a Path)>,
    ) -> String {
        let children: Vec<_> = children.collect();
        format!("{own:?} {:?} {children:?}", self.inside)
    }

    /// Where in the store a dataset belongs, if it is of it. One that is not mounted now is where
    /// its name says.
    pub(super) fn place(&self, mounted: &[Child], dataset: &str) -> Option<PathBuf> {
        if let Some(child) = mounted.iter().find(|child| child.dataset == dataset) {
            return Some(child.at.clone());
        }
        let rel = below(&self.dataset, dataset).unwrap_or_default();
        let rel = Path::new(rel.trim_start_matches('/'));
        Some(rel.strip_prefix(&self.inside).ok()?.to_owned())
    }
}
