//! The snapshots that an archive was made from, where they still stand.

use super::sources::Sources;
use crate::archive::label::Id;
use crate::archive::select::Selection;
use crate::context::Context;
use crate::settings::Settings;
use state_api::View;
use std::path::Path;

/// The stores of this machine, and what of them is archived.
pub(crate) struct Origin(Sources);

/// The snapshot of one store.
pub(crate) struct Frozen<'o> {
    pub(crate) view: View,
    pub(crate) selection: &'o Selection,
}

impl Origin {
    /// Looks at the stores.
    ///
    /// # Errors
    /// One is not there.
    pub(crate) fn look(cx: &Context, settings: &Settings) -> anyhow::Result<Self> {
        let tree = super::persist_tree(cx, settings)?;
        let exclude = &settings.archive.exclude;
        Sources::survey(cx, &tree, settings.root.is_some(), exclude).map(Self)
    }

    /// The snapshot of `store` that the archive `id` was made from, if it stands and the same was
    /// selected of it as would be now.
    pub(crate) fn open(&self, store: &Path, id: &Id) -> Option<Frozen<'_>> {
        let source = self.0.0.iter().find(|source| source.path == store)?;
        Some(Frozen {
            view: source.snapshot_of(id)?,
            selection: source.selection(),
        })
    }
}
