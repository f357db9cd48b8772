//! `state backup`

use super::exit::one_line;
use super::output::{BAD, FAINT, GOOD, WARN};
use super::size::size;
use super::{Exit, Globals, Screen};
use crate::ops::backup::{self, Options, Published, Report, Shortcoming};
use std::io::{self, Write as _};

/// Archive the persist tree, publish the archive, and read it back
///
/// Takes a snapshot where the filesystem can. What cannot be read is left out by name: then the
/// archive is marked incomplete, is never the latest, and the exit status is 3.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this target, by name or URL; by default all that are configured.
    #[arg(long, value_name = "TARGET")]
    to: Option<String>,
    /// Make a full archive, whatever there is already.
    #[arg(long)]
    full: bool,
    /// Show what would be archived and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Runs the verb.
///
/// # Errors
/// Those of [`backup`].
pub fn run(globals: &Globals, args: Args) -> anyhow::Result<Exit> {
    let options = Options {
        to: args.to,
        full: args.full,
    };
    let cx = globals.context(args.dry_run)?;
    let report = backup::run(&cx, &options, globals.progress().as_ref())?;
    globals.show(&report, human)?;
    Ok(match report.is_partial() {
        true => Exit::Partial,
        false => Exit::Done,
    })
}

/// How many names of a long list are shown without `-v`.
const MOST: usize = 10;

/// The report as people read it.
///
/// # Errors
/// The screen's.
pub fn human(report: &Report, out: &mut Screen<'_>) -> io::Result<()> {
    for store in &report.stores {
        let how = match store.from_snapshot {
            true => "from a snapshot",
            false => "as it is now: its filesystem has no snapshots",
        };
        writeln!(
            out,
            "store    {} ({}), {how}",
            store.path.display(),
            store.filesystem
        )?;
    }
    let dirty = if report.is_dirty {
        ", and changes on top"
    } else {
        ""
    };
    match &report.commit {
        Some(commit) => writeln!(out, "config   commit {}{dirty}", short(commit))?,
        None => writeln!(out, "config   {FAINT}no commit is known{FAINT:#}")?,
    }
    let Some(id) = &report.id else {
        let targets: Vec<_> = report.targets.iter().map(|t| t.target.as_str()).collect();
        let (paths, to) = (report.declared, targets.join(", "));
        return writeln!(
            out,
            "would archive {paths} declared paths of {} to {to}",
            report.machine
        );
    };
    let totals = &report.totals;
    let (content, stored) = (size(totals.bytes), size(report.data_bytes));
    writeln!(
        out,
        "archive  {id}: {} entries, {content}, stored as {stored}",
        totals.entries
    )?;
    names(out, "incomplete", &report.incomplete)?;
    if report.orphans > 0 {
        let what = "in the store that nobody declared";
        writeln!(
            out,
            "         {FAINT}left out: {} paths {what}{FAINT:#}",
            report.orphans
        )?;
    }
    if out.is_verbose() {
        names(out, "left out", &report.left_out)?;
        for path in &report.absent {
            let path = crate::paths::Shown(path);
            writeln!(
                out,
                "         {FAINT}declared and not there: {path}{FAINT:#}"
            )?;
        }
    }
    for target in &report.targets {
        published(target, out)?;
    }
    report
        .notes
        .iter()
        .try_for_each(|note| writeln!(out, "{WARN}note{WARN:#}     {}", one_line(note)))
}

fn published(target: &Published, out: &mut Screen<'_>) -> io::Result<()> {
    let name = one_line(&target.target);
    match &target.failed {
        Some(why) => writeln!(out, "target   {BAD}{name}: {}{BAD:#}", one_line(why))?,
        None => writeln!(
            out,
            "target   {GOOD}{name}{GOOD:#}: published and read back"
        )?,
    }
    for name in &target.removed {
        writeln!(
            out,
            "         {FAINT}removed {name}, which an interrupted run left{FAINT:#}"
        )?;
    }
    Ok(())
}

pub(super) fn names(out: &mut Screen<'_>, what: &str, list: &[Shortcoming]) -> io::Result<()> {
    let shown = if out.is_verbose() { list.len() } else { MOST };
    for missing in list.iter().take(shown) {
        let path = path(&missing.path.0);
        writeln!(
            out,
            "         {BAD}{what}{BAD:#}: {path}: {}",
            one_line(&missing.why)
        )?;
    }
    match list.len().checked_sub(shown) {
        Some(more) if more > 0 => writeln!(out, "         … and {more} more (-v shows all)"),
        _ => Ok(()),
    }
}

pub(super) fn path(bytes: &[u8]) -> String {
    use std::os::unix::ffi::OsStrExt;
    crate::paths::Shown(std::path::Path::new(std::ffi::OsStr::from_bytes(bytes))).to_string()
}

pub(super) fn short(commit: &str) -> &str {
    &commit[..commit.len().min(12)]
}
