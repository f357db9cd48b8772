//! A backup with what is around it: hooks before, the ledger, metrics and hooks after.

use super::{Options, Report};
use crate::config;
use crate::context::Context;
use crate::failure::message;
use crate::ledger::{Entry, Ledger, Outcome, Run};
use crate::ops::archives::machine_name;
use crate::program;
use crate::progress::Progress;
use crate::settings::{Hooks, Settings};
use crate::{metrics, whole};
use anyhow::Context as _;
use state_api::Error;
use std::path::Path;
use std::time::{Duration, Instant};

/// Makes an archive and publishes it.
///
/// # Errors
/// Nothing was published at any target. A target that failed beside one that did not, and what
/// could not be read, are in the report.
pub fn run(cx: &Context, options: &Options, progress: &dyn Progress) -> anyhow::Result<Report> {
    let settings = config::load(cx)?;
    if cx.dry_run {
        return super::archive(cx, options, progress);
    }
    let machine = machine_name(cx, &settings)?;
    let begun = Instant::now();
    let hooks = &settings.archive.hooks;
    let before = hook(
        hooks,
        "before",
        &hooks.before,
        &[("STATE_MACHINE", &machine)],
    );
    let mut done = match before {
        Ok(()) => super::archive(cx, options, progress),
        Err(error) => Err(error),
    };
    note(cx, &settings, &mut done, begun.elapsed());
    let told = Told::of(&machine, &done);
    if let Err(error) = hook(hooks, "after", &hooks.after, &told.env()) {
        told.add(&mut done, error);
    }
    let told = Told::of(&machine, &done);
    if told.outcome != Outcome::Done
        && let Err(error) = hook(hooks, "on-failure", &hooks.on_failure, &told.env())
    {
        told.add(&mut done, error);
    }
    done
}

/// How the run ended, for hooks.
struct Told {
    machine: String,
    outcome: Outcome,
    archive: String,
    error: String,
}

impl Told {
    fn of(machine: &str, done: &anyhow::Result<Report>) -> Self {
        let (archive, error) = match done {
            Ok(report) => {
                let failed = report
                    .targets
                    .iter()
                    .filter_map(|target| target.failed.clone());
                let failed: Vec<String> = failed.chain(report.hook_failed.clone()).collect();
                let id = report.id.as_ref().or(report.unchanged_since.as_ref());
                (id.cloned().unwrap_or_default(), failed.join("; "))
            }
            Err(error) => (String::new(), message(error)),
        };
        Self {
            machine: machine.to_owned(),
            outcome: outcome(done),
            archive,
            error,
        }
    }

    fn env(&self) -> [(&'static str, &str); 4] {
        let outcome = match self.outcome {
            Outcome::Done => "done",
            Outcome::Partial => "partial",
            Outcome::Failed => "failed",
        };
        [
            ("STATE_MACHINE", &self.machine),
            ("STATE_OUTCOME", outcome),
            ("STATE_ARCHIVE", &self.archive),
            ("STATE_ERROR", &self.error),
        ]
    }

    /// A hook that fails does not hide how the backup ended.
    fn add(&self, done: &mut anyhow::Result<Report>, error: anyhow::Error) {
        if let Ok(report) = done {
            report.hook_failed = Some(message(&error));
        }
    }
}

fn outcome(done: &anyhow::Result<Report>) -> Outcome {
    match done {
        Ok(report) if report.is_partial() => Outcome::Partial,
        Ok(_) => Outcome::Done,
        Err(_) => Outcome::Failed,
    }
}

fn hook(hooks: &Hooks, name: &str, argv: &[String], env: &[(&str, &str)]) -> anyhow::Result<()> {
    let Some((program, args)) = argv.split_first() else {
        return Ok(());
    };
    let limit = Duration::from_secs(hooks.time_limit.into());
    let doing = format!("running the hook `{name}`");
    Ok(program::custom(
        Path::new(program),
        args,
        env,
        &doing,
        limit,
    )?)
}

/// Writes the ledger and the metrics. That they cannot be written is no failure of the backup.
fn note(cx: &Context, settings: &Settings, done: &mut anyhow::Result<Report>, took: Duration) {
    let run = Run {
        at: cx.now,
        seconds: took.as_secs(),
        outcome: outcome(done),
        targets: match done {
            Ok(report) => (report.targets.iter())
                .map(|target| (target.target.clone(), target.is_published))
                .collect(),
            Err(_) => Vec::new(),
        },
    };
    let entries = done
        .as_ref()
        .map_or_else(|_| Vec::new(), |report| entries(cx, report));
    let (since, unchanged) = unchanged(done);
    let noted = Ledger::change(cx, settings, |ledger| {
        entries
            .into_iter()
            .for_each(|entry| ledger.published(entry));
        for target in &unchanged {
            ledger.still_current(target, &since, cx.now);
        }
        ledger.last_run = Some(run);
    });
    let noted = noted.map_err(anyhow::Error::from);
    let noted = noted.and_then(|ledger| write_metrics(cx, settings, &ledger));
    if let (Err(error), Ok(report)) = (noted, done) {
        report.notes.push(message(&error));
    }
}

/// The archive since which nothing changed, and the targets that have it.
fn unchanged(done: &anyhow::Result<Report>) -> (String, Vec<String>) {
    let Ok(report) = done else {
        return Default::default();
    };
    let Some(since) = &report.unchanged_since else {
        return Default::default();
    };
    let there = report.targets.iter().filter(|target| target.is_published);
    let there = there.map(|target| target.target.clone()).collect();
    (since.clone(), there)
}

fn entries(cx: &Context, report: &Report) -> Vec<Entry> {
    let (Some(id), Some(data_sha256)) = (&report.id, &report.data_sha256) else {
        return Vec::new();
    };
    let published = report.targets.iter().filter(|target| target.is_published);
    let entries = published.map(|target| Entry {
        target: target.target.clone(),
        machine: report.machine.clone(),
        id: id.clone(),
        data_sha256: data_sha256.to_string(),
        data_bytes: report.data_bytes,
        bytes: report.totals.bytes,
        is_complete: report.incomplete.is_empty(),
        published: cx.now,
        // Without that it would not count as published.
        read_back: Some(cx.now),
        current: Some(cx.now),
        damaged: None,
    });
    entries.collect()
}

/// Writes what monitoring reads.
///
/// # Errors
/// It cannot be written.
pub(crate) fn write_metrics(
    cx: &Context,
    settings: &Settings,
    ledger: &Ledger,
) -> anyhow::Result<()> {
    let Some(path) = &settings.metrics.textfile else {
        return Ok(());
    };
    // The collector is another user.
    whole::replace(&cx.rooted(path), 0o644, metrics::text(ledger).as_bytes())
        .map_err(|error| Error::os(format!("writing {}", path.display()), error))
        .context("telling monitoring")
}
