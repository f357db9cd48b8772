//! The engine: looks, plans and acts through a [`Kernel`].

use crate::layout::{Layout, PINNED, below, split};
use crate::step::Undo;
use crate::survey::Reading;
use crate::{Dataset, Kernel, Property, Step, Survey, blank, delete, plan};
use state_api::{
    Apply, BadName, Error, Outcome, PastRootName, Plan, Refusal, Reset, Result, RootBackend,
    RootCapabilities, RootFacts, Source, View,
};
use state_linux::system::INITS;
use std::path::Path;

/// One machine's root on ZFS.
#[derive(Debug)]
pub struct Zfs<K> {
    kernel: K,
    layout: Layout,
}

impl<K: Kernel> Zfs<K> {
    /// The root `dataset` whose blank has the short name `blank`. Past roots are kept as
    /// `past-roots/NAME` beside it.
    ///
    /// # Errors
    /// A name that ZFS cannot carry.
    pub fn new(kernel: K, dataset: &str, blank: &str) -> Result<Self, BadName> {
        Ok(Self {
            kernel,
            layout: Layout::new(dataset, blank)?,
        })
    }

    /// Names the mount point of a store: a dataset inside root that is mounted there by its
    /// `mountpoint` refuses every reset.
    #[must_use]
    pub fn protecting(mut self, mount_point: &Path) -> Self {
        self.layout.protected_paths.push(mount_point.to_owned());
        self
    }

    /// Names a dataset that must outlive every reset.
    #[must_use]
    pub fn protecting_dataset(mut self, dataset: impl Into<String>) -> Self {
        self.layout.protected.push(dataset.into());
        self
    }

    /// The kernel it acts through.
    pub fn kernel(&self) -> &K {
        &self.kernel
    }

    /// The same, to act on directly.
    pub fn kernel_mut(&mut self) -> &mut K {
        &mut self.kernel
    }

    fn reading<'a>(&'a self, survey: &'a Survey) -> Reading<'a> {
        Reading {
            layout: &self.layout,
            survey,
        }
    }

    fn look(&self) -> Result<Survey> {
        let layout = &self.layout;
        let root = self.kernel.datasets(&layout.root)?;
        let mut snapshots = self.kernel.snapshots(&layout.root)?;
        snapshots.extend(self.kernel.snapshots(&layout.past_roots)?);
        let mut staged = Vec::new();
        if root.len() != 1 {
            staged = self.kernel.datasets(&layout.staging())?;
            snapshots.extend(self.kernel.snapshots(&layout.staging())?);
        }
        snapshots.sort_by_key(|s| s.createtxg);
        Ok(Survey {
            pool: self.kernel.pool(layout.pool())?,
            root,
            past_roots: self.kernel.datasets(&layout.past_roots)?,
            staged,
            snapshots,
            blank_has_init: None,
        })
    }

    fn has_init(&self, name: &str) -> Result<bool> {
        for path in INITS {
            if self.kernel.resolves(name, Path::new(path))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn top(&self, name: &str) -> Result<Option<Dataset>> {
        let all = self.kernel.datasets(name)?;
        Ok(all.into_iter().find(|d| d.name == name))
    }

    /// The guid of a dataset, snapshot or bookmark, if it exists.
    fn guid(&self, name: &str) -> Result<Option<u64>> {
        let (dataset, short) = split(name);
        if short.is_empty() {
            return Ok(self.top(dataset)?.map(|d| d.guid));
        }
        let all = self.kernel.snapshots(dataset)?;
        Ok(all.into_iter().find(|s| s.name == name).map(|s| s.guid))
    }

    /// Gives the outgoing root its name back after a clone in its place failed.
    ///
    /// What stands there now was made by this very run: root had been renamed away.
    fn undo(&mut self, undo: &Undo) -> Result<()> {
        for made in self.kernel.datasets(&undo.root)?.into_iter().rev() {
            let is_ours = made.mounted_at.is_empty()
                && made
                    .origin
                    .as_deref()
                    .is_some_and(|o| below(&self.layout.past_roots, split(o).0).is_some());
            if !is_ours {
                return Err(Error::Stale { what: made.name });
            }
            self.kernel.destroy(&made.name)?;
        }
        if self.guid(&undo.outgoing)? != Some(undo.guid) {
            return Err(Error::Stale {
                what: undo.outgoing.clone(),
            });
        }
        self.kernel.rename(&undo.outgoing, &undo.root)
    }

    fn clone_snapshot(
        &mut self,
        snapshot: &str,
        to: &str,
        properties: &[Property],
        undo: Option<&Undo>,
    ) -> Result<Outcome> {
        let Err(cause) = self.kernel.clone_snapshot(snapshot, to, properties) else {
            return Ok(Outcome::Made);
        };
        let made = self.top(to)?;
        let is_so = |d: Dataset| {
            d.origin.as_deref() == Some(snapshot)
                && properties.iter().all(|p| d.properties.contains(p))
        };
        if made.is_some_and(is_so) {
            return Ok(Outcome::AlreadySo);
        }
        Err(self.undone(undo, cause))
    }

    /// A failure, after what was done before it has been undone.
    fn undone(&mut self, undo: Option<&Undo>, cause: Error) -> Error {
        match undo.map(|undo| self.undo(undo)) {
            None | Some(Ok(())) => cause,
            Some(Err(recovery)) => Error::Recovery {
                cause: Box::new(cause),
                recovery: Box::new(recovery),
            },
        }
    }

    fn rename(
        &mut self,
        from: &str,
        to: &str,
        guid: Option<u64>,
        undo: Option<&Undo>,
    ) -> Result<Outcome> {
        let Err(cause) = self.kernel.rename(from, to) else {
            return Ok(Outcome::Made);
        };
        let is_done = match guid {
            Some(guid) => self.guid(to)? == Some(guid),
            None => self.guid(to)?.is_some() && self.guid(from)?.is_none(),
        };
        if is_done {
            Ok(Outcome::AlreadySo)
        } else {
            Err(self.undone(undo, cause))
        }
    }
}

impl<K: Kernel> Apply for Zfs<K> {
    type Step = Step;

    fn apply(&mut self, step: &Step) -> Result<Outcome> {
        match step {
            Step::Create { dataset } => {
                if self.top(dataset)?.is_some() {
                    return Ok(Outcome::AlreadySo);
                }
                let properties = [Property::new("canmount", "off")];
                self.kernel.create(dataset, &properties)?;
            }
            Step::Snapshot { names } => {
                if let Err(cause) = self.kernel.snapshot(names) {
                    for name in names {
                        if self.guid(name)?.is_none() {
                            return Err(cause);
                        }
                    }
                    return Ok(Outcome::AlreadySo);
                }
            }
            Step::Rename {
                from,
                to,
                guid,
                undo,
            } => return self.rename(from, to, *guid, undo.as_ref()),
            Step::Clone {
                snapshot,
                to,
                properties,
                undo,
            } => return self.clone_snapshot(snapshot, to, properties, undo.as_ref()),
            Step::Promote {
                dataset,
                origin_guid,
            } => {
                // Once more would take over what the other dataset itself is a clone of.
                let own = self.kernel.snapshots(dataset)?;
                let has =
                    |s: &crate::ZfsSnapshot| s.guid == *origin_guid && split(&s.name).0 == dataset;
                if own.iter().any(has) {
                    return Ok(Outcome::AlreadySo);
                }
                self.kernel.promote(dataset)?;
            }
            Step::Set {
                dataset,
                properties,
            } => return self.kernel.set(dataset, properties),
            Step::Inherit { dataset, property } => return self.kernel.inherit(dataset, property),
            Step::SetBootfs { pool, dataset } => return self.kernel.set_bootfs(pool, dataset),
            Step::Destroy { name, guid } => match self.guid(name)? {
                None => return Ok(Outcome::AlreadySo),
                Some(found) if found == *guid => self.kernel.destroy(name)?,
                Some(_) => return Err(Error::Stale { what: name.clone() }),
            },
            Step::Rollback { snapshot, guid } => {
                if self.guid(snapshot)? != Some(*guid) {
                    return Err(Error::Stale {
                        what: snapshot.clone(),
                    });
                }
                self.kernel.rollback(snapshot)?;
            }
        }
        Ok(Outcome::Made)
    }

    /// Once root (or a blank) has been renamed away, what takes its name, boots and is mounted like
    /// it has to be made before anybody may stop: most of the time there would be no root. Root is
    /// rolled back whole: it would boot with what it held above children that are blank.
    fn may_stop_before(&self, step: &Step) -> bool {
        match step {
            Step::Rename { undo, .. } => undo.is_none(),
            Step::Create { .. } | Step::Destroy { .. } => true,
            Step::Snapshot { .. }
            | Step::Clone { .. }
            | Step::Promote { .. }
            | Step::Set { .. }
            | Step::Inherit { .. }
            | Step::SetBootfs { .. }
            | Step::Rollback { .. } => false,
        }
    }
}

impl<K: Kernel> RootBackend for Zfs<K> {
    const NAME: &'static str = "zfs";
    type Survey = Survey;

    fn capabilities(&self) -> RootCapabilities {
        RootCapabilities {
            erases: true,
            past_roots: true,
            whole_past_roots: true,
            blank: true,
            takes_blank: true,
            renews_blank: false,
        }
    }

    fn survey(&self) -> Result<Survey> {
        let mut survey = self.look()?;
        let blank = self.reading(&survey).blank_of("").map(|s| s.name.clone());
        // A blank that cannot be opened (its key is not loaded) is a finding, not an error.
        survey.blank_has_init = blank.and_then(|blank| self.has_init(&blank).ok());
        Ok(survey)
    }

    fn facts(&self, survey: &Survey) -> RootFacts {
        self.reading(survey).facts()
    }

    fn plan_reset(&self, survey: &Survey, reset: &Reset) -> Result<Plan<Step>> {
        plan::reset(&self.layout, survey, reset)
    }

    fn plan_delete(&self, survey: &Survey, past: &PastRootName) -> Result<Plan<Step>> {
        delete::past_root(&self.layout, survey, past)
    }

    fn plan_take_blank(&self, survey: &Survey) -> Result<Plan<Step>> {
        blank::take(&self.layout, survey)
    }

    fn recheck(&self, survey: &Survey) -> Result<()> {
        let now = self.look()?;
        let stale = |what: &str| Err(Error::Stale { what: what.into() });
        if now.pool != survey.pool {
            return stale(&survey.pool.name);
        }
        let identity = |d: &Dataset| {
            (
                d.name.clone(),
                d.guid,
                d.origin.clone(),
                d.mounted_at.clone(),
                d.properties.clone(),
            )
        };
        for (top, was, is) in [
            (&self.layout.root, &survey.root, &now.root),
            (&self.layout.past_roots, &survey.past_roots, &now.past_roots),
            (&self.layout.staging(), &survey.staged, &now.staged),
        ] {
            if !was.iter().map(identity).eq(is.iter().map(identity)) {
                return stale(top);
            }
        }
        let changed = survey
            .snapshots
            .iter()
            .find(|s| !now.snapshots.contains(s))
            .or_else(|| now.snapshots.iter().find(|s| !survey.snapshots.contains(s)));
        match changed {
            Some(snapshot) => stale(&snapshot.name),
            None => Ok(()),
        }
    }

    fn pin(&mut self, past: &PastRootName, pinned: bool) -> Result<Outcome> {
        let dataset = self.layout.past(past);
        if self.top(&dataset)?.is_none() {
            return Err(Error::Missing {
                what: format!("past root {past}"),
            });
        }
        if pinned {
            self.kernel.set(&dataset, &[Property::new(PINNED, "on")])
        } else {
            self.kernel.inherit(&dataset, PINNED)
        }
    }

    fn open_root(&self) -> Result<View> {
        self.kernel.open(&self.layout.root)
    }

    fn open(&self, source: &Source) -> Result<View> {
        match source {
            Source::Past(past) => {
                let dataset = self.layout.past(past);
                if self.top(&dataset)?.is_none() {
                    return Err(Error::Missing {
                        what: format!("past root {past}"),
                    });
                }
                self.kernel.open(&dataset)
            }
            Source::Blank => {
                let survey = self.look()?;
                match self.reading(&survey).blank_of("") {
                    Some(blank) => self.kernel.open(&blank.name),
                    None => Err(Refusal::NoBlank {
                        blank: format!("{}@{}", self.layout.root, self.layout.blank),
                        root_exists: !survey.root.is_empty(),
                    }
                    .into()),
                }
            }
        }
    }
}
