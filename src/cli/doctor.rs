//! `state doctor`

use super::exit::one_line;
use super::output::{BAD, FAINT, GOOD, WARN};
use super::{Exit, Globals, Screen};
use crate::ops::doctor::{Finding, Report, Severity, run as doctor};
use std::io::{self, Write as _};

/// Make every check that changes nothing
///
/// Each finding comes with its cure. Exits with 5 if anything wants attention.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the verb.
///
/// # Errors
/// The machine cannot be looked at.
pub fn run(globals: &Globals, _args: Args) -> anyhow::Result<Exit> {
    let cx = globals.context(true)?;
    let report = doctor(&cx)?;
    globals.judge(&report, report.needs_attention(), human)
}

/// The findings, worst first.
///
/// # Errors
/// The screen's.
pub(super) fn human(report: &Report, out: &mut Screen<'_>) -> io::Result<()> {
    for finding in &report.findings {
        show(finding, out)?;
    }
    if !report.passed.is_empty() {
        writeln!(out, "{GOOD}good{GOOD:#}  {}", report.passed.join(", "))?;
    }
    if !report.skipped.is_empty() {
        writeln!(out, "{FAINT}skip{FAINT:#}  {}", report.skipped.join(", "))?;
    }
    Ok(())
}

fn show(finding: &Finding, out: &mut Screen<'_>) -> io::Result<()> {
    let (style, word) = match finding.severity {
        Severity::Bad => (BAD, "bad"),
        Severity::Warn => (WARN, "warn"),
        Severity::Note => (FAINT, "note"),
    };
    let fact = one_line(&finding.fact);
    writeln!(out, "{style}{word:<4}{style:#}  {}: {fact}", finding.check)?;
    for line in finding.excerpt.iter().flat_map(|excerpt| excerpt.lines()) {
        writeln!(out, "      {line}")?;
    }
    if let Some(cure) = &finding.cure {
        writeln!(out, "      {}", one_line(cure))?;
    }
    Ok(())
}
