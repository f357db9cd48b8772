//! How root goes back to blank: pure functions of a survey.
//!
//! A root that is kept takes three transactions — rename, clone, promote — so every state between
//! them is read here too: root missing with its blank under a past root (renamed, not cloned);
//! root a clone of a past root's blank (cloned, not promoted); a past root without the properties
//! of one (not put away to the end).

use crate::carry::{at_birth, carried, complete};
use crate::layout::{Layout, SOURCE, split};
use crate::name::{check_dataset, check_snapshot};
use crate::step::Undo;
use crate::survey::{Reading, is_retired, retirement};
use crate::{Dataset, DatasetKind, Property, Step, Survey, ZfsSnapshot};
use chrono::DateTime;
use state_api::{Error, PastRootName, Plan, Refusal, Reset, Result, Retire, Source};

/// One dataset of a new root.
struct Part {
    /// What its name adds to root's.
    rel: String,
    /// The snapshot it is a clone of, as it is called when the clone is made.
    snapshot: String,
    /// That snapshot's guid, if it is a blank: then the clone is promoted.
    blank_guid: Option<u64>,
    /// The properties it has in the end.
    properties: Vec<Property>,
}

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
        let unfinished = reading.finish();
        // What an interrupted run made and nobody used since is this run's fresh root.
        let is_done =
            !unfinished.is_empty() && ask.source == Some(Source::Blank) && reading.is_fresh();
        steps.extend(unfinished);
        if let (Some(source), false) = (&ask.source, is_done) {
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
            Some(true) => Ok(()),
            Some(false) => Err(Refusal::BlankWithoutInit {
                blank: blank.name.clone(),
            }
            .into()),
            None => Err(Refusal::Unsafe {
                fact: format!("{} cannot be opened to look for its init", blank.name),
                cure: "load its key, if it is encrypted".into(),
            }
            .into()),
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
        steps.extend(self.make(&parts, undo));
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
        steps.extend(self.bootfs(&self.unretired_names(), &missing));
        steps.extend(self.survey.root.iter().filter_map(|d| {
            Some(Step::Promote {
                dataset: d.name.clone(),
                origin_guid: self.unpromoted(d)?.guid,
            })
        }));
        steps.extend(self.promote(&missing));
        steps.extend(self.retire());
        let waiting = self.survey.root.iter();
        steps.extend(waiting.flat_map(|d| complete(&d.name, &d.properties)));
        steps.extend(self.complete(&missing));
        steps
    }

    /// The short name of the snapshot of a past root that root is a clone of.
    fn made_from(self) -> Option<&'a str> {
        let (holder, short) = split(self.root()?.origin.as_deref()?);
        crate::layout::below(&self.layout.past_roots, holder).map(|_| short)
    }

    /// The dataset whose properties the new one gets: a missing child's are the outgoing root's,
    /// not those of a past root that was put away long ago.
    fn model(self, rel: &str, d: &'a Dataset) -> &'a Dataset {
        let unretired = self.unretired();
        let outgoing = unretired.last().filter(|_| is_retired(d));
        outgoing
            .and_then(|top| self.dataset(&format!("{}{rel}", top.name)))
            .unwrap_or(d)
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
                let is_own = crate::layout::below(&root.name, &d.name).is_some()
                    || self.made_from() == Some(&*self.layout.blank);
                let has_blank = part.snapshot.starts_with(&format!("{}@", d.name));
                if is_own && (has_blank || self.unpromoted(d).is_some()) {
                    part.snapshot = format!("{past}{rel}@{}", self.layout.blank);
                }
                Some(part)
            })
            .collect();
        if let Source::Past(from) = source {
            let short = self.prepare_source(from, &mut steps)?;
            self.take_from(from, &short, &mut parts);
        }
        steps.push(Step::Rename {
            from: root.name.clone(),
            to: past.clone(),
            guid: Some(root.guid),
        });
        steps.extend(self.make(&parts, Some(self.undo(&past, root.guid))));
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

    fn part_name(self, rel: &str) -> String {
        format!("{}{rel}", self.layout.root)
    }

    fn undo(self, outgoing: &str, guid: u64) -> Undo {
        Undo {
            root: self.layout.root.clone(),
            outgoing: outgoing.to_owned(),
            guid,
        }
    }

    fn part(self, rel: &str, blank: &ZfsSnapshot, model: &Dataset) -> Option<Part> {
        (model.kind == DatasetKind::Filesystem).then(|| Part {
            rel: rel.to_owned(),
            snapshot: blank.name.clone(),
            blank_guid: Some(blank.guid),
            properties: carried(model),
        })
    }

    /// Snapshots a past root, so that a root can be made from it while it stays as it is.
    fn prepare_source(self, past: &PastRootName, steps: &mut Vec<Step>) -> Result<String> {
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
    fn take_from(self, past: &PastRootName, short: &str, parts: &mut Vec<Part>) {
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

    fn make(self, parts: &[Part], undo: Option<Undo>) -> Vec<Step> {
        let clone = |part: &Part| Step::Clone {
            snapshot: part.snapshot.clone(),
            to: self.part_name(&part.rel),
            properties: at_birth(&part.properties),
            undo: undo.clone(),
        };
        parts.iter().map(clone).collect()
    }

    fn promote(self, parts: &[Part]) -> Vec<Step> {
        let promote = |part: &Part| {
            Some(Step::Promote {
                dataset: self.part_name(&part.rel),
                origin_guid: part.blank_guid?,
            })
        };
        parts.iter().filter_map(promote).collect()
    }

    fn complete(self, parts: &[Part]) -> Vec<Step> {
        let complete =
            |part: &Part| complete(&self.part_name(&part.rel), &at_birth(&part.properties));
        parts.iter().flat_map(complete).collect()
    }

    fn unretired_names(self) -> Vec<&'a str> {
        self.unretired().into_iter().map(|d| &*d.name).collect()
    }

    /// The pool's `bootfs` follows a rename: it is set back to where it was.
    fn bootfs(self, followed: &[&str], parts: &[Part]) -> Option<Step> {
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

/// Refuses to put away a dataset with a key of its own.
///
/// Found on OpenZFS 2.3.2: `promote` makes the successor the encryption root, and the pool no longer
/// finds the key that was loaded. The new root could not be mounted in this boot.
fn own_key(dataset: &Dataset) -> Result<()> {
    let name = &dataset.name;
    if dataset.encryption_root.as_ref() != Some(name) {
        return Ok(());
    }
    Err(Refusal::Unsafe {
        fact: format!("{name} has a key of its own, which its successor would lose"),
        cure: "let it inherit the key of an encrypted parent (`zfs change-key -i`), or keep no \
               past roots (`past-roots = { last = 0, days = 0 }`)"
            .into(),
    }
    .into())
}

/// Refuses to destroy a snapshot that something needs.
pub(crate) fn free(snapshot: &ZfsSnapshot) -> Result<()> {
    let by: Vec<_> = snapshot
        .holds
        .iter()
        .chain(&snapshot.clones)
        .cloned()
        .collect();
    if by.is_empty() {
        Ok(())
    } else {
        Err(Refusal::Held {
            snapshot: snapshot.name.clone(),
            by,
        }
        .into())
    }
}

pub(crate) fn destroy(snapshot: &ZfsSnapshot) -> Step {
    Step::Destroy {
        name: snapshot.name.clone(),
        guid: snapshot.guid,
    }
}
