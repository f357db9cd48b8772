//! `state drill`

use super::backup::path;
use super::exit::one_line;
use super::output::{BAD, FAINT, GOOD, WARN};
use super::size::{entries, moment, size};
use super::which::Which;
use super::{Exit, Globals, Screen};
use crate::archive::proof::Against;
use crate::ops::drill::{self, Drilled, Options, Report};
use crate::ops::restore::Lost;
use crate::paths::Shown;
use std::io::{self, Write as _};
use std::path::PathBuf;

/// Prove that a restore works: restore the newest archive to scratch and compare it
///
/// Restores in full, at each target, into a directory of its own that is deleted afterwards, and
/// compares the result with the archive's manifest, and with the snapshots that it was made from
/// where they still stand. The proof is remembered for `state status`, and published beside the
/// archive for `state archives list --machines`. Exits with 5 if an archive is not what was saved.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// The archive's id; by default the newest complete one.
    #[arg(long, value_name = "ID")]
    archive: Option<String>,
    /// Make scratch in this directory; by default in the store, whose disk is to hold a restore.
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// Show which archives would be restored and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Runs the verb.
///
/// # Errors
/// Those of [`drill`].
pub fn run(globals: &Globals, args: Args) -> anyhow::Result<Exit> {
    let options = Options {
        which: args.which.archives(globals),
        archive: args.archive,
        into: args.into,
    };
    let cx = globals.context(args.dry_run)?;
    let report = drill::run(&cx, &options, globals.progress().as_ref())?;
    globals.show(&report, human)?;
    Ok(match report.found_something() {
        true => Exit::Attention,
        false if report.is_partial() => Exit::Partial,
        false => Exit::Done,
    })
}

/// How many differences are named without `-v`.
const MOST: usize = 10;

/// The report as people read it.
///
/// # Errors
/// The screen's.
pub fn human(report: &Report, out: &mut Screen<'_>) -> io::Result<()> {
    for drilled in &report.drills {
        one(report, drilled, out)?;
    }
    notes(&report.notes, out)
}

fn one(report: &Report, drilled: &Drilled, out: &mut Screen<'_>) -> io::Result<()> {
    let at = one_line(&drilled.target);
    let at = match &drilled.archive {
        Some(chosen) => format!("{} at {at}", chosen.proof.id),
        None => at,
    };
    if let Some(why) = &drilled.failed {
        writeln!(out, "{WARN}not done{WARN:#}  {at}: {}", one_line(why))?;
    } else if let Some(why) = &drilled.found {
        writeln!(out, "{BAD}failed{BAD:#}    {at}: {}", one_line(why))?;
    } else if drilled.different > 0 {
        let n = drilled.different;
        let what = if n == 1 { "difference" } else { "differences" };
        writeln!(out, "{BAD}failed{BAD:#}    {at}: {n} {what}")?;
        differences(&drilled.differences, n, out)?;
    } else if !drilled.losses.is_empty() {
        writeln!(
            out,
            "{WARN}not done{WARN:#}  {at}: {} cannot hold all of it",
            Shown(&report.scratch)
        )?;
        differences(&drilled.losses, drilled.losses.len(), out)?;
        writeln!(
            out,
            "hint: choose a filesystem like the store's: --into DIR"
        )?;
    } else if let (Some(against), Some(chosen)) = (drilled.against, &drilled.archive) {
        let (entries, bytes) = (entries(chosen.proof.entries), size(chosen.proof.bytes));
        writeln!(
            out,
            "{GOOD}proven{GOOD:#}    {at}: {entries}, {bytes}, as saved"
        )?;
        match against {
            Against::Snapshot => writeln!(
                out,
                "          {FAINT}compared with its manifest and with the snapshot it came from{FAINT:#}"
            )?,
            Against::Manifest => writeln!(
                out,
                "          {FAINT}compared with its manifest: no snapshot it came from stands{FAINT:#}"
            )?,
        }
        if let Some(remark) = chosen.signature.remark() {
            writeln!(out, "          {FAINT}{remark}{FAINT:#}")?;
        }
    } else if let Some(chosen) = &drilled.archive {
        let (bytes, made) = (size(chosen.proof.bytes), moment(chosen.made));
        let into = Shown(&report.scratch);
        writeln!(out, "would restore {at}, made {made}, {bytes}, to {into}")?;
    }
    notes(&drilled.notes, out)
}

/// The first of `all` differences.
fn differences(first: &[Lost], all: usize, out: &mut Screen<'_>) -> io::Result<()> {
    let most = if out.is_verbose() { first.len() } else { MOST };
    for lost in first.iter().take(most) {
        let what = one_line(&lost.what);
        writeln!(out, "          {}: {what}", path(&lost.path.0))?;
    }
    match all - most.min(first.len()) {
        0 => Ok(()),
        more => writeln!(out, "          … and {more} more (-v shows more)"),
    }
}

fn notes(notes: &[String], out: &mut Screen<'_>) -> io::Result<()> {
    let mut notes = notes.iter();
    notes.try_for_each(|note| writeln!(out, "{WARN}note{WARN:#}      {}", one_line(note)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::manifest::{Bytes, Digest};
    use crate::archive::proof::Proof;
    use crate::ops::drill::Chosen;
    use crate::ops::seal::Signature;
    use chrono::DateTime;

    fn drilled(target: &str, against: Option<Against>) -> Drilled {
        Drilled {
            target: target.into(),
            archive: Some(Chosen {
                proof: Proof {
                    machine: "blitzar".into(),
                    id: "20261121T100000Z-3f6a90c1".parse().unwrap(),
                    time: DateTime::from_timestamp(1_795_320_000, 0).unwrap(),
                    data_sha256: Digest([1; 32]),
                    entries: 287,
                    bytes: 1 << 20,
                    against: Against::Manifest,
                },
                made: DateTime::from_timestamp(1_795_255_200, 0).unwrap(),
                signature: Signature::Unsigned,
            }),
            against,
            differences: Vec::new(),
            different: 0,
            losses: Vec::new(),
            found: None,
            failed: None,
            is_published: against.is_some(),
            notes: Vec::new(),
        }
    }

    #[test]
    fn a_drill_says_what_was_proven_and_what_was_not() {
        let lost = |n: usize| Lost {
            path: Bytes(format!("/etc/{n}").into_bytes()),
            what: "the snapshot has another content".into(),
        };
        let report = Report {
            machine: "blitzar".into(),
            scratch: "/persist/.state/drill".into(),
            executed: true,
            drills: vec![
                drilled("usb", Some(Against::Snapshot)),
                drilled("nas", Some(Against::Manifest)),
                Drilled {
                    differences: (0..11).map(lost).collect(),
                    different: 12,
                    ..drilled("b2", Some(Against::Snapshot))
                },
                Drilled {
                    losses: vec![lost(7)],
                    ..drilled("fat", Some(Against::Manifest))
                },
                Drilled {
                    found: Some("blitzar/x.tar.zst: it ends too early".into()),
                    ..drilled("old", None)
                },
                Drilled {
                    archive: None,
                    failed: Some("file:///mnt/gone: no such file or directory".into()),
                    notes: vec!["a note".into()],
                    ..drilled("gone", None)
                },
                drilled("planned", None),
            ],
            notes: Vec::new(),
        };
        let differences: String = (0..10)
            .map(|n| format!("          /etc/{n}: the snapshot has another content\n"))
            .collect();
        assert_eq!(
            Screen::text(None, |out| human(&report, out)),
            format!(
                "proven    20261121T100000Z-3f6a90c1 at usb: 287 entries, 1.0 MiB, as saved\n          \
                 compared with its manifest and with the snapshot it came from\n          unsigned\n\
                 proven    20261121T100000Z-3f6a90c1 at nas: 287 entries, 1.0 MiB, as saved\n          \
                 compared with its manifest: no snapshot it came from stands\n          unsigned\n\
                 failed    20261121T100000Z-3f6a90c1 at b2: 12 differences\n{differences}          \
                 … and 2 more (-v shows more)\n\
                 not done  20261121T100000Z-3f6a90c1 at fat: /persist/.state/drill cannot hold all of it\n          \
                 /etc/7: the snapshot has another content\n\
                 hint: choose a filesystem like the store's: --into DIR\n\
                 failed    20261121T100000Z-3f6a90c1 at old: blitzar/x.tar.zst: it ends too early\n\
                 not done  gone: file:///mnt/gone: no such file or directory\n\
                 note      a note\n\
                 would restore 20261121T100000Z-3f6a90c1 at planned, made 2026-11-21 10:00, 1.0 MiB, \
                 to /persist/.state/drill\n"
            )
        );
    }
}
