//! A root of several datasets is made beside root, and takes its name in one act: at no moment is
//! root there with some of its children missing.
//!
//! Whoever finds one with root in its place destroys it, because nobody booted it; whoever finds
//! it whole and root absent gives it root's name.

use crate::layout::{below, split};
use crate::part::Part;
use crate::plan::{destroy, free};
use crate::step::Undo;
use crate::survey::Reading;
use crate::{Dataset, DatasetKind, Step};
use state_api::{Refusal, Result};

impl<'a> Reading<'a> {
    /// Whether a root of these parts is staged: one dataset alone is whole at once, and a clone of
    /// a dataset with a key of its own cannot be renamed to where it belongs.
    pub(crate) fn is_staged(self, parts: &[Part], from: &[(&str, &Dataset)]) -> bool {
        let has_own_key = |d: &Dataset| d.encryption_root.as_ref() == Some(&d.name);
        parts.len() > 1 && !from.iter().any(|(_, d)| has_own_key(d))
    }

    /// What a dataset of the staged root is called.
    fn staged_name(self, rel: &str) -> String {
        format!("{}{rel}", self.layout.staging())
    }

    /// Makes the parts beside root.
    pub(crate) fn stage(self, parts: &[Part]) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        for part in parts {
            let to = self.staged_name(&part.rel);
            crate::name::check_dataset(&to).map_err(Refusal::BadName)?;
            steps.push(Step::Clone {
                snapshot: part.snapshot.clone(),
                to,
                properties: part.at_birth(),
                undo: None,
            });
        }
        Ok(steps)
    }

    /// Gives what is staged root's name, which nothing has.
    pub(crate) fn unstage(self, undo: Option<Undo>) -> Step {
        Step::Rename {
            from: self.layout.staging(),
            to: self.layout.root.clone(),
            guid: None,
            undo,
        }
    }

    /// Whether what is staged is these parts, whole.
    pub(crate) fn is_ready(self, parts: &[Part]) -> bool {
        let is_made = |part: &Part| {
            let made = self.dataset(&self.staged_name(&part.rel));
            made.is_some_and(|d| {
                let has = |p| d.properties.contains(p);
                d.origin.as_ref() == Some(&part.snapshot) && part.at_birth().iter().all(has)
            })
        };
        self.survey.staged.len() == parts.len()
            && self.staged_refusal().is_none()
            && parts.iter().all(is_made)
    }

    /// Why what has the name of a staged root cannot go.
    pub(crate) fn staged_refusal(self) -> Option<Refusal> {
        let top = self.survey.staged.first()?;
        let is_copy = |origin: &String| {
            let from = split(origin).0;
            [&self.layout.root, &self.layout.past_roots]
                .iter()
                .any(|family| below(family, from).is_some())
        };
        if !top.origin.as_ref().is_some_and(is_copy) {
            return Some(Refusal::Unsafe {
                fact: format!("{} exists, and no reset made it", top.name),
                cure: "give it another name: a reset makes the next root there".into(),
            });
        }
        self.survey.staged.iter().find_map(|d| {
            if let Some(at) = d.mounted_at.first() {
                return Some(Refusal::InUse {
                    what: d.name.clone(),
                    by: format!("a mount at {}", at.display()),
                });
            }
            if d.kind != DatasetKind::Filesystem {
                return Some(Refusal::NotWhatItClaims {
                    name: d.name.clone(),
                    expected: "a filesystem".into(),
                });
            }
            self.snapshots_of(&d.name).find_map(|s| free(s).err())
        })
    }

    /// Destroys what an interrupted reset staged.
    pub(crate) fn discard_staged(self) -> Vec<Step> {
        if self.staged_refusal().is_some() {
            return Vec::new(); // and whoever needs its name is refused
        }
        let mut steps = Vec::new();
        for d in self.survey.staged.iter().rev() {
            let snapshots: Vec<_> = self.snapshots_of(&d.name).collect();
            steps.extend(snapshots.into_iter().rev().map(destroy));
            steps.push(Step::Destroy {
                name: d.name.clone(),
                guid: d.guid,
            });
        }
        steps
    }

    /// Whether a dataset is staged.
    pub(crate) fn is_in_staging(self, dataset: &Dataset) -> bool {
        below(&self.layout.staging(), &dataset.name).is_some()
    }
}
