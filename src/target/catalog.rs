//! The archives at a target, from their labels.

use super::{Object, Target};
use crate::archive::label::{self, DATA, ENCRYPTED, Id, LABEL, Label, SIGNATURE};
use crate::archive::proof::Named;
use crate::archive::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};

/// The archives of one machine at one target.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Their labels, in the order they were published.
    pub labels: Vec<Label>,
    /// Of these, the archives whose data is not what the label says, as far as can be seen without
    /// reading it, and what is wrong with it.
    pub broken: BTreeMap<Id, String>,
    /// Labels that cannot be used, and why. Their data is not touched.
    pub unreadable: Vec<(String, Error)>,
    /// Data objects and signatures without a label: an interrupted run published them.
    pub leftovers: Vec<Object>,
    /// Proofs that archives were restored, by their names.
    pub proofs: Vec<Object>,
}

impl Catalog {
    /// Reads the labels of `machine`.
    ///
    /// # Errors
    /// The target cannot be reached or read.
    pub fn read(target: &dyn Target, machine: &str) -> Result<Self> {
        let objects = target.list(&format!("{machine}/"))?;
        Ok(Self::of(target, objects))
    }

    /// The same with those labels alone that tell which archive is `latest`: from the newest one on,
    /// and what these build on. Each may be a question over a network, and there may be hundreds.
    ///
    /// # Errors
    /// Those of [`Catalog::read`].
    pub fn read_newest(target: &dyn Target, machine: &str) -> Result<Self> {
        let objects = target.list(&format!("{machine}/"))?;
        let mut catalog = Self::default();
        let named = objects.iter().filter_map(|o| Some((id_of(&o.name)?, o)));
        let mut left: BTreeMap<Id, &Object> = named.collect();
        while let Some((_, newest)) = left.pop_last() {
            let mut next = Some(newest);
            while let Some(object) = next {
                let parent = catalog.add(target, object);
                next = parent.and_then(|parent| left.remove(&parent));
            }
            catalog.judge(&objects);
            // What another one builds on may be older than some that have not been looked at.
            let is_newest = |latest: &Label| left.keys().all(|id| *id < latest.id);
            if catalog.latest().is_some_and(is_newest) {
                break;
            }
        }
        catalog.sort(objects);
        Ok(catalog)
    }

    fn of(target: &dyn Target, objects: Vec<Object>) -> Self {
        let mut catalog = Self::default();
        for object in objects.iter().filter(|o| o.name.ends_with(LABEL)) {
            catalog.add(target, object);
        }
        catalog.judge(&objects);
        catalog.sort(objects);
        catalog
    }

    /// Reads a label. Which archive its own one builds on.
    fn add(&mut self, target: &dyn Target, object: &Object) -> Option<Id> {
        match read_label(target, object) {
            Ok(label) => {
                let parent = label.parent.clone();
                self.labels.push(label);
                parent
            }
            Err(error) => {
                self.unreadable.push((object.name.clone(), error));
                None
            }
        }
    }

    /// Brings the labels that were read in order, and finds out which archives are broken.
    fn judge(&mut self, objects: &[Object]) {
        self.labels.sort_by(|a, b| a.id.cmp(&b.id));
        self.unreadable.sort_by(|(a, _), (b, _)| a.cmp(b));
        let sizes: BTreeMap<&str, u64> = (objects.iter())
            .map(|object| (object.name.as_str(), object.bytes))
            .collect();
        let mut whole = BTreeSet::new();
        self.broken.clear();
        for label in &self.labels {
            let size = sizes.get(label.data_name().as_str()).copied();
            let why = match (size, &label.parent) {
                (None, _) => "its data is missing".to_owned(),
                (Some(bytes), _) if bytes != label.data_bytes => {
                    format!("its data is {bytes} bytes long, not {}", label.data_bytes)
                }
                // A parent is older: it has been looked at.
                (Some(_), Some(parent)) if !whole.contains(parent) => {
                    format!("{parent}, on which it builds, is missing or broken")
                }
                (Some(_), _) => {
                    whole.insert(&label.id);
                    continue;
                }
            };
            self.broken.insert(label.id.clone(), why);
        }
    }

    /// Notes what else there is.
    fn sort(&mut self, objects: Vec<Object>) {
        let stem = |object: &Object| object.name.strip_suffix(LABEL).map(str::to_owned);
        let labelled: BTreeSet<_> = objects.iter().filter_map(stem).collect();
        let is_leftover = |object: &Object| {
            let stem = [ENCRYPTED, DATA, SIGNATURE]
                .iter()
                .find_map(|end| object.name.strip_suffix(end));
            let id = stem.and_then(|stem| Some((stem, stem.split_once('/')?.1)));
            id.is_some_and(|(stem, id)| id.parse::<Id>().is_ok() && !labelled.contains(stem))
        };
        let is_proof = |object: &Object| Named::of(&object.name).is_some();
        self.proofs = objects.iter().filter(|o| is_proof(o)).cloned().collect();
        self.leftovers = objects.into_iter().filter(is_leftover).collect();
    }

    /// Takes archives for broken of which is known that they are damaged, and what builds on them:
    /// no listing shows that.
    pub fn distrust_damaged(&mut self, is_damaged: impl Fn(&Label) -> bool) {
        let damaged = || "it was damaged when it was last read back".to_owned();
        self.distrust(|label| is_damaged(label).then(damaged));
    }

    /// Takes archives for broken of which more is known than a listing shows, and what builds on
    /// them.
    pub fn distrust(&mut self, why: impl Fn(&Label) -> Option<String>) {
        for label in &self.labels {
            let on_broken = |parent: &&Id| self.broken.contains_key(parent);
            let why = match (label.parent.as_ref().filter(on_broken), why(label)) {
                _ if self.broken.contains_key(&label.id) => continue,
                (_, Some(why)) => why,
                (Some(parent), _) => format!("{parent}, on which it builds, is missing or broken"),
                (None, None) => continue,
            };
            self.broken.insert(label.id.clone(), why);
        }
    }

    /// The ids of all archives, unreadable labels' included.
    pub fn ids(&self) -> impl Iterator<Item = Id> {
        let labels = self.labels.iter().map(|label| label.id.clone());
        let others = self.unreadable.iter().filter_map(|(name, _)| id_of(name));
        labels.chain(others)
    }

    /// The proofs that the archive `id` was restored.
    pub fn proofs_of<'c>(&'c self, id: &'c Id) -> impl Iterator<Item = &'c Object> {
        let proofs = self.proofs.iter();
        proofs.filter(move |proof| Named::of(&proof.name).is_some_and(|named| named.id == *id))
    }

    /// The newest archive that is complete and, as far as can be seen, whole.
    pub fn latest(&self) -> Option<&Label> {
        let is_usable = |label: &&Label| label.is_complete && self.is_whole(label);
        self.labels.iter().rev().find(is_usable)
    }

    /// Whether, as far as can be seen, an archive is whole, and so are those that it builds on.
    pub fn is_whole(&self, label: &Label) -> bool {
        !self.broken.contains_key(&label.id)
    }

    /// Why the archive `id` cannot be used although its label can.
    fn broken(&self, label: &Label) -> Option<Error> {
        let why = self.broken.get(&label.id)?;
        Some(Error::damaged(label.data_name(), why))
    }

    /// The archive called `name`: an id, the beginning of exactly one, or `latest`, the newest
    /// complete one.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is none, or several. If its label or data cannot be used, why;
    /// for `latest` this is so when any newer one cannot be used: an older archive is never taken
    /// for the newest.
    pub fn find(&self, name: &str) -> Result<&Label> {
        let is_latest = name == "latest";
        let latest = self.latest();
        for (object, error) in &self.unreadable {
            let Some(id) = id_of(object) else { continue };
            let is_newer = latest.is_none_or(|label| label.id < id);
            if (is_latest && is_newer) || (!name.is_empty() && id.as_str().starts_with(name)) {
                return Err(match error {
                    Error::Newer { what, found, known } => Error::Newer {
                        what: what.clone(),
                        found: *found,
                        known: *known,
                    },
                    Error::Damaged { what, why } => Error::damaged(what, why),
                    other => Error::damaged(object, other),
                });
            }
        }
        if is_latest {
            let is_newer = |id: &Id| latest.is_none_or(|latest| latest.id < *id);
            let mut newer = self
                .labels
                .iter()
                .rev()
                .filter(|l| is_newer(&l.id) && l.is_complete);
            if let Some(broken) = newer.find_map(|label| self.broken(label)) {
                return Err(broken);
            }
            let what = "a complete archive".to_owned();
            return latest.ok_or(Error::Missing { what });
        }
        let is_it = |label: &&Label| !name.is_empty() && label.id.as_str().starts_with(name);
        let mut found = self.labels.iter().filter(is_it);
        let what = match (found.next(), found.next()) {
            (Some(label), None) => return self.broken(label).map_or(Ok(label), Err),
            (Some(_), Some(_)) => format!("exactly one archive whose id begins with {name}"),
            _ => format!("an archive {name}"),
        };
        Err(Error::Missing { what })
    }
}

/// Whether it is called as the label of an archive is.
pub(crate) fn is_label(object: &Object) -> bool {
    id_of(&object.name).is_some()
}

/// The id in the name of a label.
fn id_of(object: &str) -> Option<Id> {
    object.split_once('/')?.1.strip_suffix(LABEL)?.parse().ok()
}

/// Reads one label.
///
/// # Errors
/// It cannot be read, or is none.
pub(crate) fn read_label(target: &dyn Target, object: &Object) -> Result<Label> {
    let name = &object.name;
    let source = target.get_listed(object)?;
    if source.length() > label::MOST_BYTES {
        return Err(Error::damaged(name, "a label of more than 64 KiB"));
    }
    let text = source.read(0, source.length() as usize)?;
    let label = Label::from_text(name, &text)?;
    if label.name() == *name {
        Ok(label)
    } else {
        Err(Error::damaged(name, "the label of another archive"))
    }
}

#[cfg(test)]
mod tests;
