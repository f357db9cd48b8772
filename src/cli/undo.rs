//! `state undo`

use super::output::GOOD;
use super::{Exit, Globals, Screen};
use crate::failure::Failure;
use crate::ops::restore::{self, Undone};
use std::io::{self, Write as _};
use std::path::PathBuf;

/// Put back what the last restore or rollback replaced
///
/// What it put in place is kept in turn: undoing twice changes nothing.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only the store at this directory; by default every store that has something to put back.
    dir: Option<PathBuf>,
    /// Show what would be put back and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Runs the verb.
///
/// # Errors
/// Those of [`restore::undo`], or it was not confirmed.
pub fn run(globals: &Globals, args: Args) -> anyhow::Result<Exit> {
    let dir = args.dir.as_deref();
    if !args.dry_run {
        let plan = restore::undo(&globals.context(true)?, dir)?;
        let stores: Vec<_> = plan
            .stores
            .iter()
            .map(|s| s.display().to_string())
            .collect();
        let question = format!("Put back what was in {} before?", stores.join(" and "));
        if !globals.confirm(&question)? {
            return Err(Failure::refused("not confirmed: everything stays as it is").into());
        }
    }
    let report = restore::undo(&globals.context(args.dry_run)?, dir)?;
    globals.show(&report, human)?;
    Ok(Exit::Done)
}

/// The report as people read it.
///
/// # Errors
/// The screen's.
pub fn human(report: &Undone, out: &mut Screen<'_>) -> io::Result<()> {
    for store in &report.stores {
        let store = store.display();
        match report.executed {
            true => writeln!(out, "{GOOD}put back{GOOD:#} {store}")?,
            false => writeln!(out, "would put back {store}")?,
        }
    }
    Ok(())
}
