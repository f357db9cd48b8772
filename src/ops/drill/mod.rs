//! `state drill`: proves that a restore works, by doing one to scratch.
//!
//! The newest archive of each target is restored in full, as `state restore` would, compared with
//! the manifest, metadata included, and with the snapshots it was made from where they still stand.
//! What was proven is noted in the ledger, and published beside the archive as a small signed
//! object, so that a fleet can be looked at. Nothing but scratch is ever written to or deleted.

mod compare;
pub(super) mod key;
pub(super) mod learn;
pub(super) mod publish;
mod report;
mod scratch;

pub use report::{Chosen, Drilled, Report};

use super::archives::{self, Found, Which};
use super::backup::{Origin, write_metrics};
use super::restore::{Lost, room, staged};
use super::seal::Seal;
use crate::archive::extract::Job;
use crate::archive::owners::Owners;
use crate::archive::proof::Against;
use crate::archive::{Error, read::Archive};
use crate::context::{Context, Locked, RUN_DIR};
use crate::failure::{Class, Failure, message};
use crate::ledger::{self, Ledger};
use crate::progress::{Progress, Total, Unit};
use crate::settings::Settings;
use anyhow::Context as _;
use chrono::SubsecRound as _;
use scratch::{Place, Scratch};
use state_linux::confine::confined;
use state_linux::lock::{Lock, Taken};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What is asked of a drill.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where the archives are, and what opens them.
    pub which: Which,
    /// The archive's id; by default the newest complete one of each target.
    pub archive: Option<String>,
    /// The directory in which scratch is made; by default the store's own.
    pub into: Option<PathBuf>,
}

/// Restores to scratch, compares, and records the proof.
///
/// # Errors
/// No archive could be restored for a reason that says nothing of it: no target can be reached, no
/// key opens it, there is no room. What is wrong with an archive is in the report.
pub fn run(cx: &Context, options: &Options, progress: &dyn Progress) -> anyhow::Result<Report> {
    let from = options.which.from.as_deref();
    let settings = archives::settings(cx, &options.which)?;
    let machine = archives::machine_of(cx, &settings, &options.which)?;
    let seal = Seal::of(cx, &settings)?;
    let targets = archives::targets(&settings, from)?;
    let place = Place::choose(cx, &settings, options.into.as_deref())?;
    let mut report = Report {
        machine,
        scratch: place.path(),
        executed: false,
        drills: Vec::new(),
        notes: Vec::new(),
    };
    let drill = Drill {
        cx,
        settings: &settings,
        options,
        seal: seal.as_ref(),
        progress,
    };
    let mut failures = Vec::new();
    if cx.dry_run {
        for target in &targets {
            let planned = drill.plan(target);
            report.take(target, planned, &mut failures)?;
        }
        return report.or(failures);
    }
    let _lock = lock(cx)?;
    let scratch = Scratch::make(place)?;
    for target in &targets {
        let drilled = drill.one(target, &scratch);
        report.take(target, drilled, &mut failures)?;
        scratch.empty()?;
    }
    scratch.remove()?;
    let drills = report.drills.iter().filter_map(Drilled::to_ledger);
    let drills: Vec<ledger::Drill> = drills.collect();
    let noted = Ledger::change(cx, &settings, |ledger| {
        drills.into_iter().for_each(|drill| ledger.drilled(drill));
    });
    let noted = noted.map_err(anyhow::Error::from);
    let noted = noted.and_then(|ledger| write_metrics(cx, &settings, &ledger));
    if let Err(error) = noted {
        let note = format!("not noted in the ledger: {}", message(&error));
        report.notes.push(note);
    }
    report.executed = true;
    report.or(failures)
}

/// One drill at a time. It is not the lock of everything else: a drill may take hours, and changes
/// nothing that others use.
fn lock(cx: &Context) -> anyhow::Result<Lock> {
    let path = cx.rooted(Path::new("/").join(RUN_DIR)).join("drill.lock");
    let doing = || format!("locking {}", path.display());
    match Lock::take(&path).map_err(|error| state_api::Error::os(doing(), error))? {
        Taken::Mine(lock) => Ok(lock),
        Taken::Held { by } => Err(Locked { by }).with_context(doing),
    }
}

/// What the drills at all targets share.
struct Drill<'a> {
    cx: &'a Context<'a>,
    settings: &'a Settings,
    options: &'a Options,
    seal: Option<&'a Seal>,
    progress: &'a dyn Progress,
}

impl Drill<'_> {
    fn find(&self, target: &str) -> anyhow::Result<(Found, Drilled)> {
        let which = Which {
            from: Some(target.to_owned()),
            ..self.options.which.clone()
        };
        let id = self.options.archive.as_deref().unwrap_or("latest");
        let found = archives::find(self.cx, self.settings, &which, id)?;
        let signature = found.signature(self.cx, self.settings, &which)?;
        // A restore would refuse it as well.
        signature.check(found.label.id.as_str())?;
        let time = self.cx.now.trunc_subsecs(0);
        let drilled = Drilled::begin(target, &found.label, signature, time);
        Ok((found, drilled))
    }

    fn plan(&self, target: &str) -> anyhow::Result<Drilled> {
        let (found, drilled) = self.find(target)?;
        // Whether a key opens it is known now.
        found.parents()?;
        found.data()?;
        Ok(drilled)
    }

    /// Restores the archive of one target. What is wrong with the archive is part of the result.
    fn one(&self, target: &str, scratch: &Scratch) -> anyhow::Result<Drilled> {
        let (found, mut drilled) = self.find(target)?;
        // The proof is signed: it says of the archive what it would say of this machine's own.
        if let Some(chosen) = &drilled.archive
            && let Err(error) = chosen.signature.vouch(found.label.id.as_str(), self.seal)
        {
            drilled.found = Some(message(&error));
            return Ok(drilled);
        }
        let restored = self.restore(&found, scratch, &mut drilled);
        self.progress.end();
        match restored.map_err(|error| (wrong_with_archive(&error), error)) {
            Ok(()) => {}
            Err((Some(why), _)) => drilled.found = Some(why),
            Err((None, error)) => return Err(error),
        }
        if let Some(proof) = drilled.proof() {
            let catalog = &found.catalog;
            match publish::publish(found.target.as_ref(), catalog, &proof, self.seal) {
                Ok(()) => drilled.is_published = true,
                Err(error) => {
                    let note = format!("the proof was not published: {}", error.told());
                    drilled.notes.push(note);
                }
            }
        }
        Ok(drilled)
    }

    fn restore(
        &self,
        found: &Found,
        scratch: &Scratch,
        drilled: &mut Drilled,
    ) -> anyhow::Result<()> {
        let totals = found.label.totals;
        let parents = found.parents()?;
        let source = found.data()?;
        let archive = parents.open(source.as_ref(), &found.label)?;
        // The label has the data of this archive alone; its parents' is restored as well.
        let bytes = confined(None, |_| archive.data_bytes())?.max(totals.bytes);
        drilled.weighs(bytes);
        // A block for every entry on top, as for a restore.
        let needed = totals.entries.saturating_mul(4096).saturating_add(bytes);
        room(&scratch.path(), needed, scratch.free_bytes()?)?;
        // Whose the files are is compared as it was archived.
        let owners = Owners::default();
        let stores = archive.machine().stores.len();
        let doing = format!("restoring {} from {}", found.label.id, found.name);
        let total = match stores {
            1 => Total::About(bytes),
            _ => Total::Unknown,
        };
        let mut against = Some(Against::Snapshot);
        for n in 0..stores {
            let stage = scratch.store(n)?;
            let job = Job {
                archive: &archive,
                store: n,
                under: None,
                owners: &owners,
                interrupt: self.cx.interrupt,
            };
            self.progress.begin(&doing, Unit::Bytes, total);
            let (losses, _) = staged(&job, &stage, self.progress)?;
            drilled.losses.extend(losses);
        }
        let Ok(origin) = Origin::look(self.cx, self.settings) else {
            // Not the machine that the archive is of, or not all of it is there.
            drilled.against = Some(Against::Manifest);
            return Ok(());
        };
        for n in 0..stores {
            match self.differences(&archive, &origin, n, scratch, &drilled.losses)? {
                Some(differences) => drilled.differ(differences),
                None => against = Some(Against::Manifest),
            }
        }
        drilled.against = against;
        Ok(())
    }

    /// What a restored store and the snapshot it came from do not have alike; nothing if no such
    /// snapshot stands.
    fn differences(
        &self,
        archive: &Archive<'_>,
        origin: &Origin,
        n: usize,
        scratch: &Scratch,
        losses: &[Lost],
    ) -> anyhow::Result<Option<Vec<Lost>>> {
        let machine = archive.machine();
        let path = Path::new(OsStr::from_bytes(&machine.stores[n].path.0));
        let id = &archive.label().id;
        let Some(frozen) = origin.open(path, id) else {
            return Ok(None);
        };
        let restored = scratch.opened(n)?;
        let watch = self.cx.watch(self.progress);
        // Of one store of several it is not known beforehand.
        let total = match machine.stores.len() {
            1 => Total::About(archive.index().totals.entries),
            _ => Total::Unknown,
        };
        let doing = "comparing with the snapshot";
        let found = watch.stage(doing, Unit::Items, total, || {
            compare::differences(archive, &frozen, &restored, losses, watch)
        });
        // A backup may have taken the snapshot away meanwhile.
        match origin.open(path, id) {
            Some(_) => Ok(Some(found?)),
            None => Ok(None),
        }
    }
}

/// What an error says of the archive; nothing if it says nothing of it.
fn wrong_with_archive(error: &anyhow::Error) -> Option<String> {
    match error.downcast_ref::<Error>()? {
        Error::Damaged { .. } | Error::Missing { .. } => Some(message(error)),
        _ => None,
    }
}

fn is_interruption(error: &anyhow::Error) -> bool {
    use state_api::Error::Interrupted;
    matches!(error.downcast_ref(), Some(Interrupted))
        || matches!(error.downcast_ref(), Some(Error::Other(Interrupted)))
}

impl Report {
    /// Takes up what became of one target.
    fn take(
        &mut self,
        target: &str,
        drilled: anyhow::Result<Drilled>,
        failures: &mut Vec<anyhow::Error>,
    ) -> anyhow::Result<()> {
        match drilled {
            Ok(drilled) => self.drills.push(drilled),
            Err(error) if is_interruption(&error) => return Err(error),
            // The newest one cannot even be looked at.
            Err(error) if matches!(error.downcast_ref(), Some(Error::Damaged { .. })) => {
                let mut drilled = Drilled::of(target);
                drilled.found = Some(message(&error));
                self.drills.push(drilled);
            }
            Err(error) => {
                let mut drilled = Drilled::of(target);
                drilled.failed = Some(message(&error));
                self.drills.push(drilled);
                failures.push(error);
            }
        }
        Ok(())
    }

    /// The report, unless there is nothing in it but failures.
    fn or(self, mut failures: Vec<anyhow::Error>) -> anyhow::Result<Self> {
        match failures.len() == self.drills.len() {
            true => Err(failures
                .pop()
                .unwrap_or_else(|| Failure::new(Class::Partial, "there was no target").into())),
            false => Ok(self),
        }
    }
}
