//! The archives at a target, from their labels.

use super::{Object, Target, by_machine};
use crate::archive::label::{self, DATA, ENCRYPTED, Id, LABEL, Label};
use crate::archive::{Error, Result};
use std::collections::BTreeSet;

/// The archives of one machine at one target.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Their labels, in the order they were published.
    pub labels: Vec<Label>,
    /// Labels that cannot be used, and why. Their data is not touched.
    pub unreadable: Vec<(String, Error)>,
    /// Data objects without a label: an interrupted run published them.
    pub leftovers: Vec<Object>,
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

    /// Reads the labels of every machine.
    ///
    /// # Errors
    /// The target cannot be reached or read.
    pub fn machines(target: &dyn Target) -> Result<Vec<(String, Self)>> {
        let machines = by_machine(target.list("")?);
        let catalogs = machines
            .into_iter()
            .map(|(machine, objects)| (machine, Self::of(target, objects)));
        Ok(catalogs.collect())
    }

    fn of(target: &dyn Target, objects: Vec<Object>) -> Self {
        let mut catalog = Self::default();
        let mut labelled = BTreeSet::new();
        for object in &objects {
            if let Some(stem) = object.name.strip_suffix(LABEL) {
                labelled.insert(stem.to_owned());
                match read_label(target, &object.name) {
                    Ok(label) => catalog.labels.push(label),
                    Err(error) => catalog.unreadable.push((object.name.clone(), error)),
                }
            }
        }
        catalog.labels.sort_by(|a, b| a.id.cmp(&b.id));
        let is_leftover = |object: &Object| {
            let stem = [ENCRYPTED, DATA]
                .iter()
                .find_map(|end| object.name.strip_suffix(end));
            let id = stem.and_then(|stem| Some((stem, stem.split_once('/')?.1)));
            id.is_some_and(|(stem, id)| id.parse::<Id>().is_ok() && !labelled.contains(stem))
        };
        catalog.leftovers = objects.into_iter().filter(is_leftover).collect();
        catalog
    }

    /// The ids of all archives, unreadable labels' included.
    pub fn ids(&self) -> impl Iterator<Item = Id> {
        let labels = self.labels.iter().map(|label| label.id.clone());
        let others = self
            .unreadable
            .iter()
            .filter_map(|(name, _)| name.split_once('/')?.1.strip_suffix(LABEL)?.parse().ok());
        labels.chain(others)
    }

    /// The newest archive that is complete.
    pub fn latest(&self) -> Option<&Label> {
        self.labels.iter().rev().find(|label| label.is_complete)
    }

    /// The archive called `name`: an id, the beginning of exactly one, or `latest`.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is none, or several.
    pub fn find(&self, name: &str) -> Result<&Label> {
        if name == "latest" {
            let what = "a complete archive".to_owned();
            return self.latest().ok_or(Error::Missing { what });
        }
        let mut found = self
            .labels
            .iter()
            .filter(|label| label.id.as_str().starts_with(name));
        match (found.next(), found.next()) {
            (Some(label), None) if !name.is_empty() => Ok(label),
            (Some(_), Some(_)) => Err(Error::Missing {
                what: format!("exactly one archive whose id begins with {name}"),
            }),
            _ => Err(Error::Missing {
                what: format!("an archive {name}"),
            }),
        }
    }
}

fn read_label(target: &dyn Target, name: &str) -> Result<Label> {
    let source = target.get(name)?;
    if source.length() > label::MOST_BYTES {
        return Err(Error::damaged(name, "a label of more than 64 KiB"));
    }
    let text = source.read(0, source.length() as usize)?;
    let label = Label::from_text(name, &text)?;
    if label.name() == name {
        Ok(label)
    } else {
        Err(Error::damaged(name, "the label of another archive"))
    }
}
