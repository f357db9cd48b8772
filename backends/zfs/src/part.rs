//! The datasets a new root is made of, and the steps that make them.

use crate::carry::{at_birth, carried, complete};
use crate::layout::{SOURCE, below, split};
use crate::step::Undo;
use crate::survey::Reading;
use crate::{Dataset, DatasetKind, Property, Step, ZfsSnapshot};
use state_api::{Error, PastRootName, Refusal, Result};

/// One dataset of a new root.
pub(crate) struct Part {
    /// What its name adds to root's.
    pub(crate) rel: String,
    /// The snapshot it is a clone of, as it is called when the clone is made.
    pub(crate) snapshot: String,
    /// That snapshot's guid, if it is a blank: then the clone is promoted.
    pub(crate) blank_guid: Option<u64>,
    /// The properties it has in the end.
    pub(crate) properties: Vec<Property>,
}

impl Part {
    /// What it is a clone of was renamed with the dataset `from`, which is `to` now.
    pub(crate) fn follow(&mut self, from: &str, to: &str) {
        if let Some(rest) = below(from, split(&self.snapshot).0) {
            self.snapshot = format!("{to}{rest}@{}", split(&self.snapshot).1);
        }
    }

    /// What its clone is made with.
    pub(crate) fn at_birth(&self) -> Vec<Property> {
        at_birth(&self.properties)
    }
}

impl<'a> Reading<'a> {
    pub(crate) fn part_name(self, rel: &str) -> String {
        format!("{}{rel}", self.layout.root)
    }

    pub(crate) fn part(self, rel: &str, blank: &ZfsSnapshot, model: &Dataset) -> Option<Part> {
        (model.kind == DatasetKind::Filesystem).then(|| Part {
            rel: rel.to_owned(),
            snapshot: blank.name.clone(),
            blank_guid: Some(blank.guid),
            properties: carried(model),
        })
    }

    /// Snapshots a past root, so that a root can be made from it while it stays as it is.
    pub(crate) fn prepare_source(
        self,
        past: &PastRootName,
        steps: &mut Vec<Step>,
    ) -> Result<String> {
        let tree = self.tree(&self.layout.past(past));
        if tree.is_empty() {
            return Err(Error::Missing {
                what: format!("past root {past}"),
            });
        }
        // A clone uses its origin's key. If that key's root is itself renamed into the past by
        // resets, the pool would let this new root neither keep it nor be renamed away from it.
        let key = tree.iter().find_map(|(_, d)| {
            let key = d.encryption_root.as_deref()?;
            let moves = |top| crate::layout::below(top, key).is_some();
            (moves(&self.layout.root) || moves(&self.layout.past_roots)).then_some(key)
        });
        if let Some(key) = key {
            return Err(Refusal::Unsafe {
                fact: format!("past root {past} uses the key of {key}, which a reset renames"),
                cure: "bring single files back with `state roots recover`, or make a dataset \
                       above root the encryption root"
                    .into(),
            }
            .into());
        }
        // Nobody has that name yet: it can move from one past root to another when one goes.
        let is_taken = |short: &str| {
            let all = &self.survey.snapshots;
            all.iter().any(|s| split(&s.name).1 == short)
        };
        let mut short = SOURCE.to_owned();
        let mut count = 1;
        while is_taken(&short) {
            count += 1;
            short = format!("{SOURCE}-{count}");
        }
        steps.push(Step::Snapshot {
            names: tree
                .iter()
                .map(|(_, d)| format!("{}@{short}", d.name))
                .collect(),
        });
        Ok(short)
    }

    /// Makes the parts copies of a past root's datasets instead of blanks.
    pub(crate) fn take_from(self, past: &PastRootName, short: &str, parts: &mut Vec<Part>) {
        for (rel, d) in self.tree(&self.layout.past(past)) {
            let snapshot = format!("{}@{short}", d.name);
            match parts.iter_mut().find(|part| part.rel == rel) {
                Some(part) => {
                    part.snapshot = snapshot;
                    part.blank_guid = None;
                }
                None if d.kind == DatasetKind::Filesystem => parts.push(Part {
                    rel: rel.to_owned(),
                    snapshot,
                    blank_guid: None,
                    properties: carried(d),
                }),
                None => {}
            }
        }
        parts.sort_by(|a, b| a.rel.cmp(&b.rel));
    }

    /// Makes the parts under root's name.
    pub(crate) fn make(self, parts: &[Part], undo: Option<Undo>) -> Vec<Step> {
        let clone = |part: &Part| Step::Clone {
            snapshot: part.snapshot.clone(),
            to: self.part_name(&part.rel),
            properties: part.at_birth(),
            undo: undo.clone(),
        };
        parts.iter().map(clone).collect()
    }

    pub(crate) fn promote(self, parts: &[Part]) -> Vec<Step> {
        let promote = |part: &Part| {
            Some(Step::Promote {
                dataset: self.part_name(&part.rel),
                origin_guid: part.blank_guid?,
            })
        };
        parts.iter().filter_map(promote).collect()
    }

    pub(crate) fn complete(self, parts: &[Part]) -> Vec<Step> {
        let complete = |part: &Part| complete(&self.part_name(&part.rel), &part.at_birth());
        parts.iter().flat_map(complete).collect()
    }

    pub(crate) fn unretired_names(self) -> Vec<&'a str> {
        self.unretired().into_iter().map(|d| &*d.name).collect()
    }

    /// The pool's `bootfs` follows a rename: it is set back to where it was.
    pub(crate) fn bootfs(self, followed: &[&str], parts: &[Part]) -> Option<Step> {
        let bootfs = self.survey.pool.bootfs.as_deref()?;
        let rel = followed
            .iter()
            .find_map(|top| crate::layout::below(top, bootfs))?;
        let dataset = self.part_name(rel);
        let will_exist =
            self.dataset(&dataset).is_some() || parts.iter().any(|part| part.rel == rel);
        will_exist.then(|| Step::SetBootfs {
            pool: self.survey.pool.name.clone(),
            dataset,
        })
    }
}
