//! `state blank`: the snapshot that root goes back to.

use super::act::{self, Act};
use super::reset::no_root;
use crate::context::Context;
use crate::{config, engine};
use anyhow::Context as _;
use serde::Serialize;
use state_api::{Blank, Refusal, RootBackend};

/// The blank as it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Show {
    /// The engine.
    pub backend: &'static str,
    /// The root volume.
    pub root: String,
    /// The blank, if there is one.
    pub blank: Option<Blank>,
    /// The blank before it, which `state blank undo` goes back to.
    pub previous: Option<Blank>,
    /// What speaks against it; empty: a reset can use it.
    pub problems: Vec<Problem>,
}

/// One thing that speaks against a blank.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Problem {
    /// The fact.
    pub fact: String,
    /// The cure, where one is known.
    pub hint: Option<String>,
}

/// Shows the blank and what speaks against it.
///
/// # Errors
/// Root's filesystem cannot be read.
pub fn show(cx: &Context) -> anyhow::Result<Show> {
    let settings = config::load(cx)?;
    let root = settings.root.ok_or_else(no_root)?;
    let mut engine = engine::root(cx, &root, &settings.persist)?;
    engine::on_root!(&mut engine, on => show_on(on))
}

fn show_on<B: RootBackend>(on: &B) -> anyhow::Result<Show> {
    let survey = on.survey().context("looking at root")?;
    let facts = on.facts(&survey);
    let about_blank = |refusal: &&Refusal| {
        matches!(
            refusal,
            Refusal::NoBlank { .. }
                | Refusal::BlankWritten { .. }
                | Refusal::BlankWithoutInit { .. }
                | Refusal::NotWhatItClaims { .. }
                | Refusal::ChildWithoutBlank { .. }
        )
    };
    let problems = facts
        .refusals
        .iter()
        .filter(about_blank)
        .map(|refusal| Problem {
            fact: refusal.to_string(),
            hint: refusal.hint(),
        });
    Ok(Show {
        backend: B::NAME,
        root: facts.root.clone(),
        problems: problems.collect(),
        blank: facts.blank,
        previous: facts.previous_blank,
    })
}

/// What taking a blank did, or would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Take {
    /// Whether the plan was carried out (false: a dry run).
    pub executed: bool,
    /// The root volume it is taken from.
    pub root: String,
    /// The blank that was there before; it is kept as the previous one.
    pub replaced: Option<Blank>,
    /// The blank as it is afterwards (in a dry run: as it is now).
    pub blank: Option<Blank>,
    /// The plan.
    pub plan: Vec<Act>,
}

/// Makes the present root the blank. The previous blank is kept.
///
/// # Errors
/// It was refused, failed, or was interrupted.
pub fn take(cx: &Context) -> anyhow::Result<Take> {
    let settings = config::load(cx)?;
    let root = settings.root.ok_or_else(no_root)?;
    let _lock = (!cx.dry_run).then(|| cx.lock()).transpose()?;
    let mut engine = engine::root(cx, &root, &settings.persist)?;
    engine::on_root!(&mut engine, on => take_on(cx, on))
}

fn take_on<B: RootBackend>(cx: &Context, on: &mut B) -> anyhow::Result<Take> {
    let survey = on.survey().context("looking at root")?;
    let facts = on.facts(&survey);
    let doing = || format!("taking a blank from {}", facts.root);
    let plan = on.plan_take_blank(&survey).with_context(doing)?;
    let plan_acts = if cx.dry_run {
        act::planned(&plan)
    } else {
        let (acts, ended) = act::carry_out(on, &survey, &plan, cx.interrupt);
        ended.with_context(doing)?;
        acts
    };
    let blank = if cx.dry_run {
        facts.blank.clone()
    } else {
        on.facts(&on.survey().context("looking at root")?).blank
    };
    Ok(Take {
        executed: !cx.dry_run,
        root: facts.root,
        replaced: facts.blank,
        blank,
        plan: plan_acts,
    })
}
