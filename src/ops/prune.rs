//! `state archives prune`: deletes the archives that no rule keeps.

use super::archives::{Which, machine_name, machine_of, settings, targets};
use super::seal::{Seal, Trust};
use crate::archive::Error;
use crate::archive::label::{Id, Label};
use crate::context::Context;
use crate::failure::Failure;
use crate::ledger::Ledger;
use crate::progress::{Progress, Total, Unit};
use crate::retention::{self, Archived, Reason, Verdict};
use crate::settings::Settings;
use crate::target::catalog::Catalog;
use crate::target::{self, Target};
use serde::Serialize;
use std::collections::BTreeSet;

/// What pruning did, or would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Whether it was done; a dry run stops before.
    pub executed: bool,
    /// The targets, each with its outcome.
    pub targets: Vec<Pruned>,
}

/// One target.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pruned {
    /// Its name.
    pub target: String,
    /// What is decided about each archive of this machine there, oldest first.
    pub archives: Vec<Verdict<String>>,
    /// Those that were deleted.
    pub deleted: Vec<String>,
    /// Why not all of those that go are gone.
    pub failed: Option<String>,
    /// Whether the target lets nobody delete.
    pub is_append_only: bool,
}

impl Report {
    /// Whether something that was to go is still there, or could not be looked at.
    pub fn is_partial(&self) -> bool {
        self.targets.iter().any(|target| target.failed.is_some())
    }
}

/// Decides and deletes, at one target or at all that are configured.
///
/// # Errors
/// No target has a rule, or none can be looked at.
pub fn run(cx: &Context, which: &Which, progress: &dyn Progress) -> anyhow::Result<Report> {
    let from = which.from.as_deref();
    let settings = settings(cx, which)?;
    let machine = machine_of(cx, &settings, which)?;
    let has_rule = |name: &String| {
        let target = settings.target.get(name);
        target.is_some_and(|target| target.keep != Default::default())
    };
    let names: Vec<String> = targets(&settings, from)?
        .into_iter()
        .filter(has_rule)
        .collect();
    if names.is_empty() {
        return Err(
            Failure::usage("no rule says what to keep, so nothing is deleted")
                .hint("add one to the target's table: keep = { last = 3, daily = 7, weekly = 4 }")
                .into(),
        );
    }
    let lock = match cx.dry_run {
        true => None,
        false => Some(cx.lock()?),
    };
    let believed = Believed {
        trust: Trust::of(cx, &settings, which)?,
        // Another machine's archives are signed by its key.
        seal: Seal::of(cx, &settings)?
            .filter(|_| machine_name(cx, &settings).is_ok_and(|own| own == machine)),
    };
    // Deletes by what the ledger says: without it nothing is proven, and nothing goes.
    let ledger = Ledger::read(cx, &settings)?;
    let mut report = Report {
        executed: !cx.dry_run,
        targets: Vec::new(),
    };
    let mut failures = Vec::new();
    for name in &names {
        let mut pruned = Pruned {
            target: name.clone(),
            archives: Vec::new(),
            deleted: Vec::new(),
            failed: None,
            is_append_only: false,
        };
        let done = prune(
            cx,
            &settings,
            &machine,
            (&ledger, &believed),
            &mut pruned,
            progress,
        );
        progress.end();
        if let Err(error) = done {
            if let Error::Other(state_api::Error::Interrupted) = error {
                return Err(state_api::Error::Interrupted.into());
            }
            pruned.is_append_only = error.is_denied() && pruned.deleted.is_empty();
            pruned.failed = Some(error.told());
            failures.push(error);
        }
        report.targets.push(pruned);
    }
    if !cx.dry_run {
        let forgotten = Ledger::change(cx, &settings, |ledger| {
            for target in &report.targets {
                target
                    .deleted
                    .iter()
                    .for_each(|id| ledger.gone(&target.target, id));
            }
        });
        forgotten?;
    }
    drop(lock);
    let unseen = |target: &Pruned| target.failed.is_some() && target.archives.is_empty();
    match failures.pop() {
        Some(error) if report.targets.iter().all(unseen) => Err(error.into()),
        _ => Ok(report),
    }
}

fn prune(
    cx: &Context,
    settings: &Settings,
    machine: &str,
    (ledger, believed): (&Ledger, &Believed),
    pruned: &mut Pruned,
    progress: &dyn Progress,
) -> crate::archive::Result<()> {
    let name = pruned.target.clone();
    let target = target::open(settings, &name)?;
    let mut catalog = Catalog::read(target.as_ref(), machine)?;
    catalog.distrust_damaged(|label| ledger.is_damaged(&name, label.id.as_str()));
    let mut unvouched = BTreeSet::new();
    for label in &catalog.labels {
        if !believed.vouch(target.as_ref(), label)? {
            unvouched.insert(label.id.clone());
        }
    }
    catalog.distrust(|label| {
        let nobody = || Reason::Unvouched.to_string();
        unvouched.contains(&label.id).then(nobody)
    });
    let there: Vec<Archived> = catalog
        .labels
        .iter()
        .map(|label| seen(&catalog, &unvouched, label))
        .collect();
    let policy = settings.target[&name].keep;
    let doubt = doubt(&catalog, ledger, &name);
    pruned.archives = retention::archives(&there, &policy, cx.now, doubt);
    if cx.dry_run {
        return Ok(());
    }
    let going = pruned.archives.iter().filter(|verdict| !verdict.is_kept());
    let doing = format!("deleting from {name}");
    let total = Total::Is(going.count() as u64);
    progress.begin(&doing, Unit::Items, total);
    // The newest first: a parent never goes before what builds on it.
    for label in catalog.labels.iter().rev() {
        let goes =
            |verdict: &Verdict<String>| verdict.name == label.id.as_str() && !verdict.is_kept();
        if !pruned.archives.iter().any(goes) {
            continue;
        }
        if cx.interrupt.is_set() {
            return Err(state_api::Error::Interrupted.into());
        }
        progress.see(0, label.id.as_str().as_bytes());
        delete(target.as_ref(), label)?;
        progress.advance(1);
        pruned.deleted.push(label.id.to_string());
        // It is gone: whether the proof of it can be deleted is of no importance.
        for proof in catalog.proofs_of(&label.id) {
            target.delete(&proof.name).map(drop).unwrap_or(());
        }
    }
    Ok(())
}

/// Whose archives take places in the rules: who may write and not delete must not be able to
/// let others' go by putting labels of his own there.
struct Believed {
    trust: Trust,
    /// What signs these archives, if this machine makes them and signs.
    seal: Option<Seal>,
}

impl Believed {
    /// Whether somebody who is believed made it; anybody, where nobody was named.
    fn vouch(&self, target: &dyn Target, label: &Label) -> crate::archive::Result<bool> {
        let signature = self.trust.look(target, label)?;
        let id = label.id.as_str();
        Ok(match self.trust.names_somebody() {
            true => signature.demand(id, false).is_ok(),
            false => signature.vouch(id, self.seal.as_ref()).is_ok(),
        })
    }
}

fn seen(catalog: &Catalog, unvouched: &BTreeSet<Id>, label: &Label) -> Archived {
    let doubt = match catalog.is_whole(label) {
        true => None,
        false if unvouched.contains(&label.id) => Some(Reason::Unvouched),
        false => Some(Reason::Broken),
    };
    Archived {
        name: label.id.to_string(),
        at: label.time,
        parent: label.parent.as_ref().map(ToString::to_string),
        is_complete: label.is_complete,
        doubt,
    }
}

/// Why nothing at all goes.
fn doubt(catalog: &Catalog, ledger: &Ledger, target: &str) -> Option<Reason> {
    // What cannot be read can build on anything.
    if !catalog.unreadable.is_empty() {
        return Some(Reason::Unreadable);
    }
    let newest = catalog.latest()?;
    let is_proven = ledger.is_proven(target, newest.id.as_str(), &newest.data_sha256);
    (!is_proven).then_some(Reason::NewestUnproven)
}

/// The label first: from then on there is no archive, and what is left of it after an interruption
/// is removed by the next backup.
fn delete(target: &dyn Target, label: &Label) -> crate::archive::Result<()> {
    target.delete(&label.name())?;
    target.delete(&super::seal::name(label))?;
    target.delete(&label.data_name()).map(drop)
}
