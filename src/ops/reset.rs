//! `state reset`: root goes back to blank. Runs in the initrd, unattended, before root is mounted.
//!
//! It never asks, never deletes on a failure, and leaves a [boot record](crate::record) whatever
//! comes of it. See `docs/boot.md`.

use super::act::{self, Act};
use super::look;
use super::renew;
use crate::anchor::Anchor;
use crate::boot::unit;
use crate::cmdline::Words;
use crate::context::Context;
use crate::engine::fstab;
use crate::failure::Failure;
use crate::machine::{FstabLine, Machine};
use crate::progress::Progress;
use crate::record::{self, Outcome, Record, RecordedBlank};
use crate::settings::OnFailure;
use crate::{config, engine, kernels, settings};
use anyhow::Context as _;
use serde::Serialize;
use state_api::{
    Blank, Error, PastRootName, Refusal, Reset, Retire, RootBackend, RootFacts, Source, View,
};
use std::io;
use std::path::PathBuf;
use std::time::Instant;

/// What a reset did, or would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Whether the plan was carried out (false: a dry run).
    pub executed: bool,
    /// The engine.
    pub backend: &'static str,
    /// The root volume.
    pub root: String,
    /// What came of it, or will.
    pub outcome: Outcome,
    /// What the new root is made from.
    pub source: Option<Source>,
    /// The blank.
    pub blank: Option<Blank>,
    /// The name the outgoing root is kept under; `None` if there is none or it is given up.
    pub past_root: Option<PastRootName>,
    /// The plan.
    pub plan: Vec<Act>,
    /// Where root was mounted, by an engine that has to do that itself.
    pub mounted_at: Option<PathBuf>,
    /// The kernel command line says `state.debug`: more is to be told.
    pub debug: bool,
    /// What went wrong without making the reset a failure.
    pub warnings: Vec<String>,
    /// How long it took, in microseconds.
    pub took_us: u64,
}

/// Looks, decides, acts, and records what came of it.
///
/// # Errors
/// It was refused, it failed or was interrupted. Nothing was deleted, and the boot record says
/// what was done.
pub fn run(cx: &Context, progress: &dyn Progress) -> anyhow::Result<Report> {
    recorded(cx, |draft| {
        let settings = config::load(cx)?;
        let root = settings.root.as_ref().ok_or_else(no_root)?;
        draft.record.backend = Some(engine::name(root).to_owned());
        let mut engine = engine::root(cx, root, &settings.persist)?;
        let fills = matches!(engine, engine::Root::Tmpfs(_)) && cx.is_initrd() && !cx.dry_run;
        let mut report = {
            let mut work = || engine::on_root!(&mut engine, on => reset(cx, on, root, draft));
            match fills {
                true => told::while_filling(&cx.rooted("/sysroot"), told::EVERY, progress, work),
                false => work(),
            }
        };
        if let (engine::Root::Tmpfs(on), Ok(report)) = (&engine, &mut report) {
            let lost = on.kernel().lost().iter();
            let lost = lost.map(|what| format!("memory cannot hold of blank: {what}"));
            report.warnings.extend(lost);
        }
        let boots_on = unit::on_failure(root) == OnFailure::BootUnwiped;
        if cx.is_initrd() && !cx.dry_run && (report.is_ok() || boots_on) {
            stack(&engine, report)
        } else {
            report
        }
    })
}

/// Mounts root where the engine has to do that itself, also when the reset has failed and the boot
/// is to go on with root as it is. The earlier failure is the one that is told.
fn stack(engine: &engine::Root, report: anyhow::Result<Report>) -> anyhow::Result<Report> {
    match (report, engine.stack()) {
        (Ok(report), Ok(mounted)) => Ok(Report {
            mounted_at: mounted.map(|stack| stack.at),
            ..report
        }),
        (Ok(_), Err(error)) => Err(error.into()),
        (Err(failure), Ok(_)) => Err(failure),
        (Err(failure), Err(error)) => Err(failure.context(format!("{error}; and before that"))),
    }
}

/// Runs `attempt` under the lock, and writes the boot record whatever comes of it.
fn recorded(
    cx: &Context,
    attempt: impl FnOnce(&mut Draft) -> anyhow::Result<Report>,
) -> anyhow::Result<Report> {
    // Two runs at once would plan against each other. The one that has to wait records nothing:
    // the other one does.
    let _lock = (!cx.dry_run).then(|| cx.lock()).transpose()?;
    let mut draft = Draft::new(cx);
    let report = attempt(&mut draft);
    if cx.dry_run {
        return report;
    }
    match report {
        Ok(mut report) => {
            if let Err(error) = draft.success(&report).write(&cx.run_dir()) {
                report
                    .warnings
                    .push(format!("the boot record was not written: {error}"));
            }
            Ok(report)
        }
        Err(error) => match draft.failure(&error).write(&cx.run_dir()) {
            Ok(()) => Err(error),
            Err(unwritten) => Err(error.context(format!("{unwritten}; and before that"))),
        },
    }
}

/// The configuration has no `[root]`.
pub(super) fn no_root() -> Failure {
    Failure::usage("the configuration has no [root]").hint("`state init` writes one")
}

/// A boot record as far as it can be written yet.
struct Draft {
    record: Record,
    begun: Instant,
}

impl Draft {
    fn new(cx: &Context) -> Self {
        let record = Record {
            version: record::VERSION,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            boot_id: cx.boot_id.clone(),
            at: cx.now,
            backend: None,
            root: None,
            outcome: Outcome::Failed,
            source: None,
            blank: None,
            past_root: None,
            plan: Vec::new(),
            steps_done: 0,
            took_us: 0,
            failure: None,
        };
        Self {
            record,
            begun: Instant::now(),
        }
    }

    fn seen(&mut self, facts: &RootFacts) {
        self.record.root = Some(facts.root.clone());
        self.record.blank = facts.blank.as_ref().map(|blank| RecordedBlank {
            name: blank.name.clone(),
            identity: blank.identity.clone(),
        });
    }

    fn acted(&mut self, acts: &[Act]) {
        self.record.plan = acts.iter().map(|act| act.text.clone()).collect();
        self.record.steps_done = act::count_done(acts);
    }

    /// What an earlier run of this boot did belongs to it.
    fn continues(&mut self, earlier: &Record) {
        self.record.source.clone_from(&earlier.source);
        self.record.blank.clone_from(&earlier.blank);
        self.record.plan.clone_from(&earlier.plan);
        self.record.steps_done = earlier.steps_done;
    }

    fn took_us(&self) -> u64 {
        Record::micros(self.begun.elapsed())
    }

    fn success(mut self, report: &Report) -> Record {
        self.record.outcome = report.outcome;
        self.record.past_root.clone_from(&report.past_root);
        self.record.took_us = report.took_us;
        self.record
    }

    fn failure(mut self, error: &anyhow::Error) -> Record {
        let api = error
            .chain()
            .find_map(|cause| cause.downcast_ref::<Error>());
        self.record.outcome = match api.map(Error::kind) {
            Some(state_api::Kind::Refused) => Outcome::Refused,
            Some(state_api::Kind::Interrupted) => Outcome::Interrupted,
            Some(state_api::Kind::Failed) | None => Outcome::Failed,
        };
        self.record.took_us = self.took_us();
        self.record.failure = Some(record::Failure {
            error: format!("{error:#}"),
            hint: api.and_then(Error::hint),
        });
        self.record
    }
}

fn reset<B: RootBackend>(
    cx: &Context,
    backend: &mut B,
    root: &settings::Root,
    draft: &mut Draft,
) -> anyhow::Result<Report> {
    let words = words(cx)?;
    // What the initrd did for a root in memory is judged now that the machine is complete.
    let filled = look::record(cx).ok().flatten();
    let filled = filled.filter(|record| record.outcome == Outcome::Filled);
    let survey = backend.survey().context("looking at root")?;
    let facts = backend.facts(&survey);
    draft.seen(&facts);
    let doing = || format!("resetting {}", facts.root);

    let reset = wanted(cx, &words, root, &facts).with_context(doing)?;
    refuse_root_by_id(cx, root, backend, reset.source.as_ref()).with_context(doing)?;
    draft.record.source.clone_from(&reset.source);
    let past_root = match &reset.retire {
        Retire::Keep(name) if facts.exists || !facts.leftovers.is_empty() => Some(name.clone()),
        _ => None,
    };
    let plan = backend.plan_reset(&survey, &reset).with_context(doing)?;
    if backend.capabilities().erases && facts.exists && reset.source == Some(Source::Blank) {
        refuse_kernel_without_modules(cx, backend, root).with_context(doing)?;
    }
    if let (true, Some(filled)) = (plan.is_nothing(), &filled) {
        draft.continues(filled);
    }
    let acts = if cx.dry_run {
        act::planned(&plan)
    } else {
        let (acts, ended) = act::carry_out(backend, &survey, &plan, cx.interrupt);
        draft.acted(&acts);
        ended.with_context(doing)?;
        acts
    };
    Ok(Report {
        executed: !cx.dry_run,
        backend: B::NAME,
        outcome: if !backend.capabilities().erases {
            match (plan.is_nothing(), &filled) {
                (false, _) => Outcome::Filled,
                (true, None) => Outcome::Checked,
                (true, Some(_)) => Outcome::Reset,
            }
        } else if reset.source.is_none() {
            Outcome::Skipped
        } else {
            Outcome::Reset
        },
        past_root: past_root.filter(|_| !plan.is_nothing() && backend.capabilities().erases),
        root: facts.root,
        source: draft.record.source.clone(),
        blank: facts.blank,
        plan: acts,
        mounted_at: None,
        debug: words.debug,
        warnings: words
            .unknown
            .iter()
            .map(|word| format!("the kernel command line says {word}, which means nothing"))
            .collect(),
        took_us: draft.took_us(),
    })
}

/// Reads the kernel command line of this boot. Without one there are no words.
fn words(cx: &Context) -> anyhow::Result<Words> {
    let path = cx.rooted("/proc/cmdline");
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => Err(Error::os(format!("reading {}", path.display()), error))?,
    };
    let words = Words::parse(&String::from_utf8_lossy(&text)).map_err(|bad| {
        Error::Refused(Refusal::Unsafe {
            fact: bad.to_string(),
            cure: "boot again and correct it in the boot menu".into(),
        })
    })?;
    Ok(words)
}

/// A btrfs root that is mounted by the id of its subvolume, as genfstab writes it, is not found any
/// more after its first reset.
fn refuse_root_by_id<B: RootBackend>(
    cx: &Context,
    root: &settings::Root,
    on: &B,
    source: Option<&Source>,
) -> state_api::Result<()> {
    if !matches!(root, settings::Root::Btrfs { .. }) {
        return Ok(());
    }
    let machine = Machine::look(cx).map_err(|error| Error::os("looking at the machine", error))?;
    let mut who = machine.root_by_id().into_iter().map(PathBuf::from);
    // The fstab that counts is that of the root to be. What cannot be opened is refused for that.
    let to_be = source.map(|source| (source, on.open(source)));
    let inside = match to_be {
        Some((source, Ok(view))) if fstab::within(&view)?.iter().any(FstabLine::is_root_by_id) => {
            Some(PathBuf::from(match source {
                Source::Blank => "etc/fstab in blank".to_owned(),
                Source::Past(past) => format!("etc/fstab in {past}"),
            }))
        }
        _ => None,
    };
    match who.next().or(inside) {
        None => Ok(()),
        Some(file) => Err(Refusal::RootMountedById { file }.into()),
    }
}

/// A kernel that was upgraded on the running machine: a boot loader starts it, and root from blank
/// would come up without its modules, which the root that is there has.
fn refuse_kernel_without_modules<B: RootBackend>(
    cx: &Context,
    backend: &B,
    root: &settings::Root,
) -> state_api::Result<()> {
    let Some(kernel) = kernels::running(&cx.root_dir) else {
        return Ok(());
    };
    // What cannot be looked into (its key is not loaded) is no reason to leave root as it is.
    let modules = |view: state_api::Result<View>| {
        let view = view.ok()?;
        let dir = view.dir.try_clone().ok()?;
        kernels::modules(&Anchor::from(dir)).ok()
    };
    let Some(of_blank) = modules(backend.open(&Source::Blank)) else {
        return Ok(());
    };
    let lacks = kernels::stranger(std::slice::from_ref(&kernel), &of_blank).is_some();
    let is_in_root = || modules(backend.open_root()).is_some_and(|all| all.contains(&kernel));
    if !lacks || !is_in_root() {
        return Ok(());
    }
    Err(Refusal::Unsafe {
        fact: format!("blank has no modules for {kernel}, the kernel that runs, and root has them"),
        cure: renew::catch_up(root).into(),
    }
    .into())
}

/// What is asked of the engine, from the kernel command line, the settings and the facts.
fn wanted(
    cx: &Context,
    words: &Words,
    root: &settings::Root,
    facts: &RootFacts,
) -> state_api::Result<Reset> {
    let source = match &words.root {
        _ if words.skip => None,
        None => Some(Source::Blank),
        Some(wanted) => {
            let past = wanted.find(&facts.past_roots, "past root", |past| past.name.as_str())?;
            Some(Source::Past(past.name.clone()))
        }
    };
    let gives_up = engine::past_roots(root).last == 0;
    let retire = if gives_up {
        Retire::GiveUp
    } else {
        let taken = |name: &PastRootName| facts.past_roots.iter().any(|past| past.name == *name);
        Retire::Keep(PastRootName::new(cx.now, &cx.boot_id, taken))
    };
    Ok(Reset {
        retire,
        needs_init: words.init_is_in_root(),
        source,
    })
}

mod told;

#[cfg(test)]
pub(super) mod tests;
