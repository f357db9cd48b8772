//! Which archive the next one builds on, and what it says of the tree.

use super::cache::{Cache, Manifest};
use super::sources::Sources;
use super::{Seal, Trust};
use crate::archive::label::{DATA, Label};
use crate::archive::machine::Config;
use crate::archive::manifest::{Bytes, Parent};
use crate::archive::older::Older;
use crate::archive::read::{Archive, Source};
use crate::archive::write::{Input, places};
use crate::archive::{Result, chain};
use crate::ops::drill::key::DrillKeys;
use crate::target::Target;
use crate::target::catalog::Catalog;
use state_api::{Changes, Extent, Interrupt};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// How many of the newest archives are looked at.
const MOST_TRIED: usize = 4;

/// An archive to build on, and where its manifest is.
pub(super) struct Choice<'t> {
    pub(super) label: Label,
    /// It and those that it builds on, the full one first.
    pub(super) chain: Vec<Label>,
    manifest: Place<'t>,
}

enum Place<'t> {
    Kept(Manifest),
    /// At a target.
    There(Box<dyn Source + 't>),
}

/// What decides whether an archive can be built on.
pub(super) struct Terms<'a> {
    /// How many archives a chain may have.
    pub(super) most: u64,
    /// How the next data object's name ends, and who can read it.
    pub(super) suffix: &'a str,
    pub(super) recipients: &'a [String],
    pub(super) drill_keys: &'a DrillKeys,
    /// The stores that are archived.
    pub(super) stores: &'a [Bytes],
    pub(super) seal: Option<&'a Seal>,
    pub(super) trust: Option<&'a Trust>,
}

impl<'t> Choice<'t> {
    /// The newest archive that every target has whole, with all that it builds on, and whose
    /// manifest can be had: one that was made elsewhere, out of a chain, is encrypted to others.
    ///
    /// # Errors
    /// Why there is none: the next archive is a full one.
    pub(super) fn of(
        targets: &[(&'t dyn Target, &Catalog)],
        terms: &Terms<'_>,
        cache: &Cache,
    ) -> Result<Self, String> {
        let mut why = Err("there is no archive that every target has whole".to_owned());
        for label in everywhere(targets).take(MOST_TRIED) {
            match Self::on(label, targets, terms, cache)? {
                Some(choice) => return Ok(choice),
                None => why = Err("no manifest of the last ones is kept here".into()),
            }
        }
        why
    }

    /// To build on this archive. `None`: its manifest cannot be had.
    fn on(
        label: &Label,
        targets: &[(&'t dyn Target, &Catalog)],
        terms: &Terms<'_>,
        cache: &Cache,
    ) -> Result<Option<Self>, String> {
        let Some(first) = targets.first() else {
            return Ok(None);
        };
        check(label, targets, terms)?;
        let parents = chain::parents(&first.1.labels, label).map_err(|error| error.told())?;
        let chain = parents.into_iter().chain([label]).cloned().collect();
        let manifest = match cache.manifest(label) {
            Some(manifest) => Place::Kept(manifest),
            None if label.suffix == DATA => {
                let source = first.0.get(&label.data_name());
                Place::There(source.map_err(|error| error.told())?)
            }
            None => return Ok(None),
        };
        let choice = Self {
            label: label.clone(),
            chain,
            manifest,
        };
        match choice.stores().map_err(|error| error.told())? == terms.stores {
            true => Ok(Some(choice)),
            false => Err("other stores are archived than before".into()),
        }
    }

    /// Where the stores may differ from what is in it, if the filesystems can tell. `watch` is told what passes of
    /// its manifest where that is needed.
    ///
    /// # Errors
    /// Its manifest cannot be read, or the run was interrupted.
    pub(super) fn places(
        &self,
        sources: &Sources,
        inputs: &[Input<'_>],
        watch: &(dyn Fn(u64, &[u8]) + Sync),
        interrupt: &dyn Interrupt,
    ) -> Result<Option<Vec<Changes>>> {
        let Some(told) = sources.told(&self.label.id) else {
            return Ok(None);
        };
        let places = places(inputs, told, || self.older(watch), interrupt)?;
        let mut places = sources.reached(places);
        // Sockets and the like are in no manifest: each archive names them anew.
        let left_out = match &self.manifest {
            Place::Kept(manifest) => manifest.left_out.clone(),
            Place::There(source) => {
                let archive = Archive::open(source.as_ref(), &self.label)?;
                archive.index().left_out.clone()
            }
        };
        for missing in left_out {
            let path = missing.path.0.strip_prefix(b"./").unwrap_or_default();
            let path = Path::new(OsStr::from_bytes(path));
            for places in &mut places {
                places.add(path.to_owned(), Extent::Alone);
            }
        }
        Ok(Some(places))
    }

    fn stores(&self) -> Result<Vec<Bytes>> {
        Ok(match &self.manifest {
            Place::Kept(manifest) => manifest.stores.clone(),
            Place::There(source) => {
                let archive = Archive::open(source.as_ref(), &self.label)?;
                let stores = archive.machine().stores.iter();
                stores.map(|store| store.path.clone()).collect()
            }
        })
    }

    /// What the next archive's manifest says of its parents.
    pub(super) fn parents(&self) -> Vec<Parent> {
        let parent = |label: &Label| Parent {
            id: label.id.to_string(),
            index_sha256: label.index_sha256,
        };
        self.chain.iter().map(parent).collect()
    }

    /// The records of its manifest. `watch` is told, now and then, how many more there were, and of a
    /// path among them.
    pub(super) fn older<'o>(&'o self, watch: &'o (dyn Fn(u64, &[u8]) + Sync)) -> Result<Older<'o>> {
        match &self.manifest {
            Place::Kept(manifest) => Ok(manifest.records(watch)),
            Place::There(source) => {
                let archive = Archive::open(source.as_ref(), &self.label)?;
                let records = archive.records().map(move |record| {
                    let (record, _) = record?;
                    watch(1, &record.path);
                    Ok(record)
                });
                Ok(Older::records(records))
            }
        }
    }
}

/// The complete archives that every target has whole, the newest first.
fn everywhere<'c>(targets: &'c [(&dyn Target, &'c Catalog)]) -> impl Iterator<Item = &'c Label> {
    let labels = targets.first().map(|(_, first)| first.labels.iter().rev());
    labels.into_iter().flatten().filter(|label| {
        let is_there = |(_, catalog): &(&dyn Target, &Catalog)| {
            catalog.is_whole(label) && catalog.labels.contains(label)
        };
        label.is_complete && targets.iter().all(is_there)
    })
}

/// The newest archive that every target has, if `is_same` says that nothing changed since, and a
/// next one could build on it. No manifest is read for that.
pub(super) fn unchanged<'c>(
    targets: &'c [(&dyn Target, &'c Catalog)],
    terms: &Terms<'_>,
    is_same: impl Fn(&Label) -> bool,
) -> Option<&'c Label> {
    let newest = everywhere(targets).next()?;
    let first = &targets.first()?.1.labels;
    let is_usable =
        || chain::parents(first, newest).is_ok() && check(newest, targets, terms).is_ok();
    (is_same(newest) && is_usable()).then_some(newest)
}

/// Whether an archive belongs to this commit of the configuration.
pub(super) fn has_commit(label: &Label, config: Option<&Config>) -> bool {
    let commit = config.map(|config| &config.commit);
    let is_dirty = config.is_some_and(|config| config.is_dirty);
    (label.commit.as_ref(), label.is_dirty) == (commit, is_dirty)
}

/// Whether the next archive may build on this one.
fn check(
    label: &Label,
    targets: &[(&dyn Target, &Catalog)],
    terms: &Terms<'_>,
) -> Result<(), String> {
    if label.position + 1 >= terms.most {
        return Err(format!(
            "{} archives build on each other",
            label.position + 1
        ));
    }
    // Whoever is to read the next one must be able to read this one.
    let continues = terms.drill_keys.continues(terms.recipients, label);
    if label.suffix != terms.suffix || !continues {
        return Err("others are to read it than could read the last one".into());
    }
    let mut targets = targets.iter();
    targets.try_for_each(|(target, _)| check_signature(*target, label, terms))
}

/// Its digests are believed without its data being read, and signed once more.
fn check_signature(target: &dyn Target, label: &Label, terms: &Terms<'_>) -> Result<(), String> {
    let Some(trust) = terms.trust else {
        return match terms.seal {
            Some(_) => Err("whose signatures to believe cannot be read".into()),
            None => Ok(()),
        };
    };
    let signature = trust.look(target, label).map_err(|error| error.told())?;
    let vouched = signature.vouch(label.id.as_str(), terms.seal);
    vouched.map_err(|error| error.to_string())
}
