//! `state roots recover`: shows what was brought back.

use super::diff::{in_tree, on_machine};
use super::output::{FAINT, GOOD, Screen, WARN};
use super::{Exit, Globals, size};
use crate::ops::recover::{self, Options, Report};
use crate::paths::Shown;
use crate::wanted::Wanted;
use std::io::{self, Write as _};
use std::path::PathBuf;

/// Bring a file or a directory back from a past root
///
/// Everything that belongs to it comes with it, and it appears whole or not at all. What stands in
/// its place is never replaced.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What, by its path in the past root, from the top of it.
    path: PathBuf,
    /// From which past root; by default the newest that holds it.
    #[arg(long, value_name = "NAME")]
    from: Option<Wanted>,
    /// Where to; by default where it was.
    #[arg(long, value_name = "DEST")]
    to: Option<PathBuf>,
    /// Show what would be done and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Runs the verb.
///
/// # Errors
/// Those of [`recover`].
pub fn run(globals: &Globals, args: Args) -> anyhow::Result<Exit> {
    let options = Options {
        path: in_tree(&args.path)?,
        from: args.from,
        to: args.to.as_deref().map(on_machine).transpose()?,
    };
    let cx = globals.context(args.dry_run)?;
    let report = recover::run(&cx, &options, globals.progress().as_ref())?;
    globals.show(&report, human)?;
    Ok(Exit::Done)
}

/// What came back, as people read it.
///
/// # Errors
/// The screen's.
pub fn human(report: &Report, out: &mut Screen<'_>) -> io::Result<()> {
    let (path, to, from) = (Shown(&report.path), Shown(&report.to), &report.from);
    if report.was_there {
        return writeln!(out, "{to} is already as it was in {from}");
    }
    if !report.executed {
        for parent in &report.parents {
            writeln!(out, "make directory {}", Shown(parent))?;
        }
        return writeln!(out, "copy {path} of {from} to {to}");
    }
    let Some(copied) = &report.copied else {
        return Ok(());
    };
    let things = match copied.entries {
        1 => size::size(copied.bytes),
        more => format!("{more} things, {}", size::size(copied.bytes)),
    };
    writeln!(
        out,
        "{GOOD}{to}{GOOD:#} is back from {from} {FAINT}({things}){FAINT:#}"
    )?;
    for boundary in &copied.boundaries {
        let boundary = Shown(boundary);
        writeln!(
            out,
            "{WARN}note:{WARN:#} {boundary} was another volume: only its directory came"
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::Copied;

    fn report() -> Report {
        Report {
            executed: true,
            from: "20261121T113705Z-6d3f20c1".parse().unwrap(),
            path: "/var/lib/app".into(),
            to: "/srv/a\nb".into(),
            parents: vec!["/srv".into()],
            copied: Some(Copied {
                entries: 3,
                bytes: 2048,
                boundaries: vec!["app/nested".into()],
                dropped: vec![],
            }),
            was_there: false,
        }
    }

    #[test]
    fn what_came_back_is_told() {
        let done = report();
        let dry = Report {
            executed: false,
            copied: None,
            ..report()
        };
        let there = Report {
            was_there: true,
            copied: None,
            ..report()
        };
        for (report, expected) in [
            (
                done,
                "/srv/a\\nb is back from 20261121T113705Z-6d3f20c1 (3 things, 2.0 KiB)\n\
                 note: app/nested was another volume: only its directory came\n",
            ),
            (
                dry,
                "make directory /srv\n\
                 copy /var/lib/app of 20261121T113705Z-6d3f20c1 to /srv/a\\nb\n",
            ),
            (
                there,
                "/srv/a\\nb is already as it was in 20261121T113705Z-6d3f20c1\n",
            ),
        ] {
            assert_eq!(Screen::text(None, |out| human(&report, out)), expected);
        }
    }
}
