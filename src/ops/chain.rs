//! An archive and those it builds on, at one target.

use super::keyring::Keys;
use crate::archive::label::Label;
use crate::archive::read::{Archive, Source};
use crate::archive::{Result, chain};
use crate::target::Target;
use crate::target::catalog::Catalog;
use state_linux::confine::confined;
use std::fmt;

/// The archives that one builds on, the full one first, and where their data is.
pub(crate) struct Parents<'t>(Vec<(Label, Box<dyn Source + 't>)>);

impl<'t> Parents<'t> {
    /// Those of `label`'s archive. Whether they are all there is known before anything is read.
    ///
    /// # Errors
    /// One is missing, has no data, or no key opens it.
    pub(crate) fn of(keys: &Keys, target: &'t dyn Target, label: &Label) -> anyhow::Result<Self> {
        if label.parent.is_none() {
            return Ok(Self(Vec::new()));
        }
        let labels = Catalog::read(target, &label.machine)?.labels;
        Self::among(&labels, keys, target, label)
    }

    /// The same where the labels of its machine at the target have been read.
    ///
    /// # Errors
    /// Those of [`Parents::of`].
    pub(crate) fn among(
        labels: &[Label],
        keys: &Keys,
        target: &'t dyn Target,
        label: &Label,
    ) -> anyhow::Result<Self> {
        let parents = chain::parents(labels, label)?.into_iter();
        let with_data = parents.map(|parent| Ok((parent.clone(), keys.data(target, parent)?)));
        Ok(Self(with_data.collect::<anyhow::Result<_>>()?))
    }

    /// Opens the archive that builds on them, where it can write nowhere: what is read of it then is
    /// what somebody else wrote.
    ///
    /// # Errors
    /// It is damaged, or builds on others.
    pub(crate) fn open<'s>(
        &'s self,
        source: &'s dyn Source,
        label: &'s Label,
    ) -> Result<Archive<'s>> {
        let parents = self
            .0
            .iter()
            .map(|(label, source)| (source.as_ref(), label));
        let parents = parents.collect();
        confined(None, |_| Archive::open(source, label)?.on(parents))
    }
}

impl fmt::Debug for Parents<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = self.0.iter().map(|(label, _)| label);
        f.debug_list().entries(labels).finish()
    }
}
