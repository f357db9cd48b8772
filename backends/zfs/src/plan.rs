//! How root goes back to blank: pure functions of a survey.
//!
//! A root that is kept takes three transactions — rename, clone, promote — so every state between
//! them is read here too: root missing with its blank under a past root (renamed, not cloned);
//! root a clone of a past root's blank (cloned, not promoted); a past root without the properties
//! of one (not put away to the end).

use crate::carry::{at_birth, carried, complete};
use crate::layout::{Layout, below, split};
use crate::name::{check_dataset, check_snapshot};
use crate::part::Part;
use crate::step::Undo;
use crate::survey::{Reading, is_retired, property, retirement};
use crate::{Dataset, DatasetKind, Property, Step, Survey, ZfsSnapshot};
use chrono::DateTime;
use state_api::{PastRootName, Plan, Refusal, Reset, Result, Retire, Source};

/// Plans a reset.
pub(crate) fn reset(layout: &Layout, survey: &Survey, ask: &Reset) -> Result<Plan<Step>> {
    let (mut steps, survey) = crate::blank::settle(layout, survey);
    let reading = Reading {
        layout,
        survey: &survey,
    };
    if reading.root().is_none() {
        steps.extend(reading.restore_root(ask.source.as_ref())?);
    } else {
        // What an interrupted run made may have been booted since; `written` cannot tell (it is
        // never 0 for a clone). So finishing is not this run's reset.
        steps.extend(reading.finish());
        if let Some(source) = &ask.source {
            reading.check_init(source, ask.needs_init)?;
            steps.extend(match &ask.retire {
                Retire::Keep(name) => reading.rotate(name, source)?,
                Retire::GiveUp => reading.give_up(source)?,
            });
        }
    }
    let needs_blank = !matches!(ask.source, Some(Source::Past(_)));
    let refusal = reading
        .refusals()
        .into_iter()
        .find(|r| needs_blank || !matches!(r, Refusal::NoBlank { .. }));
    match refusal {
        Some(refusal) if !steps.is_empty() => Err(refusal.into()),
        _ => Ok(Plan { steps }),
    }
}

impl<'a> Reading<'a> {
    fn check_init(self, source: &Source, needs_init: bool) -> Result<()> {
        let Some(blank) = self.blank_of("") else {
            return Ok(());
        };
        if !needs_init || *source != Source::Blank {
            return Ok(());
        }
        match self.survey.blank_has_init {
            Some(false) => Err(Refusal::BlankWithoutInit {
                blank: blank.name.clone(),
            }
            .into()),
            // A reset before the key is loaded is the right order: what was a blank with an init
            // when it was taken still is one.
            Some(true) | None => Ok(()),
        }
    }

    /// Root is missing: an interrupted reset renamed it and did not get further.
    fn restore_root(self, source: Option<&Source>) -> Result<Vec<Step>> {
        let outgoing = self.outgoing();
        let Some(model) = outgoing.or_else(|| self.dataset(self.blank_holder()?)) else {
            return Err(self.no_blank().into());
        };
        let mut steps = Vec::new();
        let mut parts: Vec<Part> = self
            .tree(&model.name)
            .into_iter()
            .filter_map(|(rel, d)| {
                self.part(
                    rel,
                    self.blank_of(rel)
                        .or_else(|| self.snapshot(&d.name, &self.layout.blank))?,
                    d,
                )
            })
            .collect();
        if let Some(Source::Past(past)) = source {
            let short = self.prepare_source(past, &mut steps)?;
            self.take_from(past, &short, &mut parts);
        }
        if parts.first().is_none_or(|p| !p.rel.is_empty()) {
            return Err(self.no_blank().into());
        }
        let undo = outgoing.map(|d| self.undo(&d.name, d.guid));
        let is_staged = self.is_staged(&parts, &self.tree(&model.name));
        if is_staged {
            if !self.is_ready(&parts) {
                steps.extend(self.discard_staged());
                steps.extend(self.stage(&parts)?);
            }
            steps.push(self.unstage(undo));
        } else {
            steps.extend(self.discard_staged());
            steps.extend(self.make(&parts, undo));
        }
        steps.extend(self.bootfs(&self.unretired_names(), &parts));
        steps.extend(self.promote(&parts));
        steps.extend(self.retire());
        steps.extend(self.complete(&parts));
        Ok(steps)
    }

    /// Root exists: what an interrupted reset has still to do.
    pub(crate) fn finish(self) -> Vec<Step> {
        let mut steps: Vec<Step> = self
            .staged_blanks()
            .filter(|s| s.clones.is_empty() && s.holds.is_empty())
            .map(destroy)
            .collect();
        steps.extend(self.discard_staged());
        let missing: Vec<Part> = self
            .missing()
            .into_iter()
            .filter_map(|(rel, d)| {
                let short = self.made_from()?;
                let snapshot = self.snapshot(&d.name, short)?;
                let mut part = self.part(rel, snapshot, self.model(rel, d))?;
                if short != self.layout.blank {
                    part.blank_guid = None;
                }
                Some(part)
            })
            .collect();
        steps.extend(self.make(&missing, None));
        let unset = self.unset();
        steps.extend(unset.iter().map(|(d, properties)| Step::Set {
            dataset: d.name.clone(),
            properties: properties.clone(),
        }));
        steps.extend(self.bootfs(&self.unretired_names(), &missing));
        steps.extend(self.survey.root.iter().filter_map(|d| {
            Some(Step::Promote {
                dataset: d.name.clone(),
                origin_guid: self.unpromoted(d)?.guid,
            })
        }));
        steps.extend(self.promote(&missing));
        steps.extend(self.retire());
        let waiting = self.survey.root.iter().map(|d| (d, &d.properties));
        let waiting = waiting.chain(unset.iter().map(|(d, properties)| (*d, properties)));
        steps.extend(waiting.flat_map(|(d, properties)| complete(&d.name, properties)));
        steps.extend(self.complete(&missing));
        steps
    }

    /// The short name of the snapshot of a past root that root is a clone of.
    fn made_from(self) -> Option<&'a str> {
        let (holder, short) = split(self.root()?.origin.as_deref()?);
        below(&self.layout.past_roots, holder).map(|_| short)
    }

    /// The dataset whose properties the new one gets: a missing child's are the outgoing root's,
    /// not those of a past root that was put away long ago.
    fn model(self, rel: &str, d: &'a Dataset) -> &'a Dataset {
        let unretired = self.unretired();
        let is_unset = self.is_unset(d);
        let outgoing = unretired.last().filter(|_| is_retired(d) || is_unset);
        let origin = || self.dataset(split(d.origin.as_deref().filter(|_| is_unset)?).0);
        outgoing
            .and_then(|top| self.dataset(&format!("{}{rel}", top.name)))
            .or_else(origin)
            .unwrap_or(d)
    }

    /// Whether a dataset of root is a clone that an interrupted reset has set no property of: the
    /// pool does that after it made the clone, and each of ours is made with one of these.
    fn is_unset(self, d: &Dataset) -> bool {
        let is_set = |name| property(d, name).is_some();
        let origin = d.origin.as_deref().map(|origin| split(origin).0);
        !is_set("canmount")
            && !is_set("mountpoint")
            && origin.is_some_and(|from| below(&self.layout.past_roots, from).is_some())
    }

    /// Such datasets, with what they should have been made with.
    fn unset(self) -> Vec<(&'a Dataset, Vec<Property>)> {
        let all = self.tree(&self.layout.root).into_iter();
        all.filter(|(_, d)| self.is_unset(d))
            .map(|(rel, d)| (d, at_birth(&carried(self.model(rel, d)))))
            .collect()
    }

    /// The children that an interrupted reset has not brought to root yet, as they are below the
    /// dataset that root was made from.
    fn missing(self) -> Vec<(&'a str, &'a Dataset)> {
        let origin = self.root().and_then(|root| root.origin.as_deref());
        let (Some(origin), Some(short)) = (origin, self.made_from()) else {
            return Vec::new();
        };
        // A root made from a past root stays its clone: only an unfinished run left children out.
        if short != self.layout.blank && self.unretired().is_empty() {
            return Vec::new();
        }
        let mut tree = self.tree(split(origin).0);
        tree.retain(|(rel, d)| {
            self.dataset(&self.part_name(rel)).is_none()
                && d.kind == DatasetKind::Filesystem
                && self.snapshot(&d.name, short).is_some()
        });
        tree
    }

    /// Root becomes the past root `name` and a copy of `source` takes its place.
    fn rotate(self, name: &PastRootName, source: &Source) -> Result<Vec<Step>> {
        let root = self.root().ok_or_else(|| self.no_blank())?;
        let past = self.layout.past(name);
        if self.dataset(&past).is_some() {
            return Err(Refusal::Unsafe {
                fact: format!("{past} exists already"),
                cure: "keep root under another name".into(),
            }
            .into());
        }
        let mut tree = self.tree(&root.name);
        tree.extend(self.missing()); // finishing brings them before root is renamed
        for (rel, d) in &tree {
            own_key(d)?;
            let (blank, renamed) = (&self.layout.blank, format!("{past}{rel}"));
            check_dataset(&renamed).map_err(Refusal::BadName)?;
            check_snapshot(&format!("{renamed}@{blank}")).map_err(Refusal::BadName)?;
        }
        let mut steps = Vec::new();
        if self.survey.past_roots.is_empty() {
            steps.push(Step::Create {
                dataset: self.layout.past_roots.clone(),
            });
        }
        let mut parts: Vec<Part> = tree
            .iter()
            .filter_map(|(rel, d)| {
                let mut part = self.part(rel, self.blank_of(rel)?, self.model(rel, d))?;
                // What finishing promotes is root's own by then, and renamed with it.
                let is_own = below(&root.name, &d.name).is_some()
                    || self.made_from() == Some(&*self.layout.blank);
                let has_blank = part.snapshot.starts_with(&format!("{}@", d.name));
                if is_own && (has_blank || self.unpromoted(d).is_some()) {
                    part.snapshot = format!("{}{rel}@{}", root.name, self.layout.blank);
                }
                Some(part)
            })
            .collect();
        if let Source::Past(from) = source {
            let short = self.prepare_source(from, &mut steps)?;
            self.take_from(from, &short, &mut parts);
        }
        let is_staged = self.is_staged(&parts, &tree);
        if is_staged {
            steps.extend(self.stage(&parts)?);
        }
        steps.push(Step::Rename {
            from: root.name.clone(),
            to: past.clone(),
            guid: Some(root.guid),
            undo: None,
        });
        let undo = Some(self.undo(&past, root.guid));
        if is_staged {
            steps.push(self.unstage(undo));
        } else {
            for part in &mut parts {
                part.follow(&root.name, &past);
            }
            steps.extend(self.make(&parts, undo));
        }
        // What finishing set back to root follows root into the past once more.
        let mut followed = self.unretired_names();
        followed.push(&root.name);
        steps.extend(self.bootfs(&followed, &parts));
        steps.extend(self.promote(&parts));
        steps.extend(tree.iter().map(|(rel, d)| Step::Set {
            dataset: format!("{past}{rel}"),
            properties: retirement(d),
        }));
        steps.extend(self.complete(&parts));
        Ok(steps)
    }

    /// Root goes back to its own blank and is not kept.
    fn give_up(self, source: &Source) -> Result<Vec<Step>> {
        let root = self.root().ok_or_else(|| self.no_blank())?;
        let tree = self.tree(&root.name);
        let own_blank = |d: &Dataset| {
            self.snapshot(&d.name, &self.layout.blank)
                .or_else(|| self.unpromoted(d))
        };
        if *source != Source::Blank || own_blank(root).is_none() {
            // Blank is not root's to roll back to. It is kept under the time it was made at, as
            // old as a past root can be, so that retention takes it next.
            let made = DateTime::from_timestamp(root.creation_seconds, 0).unwrap_or_default();
            let name = PastRootName::new(made, &format!("{:016x}", root.guid), |name| {
                self.dataset(&self.layout.past(name)).is_some()
            });
            return self.rotate(&name, source);
        }
        let mut steps = Vec::new();
        let mut rollbacks = Vec::new();
        for (_, d) in &tree {
            let Some(blank) = own_blank(d) else {
                continue; // a refusal says so
            };
            let newer = self
                .snapshots_of(&d.name)
                .filter(|s| s.createtxg > blank.createtxg);
            for snapshot in newer.collect::<Vec<_>>().into_iter().rev() {
                free(snapshot)?;
                steps.push(destroy(snapshot));
            }
            rollbacks.push(Step::Rollback {
                snapshot: format!("{}@{}", d.name, self.layout.blank),
                guid: blank.guid,
            });
        }
        steps.extend(rollbacks.into_iter().rev());
        Ok(steps)
    }

    fn no_blank(self) -> Refusal {
        Refusal::NoBlank {
            blank: format!("{}@{}", self.layout.root, self.layout.blank),
            root_exists: self.root().is_some(),
        }
    }

    fn undo(self, outgoing: &str, guid: u64) -> Undo {
        Undo {
            root: self.layout.root.clone(),
            outgoing: outgoing.to_owned(),
            guid,
        }
    }

    /// Gives past roots the properties of past roots.
    fn retire(self) -> Vec<Step> {
        let unretired = self.unretired();
        let trees = unretired.iter().flat_map(|top| self.tree(&top.name));
        trees
            .filter(|(_, d)| !is_retired(d))
            .map(|(_, d)| Step::Set {
                dataset: d.name.clone(),
                properties: retirement(d),
            })
            .collect()
    }
}

/// Refuses to put away a dataset with a key of its own that is loaded.
///
/// Found on OpenZFS 2.3.2: `promote` makes the successor the encryption root, and the pool no longer
/// finds the key that was loaded. The new root could not be mounted in this boot.
fn own_key(dataset: &Dataset) -> Result<()> {
    let name = &dataset.name;
    if dataset.encryption_root.as_ref() != Some(name) || !dataset.has_loaded_key {
        return Ok(());
    }
    Err(Refusal::Unsafe {
        fact: format!("{name} has a key of its own, which its successor would lose"),
        cure: "reset root before its key is loaded, let it inherit the key of an encrypted parent (`zfs change-key -i`), or keep no \
               past roots (`past-roots = { last = 0, days = 0 }`)"
            .into(),
    }
    .into())
}

/// Refuses to destroy a snapshot that something needs.
pub(crate) fn free(snapshot: &ZfsSnapshot) -> std::result::Result<(), Refusal> {
    let by: Vec<_> = snapshot
        .holds
        .iter()
        .chain(&snapshot.clones)
        .cloned()
        .collect();
    if by.is_empty() {
        return Ok(());
    }
    Err(Refusal::Held {
        snapshot: snapshot.name.clone(),
        by,
    })
}

pub(crate) fn destroy(snapshot: &ZfsSnapshot) -> Step {
    Step::Destroy {
        name: snapshot.name.clone(),
        guid: snapshot.guid,
    }
}
