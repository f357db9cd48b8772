//! `state drop`: shows what is no longer kept.

use super::keep::{each, notes};
use super::output::{GOOD, Screen};
use super::{Exit, Globals};
use crate::ops::drop::{self, Options, Report};
use crate::paths::Shown;
use crate::persist::Method;
use std::io::{self, Write as _};
use std::path::PathBuf;

/// Keep entries no longer: take them out of the configuration
///
/// What they hold stays in the store, and in place until the next boot. `state orphans` shows it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which, by their paths on the machine.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Unmount them too, if nobody uses them.
    #[arg(long)]
    now: bool,
    /// Show what would be done and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Runs the verb.
///
/// # Errors
/// Those of [`drop`].
pub fn run(globals: &Globals, args: Args) -> anyhow::Result<Exit> {
    let cx = globals.context(args.dry_run)?;
    let now = args.now;
    each(globals, &args.paths, human, |path| {
        drop::run(&cx, &Options { path, now })
    })
}

/// The report as people read it.
///
/// # Errors
/// The screen's.
pub fn human(report: &Report, out: &mut Screen<'_>) -> io::Result<()> {
    let (path, source) = (Shown(&report.path), Shown(&report.source));
    if !report.executed {
        writeln!(out, "{path}:")?;
        writeln!(out, "  take it out of {}", Shown(&report.file))?;
        if report.is_out_of_place {
            writeln!(out, "  unmount it, if nobody uses it")?;
        }
        return notes(&report.notes, out);
    }
    let until = match (report.method, report.is_out_of_place) {
        (_, true) => "; it is out of place",
        (Method::Bind | Method::Symlink, false) => "; it stays in place until the next boot",
        (Method::Copy | Method::MachineId, false) => "; what is there stays until the next boot",
    };
    writeln!(
        out,
        "{GOOD}{path}{GOOD:#} is declared no longer{until}; {source} stays"
    )?;
    notes(&report.notes, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_dropped_is_told() {
        let done = || Report {
            executed: true,
            path: "/srv/a".into(),
            source: "/persist/srv/a".into(),
            file: "/persist/etc/state/state.toml".into(),
            method: Method::Bind,
            is_out_of_place: true,
            notes: vec![],
        };
        let busy = Report {
            is_out_of_place: false,
            notes: vec!["it is in use by sh (process 9): it stays until the next boot".into()],
            ..done()
        };
        let dry = Report {
            executed: false,
            ..done()
        };
        for (report, expected) in [
            (
                done(),
                "/srv/a is declared no longer; it is out of place; /persist/srv/a stays\n",
            ),
            (
                busy,
                "/srv/a is declared no longer; it stays in place until the next boot; \
                 /persist/srv/a stays\n\
                 note: it is in use by sh (process 9): it stays until the next boot\n",
            ),
            (
                dry,
                "/srv/a:\n  take it out of /persist/etc/state/state.toml\n  \
                 unmount it, if nobody uses it\n",
            ),
        ] {
            assert_eq!(Screen::text(None, |out| human(&report, out)), expected);
        }
    }
}
