//! `state roots`: past roots. Listing, showing, pinning them, and collecting those that no rule
//! keeps. Runs on the booted machine; deleting is never part of a reset.

use super::act::{self, Act};
use super::learn;
use super::reset::no_root;
use crate::context::Context;
use crate::retention::{self, Verdict};
use crate::settings::{self, PastRoots};
use crate::wanted::Wanted;
use crate::{config, engine};
use anyhow::Context as _;
use serde::Serialize;
use state_api::{Error, Kind, Outcome, PastRoot, PastRootName, Plan, RootBackend};

/// A past root and what the rules say about it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Listed {
    /// The past root.
    #[serde(flatten)]
    pub root: PastRoot,
    /// Why it is kept; empty: the next collection deletes it.
    pub kept_by: Vec<retention::Reason>,
}

/// The past roots, oldest first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct List {
    /// The root volume.
    pub root: String,
    /// The rules.
    pub policy: PastRoots,
    /// The time they were judged at.
    pub at: chrono::DateTime<chrono::Utc>,
    /// What there is.
    pub past_roots: Vec<Listed>,
}

/// Lists past roots.
///
/// # Errors
/// Root's filesystem cannot be read.
pub fn list(cx: &Context) -> anyhow::Result<List> {
    let (settings, mut root) = open(cx)?;
    engine::on_root!(&mut root, on => list_on(cx, on, &settings))
}

fn list_on<B: RootBackend>(cx: &Context, on: &B, root: &settings::Root) -> anyhow::Result<List> {
    let survey = on.survey().context("looking at root")?;
    let facts = on.facts(&survey);
    let policy = engine::past_roots(root);
    let verdicts = retention::past_roots(&facts.past_roots, policy, cx.now);
    let listed = verdicts
        .into_iter()
        .filter_map(|Verdict { name, kept_by }| {
            let root = facts
                .past_roots
                .iter()
                .find(|root| root.name == name)?
                .clone();
            Some(Listed { root, kept_by })
        });
    Ok(List {
        root: facts.root,
        policy,
        at: cx.now,
        past_roots: listed.collect(),
    })
}

/// Shows one past root.
///
/// # Errors
/// There is none of that name, or several begin like that.
pub fn show(cx: &Context, wanted: &Wanted) -> anyhow::Result<Listed> {
    let list = list(cx)?;
    let found = wanted.find(&list.past_roots, "past root", |one| one.root.name.as_str())?;
    Ok(found.clone())
}

/// What pinning or unpinning did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pinned {
    /// Whether it was carried out (false: a dry run).
    pub executed: bool,
    /// Which past root.
    pub name: PastRootName,
    /// Whether it is pinned now, or would be.
    pub is_pinned: bool,
    /// Whether that changed anything.
    pub outcome: Outcome,
}

/// Pins a past root, so that no rule lets it go, or unpins it.
///
/// # Errors
/// There is none of that name, or the mark cannot be written.
pub fn pin(cx: &Context, wanted: &Wanted, pinned: bool) -> anyhow::Result<Pinned> {
    let _lock = (!cx.dry_run).then(|| cx.lock()).transpose()?;
    let (_, mut root) = open(cx)?;
    engine::on_root!(&mut root, on => pin_on(cx, on, wanted, pinned))
}

fn pin_on<B: RootBackend>(
    cx: &Context,
    on: &mut B,
    wanted: &Wanted,
    pinned: bool,
) -> anyhow::Result<Pinned> {
    let survey = on.survey().context("looking at root")?;
    let facts = on.facts(&survey);
    let past = wanted.find(&facts.past_roots, "past root", |one| one.name.as_str())?;
    let outcome = if past.is_pinned == pinned {
        Outcome::AlreadySo
    } else if cx.dry_run {
        Outcome::Made
    } else {
        let doing = if pinned { "pinning" } else { "unpinning" };
        on.pin(&past.name, pinned)
            .with_context(|| format!("{doing} {}", past.name))?
    };
    Ok(Pinned {
        executed: !cx.dry_run,
        name: past.name.clone(),
        is_pinned: pinned,
        outcome,
    })
}

/// What a collection did about one past root.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Collected {
    /// Which.
    pub name: PastRootName,
    /// Why it is kept; empty: it goes.
    pub kept_by: Vec<retention::Reason>,
    /// How it is deleted.
    pub plan: Vec<Act>,
    /// Why it could not be deleted; the others were all the same.
    pub failure: Option<String>,
}

/// What a collection did, or would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Gc {
    /// Whether it was carried out (false: a dry run).
    pub executed: bool,
    /// The rules.
    pub policy: PastRoots,
    /// Every past root, oldest first.
    pub past_roots: Vec<Collected>,
    /// What resets had given up, and that was left for when there is time.
    pub given_up: Vec<Act>,
    /// Why that could not be deleted.
    pub failure: Option<String>,
    /// Why nothing could be learned from the past roots; they were collected all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_learned: Option<String>,
}

impl Gc {
    /// How many could not be deleted.
    pub fn failures(&self) -> usize {
        let past_roots = self.past_roots.iter();
        let failed = past_roots.filter(|one| one.failure.is_some()).count();
        failed + usize::from(self.failure.is_some())
    }
}

/// Deletes the past roots that no rule keeps, oldest first, after looking what they have in common.
/// One that cannot be deleted is reported
/// and does not stop the others.
///
/// # Errors
/// Nothing could be looked at, or the run was interrupted.
pub fn gc(cx: &Context) -> anyhow::Result<Gc> {
    let _lock = (!cx.dry_run).then(|| cx.lock()).transpose()?;
    let settings = config::load(cx)?;
    let declared = settings.root.as_ref().ok_or_else(no_root)?;
    let mut root = engine::root(cx, declared, &settings.persist)?;
    let learned = match cx.dry_run {
        true => Ok(()),
        false => engine::on_root!(&mut root, on => learn::learn(cx, on, &settings)),
    };
    let mut report = engine::on_root!(&mut root, on => gc_on(cx, on, declared))?;
    report.not_learned = learned.err().map(|error| format!("{error:#}"));
    Ok(report)
}

fn gc_on<B: RootBackend>(cx: &Context, on: &mut B, root: &settings::Root) -> anyhow::Result<Gc> {
    let policy = engine::past_roots(root);
    let survey = on.survey().context("looking at root")?;
    let verdicts = retention::past_roots(&on.facts(&survey).past_roots, policy, cx.now);
    let mut past_roots = Vec::new();
    for Verdict { name, kept_by } in verdicts {
        let (plan, failure) = if kept_by.is_empty() {
            delete(cx, on, &format!("past root {name}"), |on, survey| {
                on.plan_delete(survey, &name)
            })?
        } else {
            (Vec::new(), None)
        };
        past_roots.push(Collected {
            name,
            kept_by,
            plan,
            failure,
        });
    }
    let (given_up, failure) = delete(cx, on, "what was given up", |on, survey| {
        on.plan_tidy(survey)
    })?;
    Ok(Gc {
        executed: !cx.dry_run,
        policy,
        past_roots,
        given_up,
        failure,
        not_learned: None,
    })
}

/// Deletes what `plan` says; a failure is a value, an interruption is an error.
fn delete<B: RootBackend>(
    cx: &Context,
    on: &mut B,
    what: &str,
    plan: impl FnOnce(&B, &B::Survey) -> state_api::Result<Plan<B::Step>>,
) -> anyhow::Result<(Vec<Act>, Option<String>)> {
    let doing = || format!("deleting {what}");
    if cx.interrupt.is_set() {
        return Err(Error::Interrupted).with_context(doing);
    }
    // Looked at afresh: the one deleted before may have changed what this one's plan relies on.
    let survey = on.survey().with_context(doing)?;
    let plan = match plan(on, &survey) {
        Ok(plan) => plan,
        Err(error) => return Ok((Vec::new(), Some(error.to_string()))),
    };
    if cx.dry_run {
        return Ok((act::planned(&plan), None));
    }
    let (acts, ended) = act::carry_out(on, &survey, &plan, cx.interrupt);
    match ended {
        Ok(()) => Ok((acts, None)),
        Err(error) if is_interruption(&error) => Err(error.context(doing())),
        Err(error) => Ok((acts, Some(format!("{error:#}")))),
    }
}

fn is_interruption(error: &anyhow::Error) -> bool {
    let mut causes = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<Error>());
    causes.any(|error| error.kind() == Kind::Interrupted)
}

/// The settings of root and its engine.
fn open(cx: &Context) -> anyhow::Result<(settings::Root, engine::Root)> {
    let settings = config::load(cx)?;
    let root = settings.root.ok_or_else(no_root)?;
    let engine = engine::root(cx, &root, &settings.persist)?;
    Ok((root, engine))
}

#[cfg(test)]
mod tests;
