//! `state roots capture`

use super::output::Screen;
use super::{Exit, Globals, size};
use crate::ops::capture::{self, LeftOut, Report};
use crate::paths::Shown;
use std::io::{self, Write as _};

/// So many things that were left out are shown.
const SHOWN: usize = 20;

/// Make a past root of what the next boot would lose of a root in memory
///
/// Runs when the machine goes down, as state-capture.service: everything that `state diff` shows
/// then becomes an archive in the first store that is no cache, within the bounds of `capture`.
/// The other engines put roots away by themselves.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show what would be put away and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Runs the verb.
///
/// # Errors
/// Those of [`capture`].
pub fn run(globals: &Globals, args: Args) -> anyhow::Result<Exit> {
    let report = capture::run(&globals.context(args.dry_run)?)?;
    globals.show(&report, human)?;
    Ok(Exit::Done)
}

/// The report as people read it.
///
/// # Errors
/// The screen's.
pub fn human(report: &Report, out: &mut Screen<'_>) -> io::Result<()> {
    let (entries, bytes) = (size::entries(report.entries), size::size(report.bytes));
    match (&report.past_root, &report.not_wanted) {
        (_, Some(why)) => writeln!(out, "nothing is captured: {why}")?,
        (None, None) => writeln!(out, "nothing would be lost, and nothing was captured")?,
        (Some(name), None) if report.executed => {
            let archive = size::size(report.archive_bytes);
            writeln!(
                out,
                "past root {name}: {entries}, {bytes}; {archive} on the disk"
            )?;
        }
        (Some(_), None) => writeln!(out, "{entries}, {bytes} would become a past root")?,
    }
    for LeftOut { path, why } in report.left_out.iter().take(SHOWN) {
        match path.as_os_str().is_empty() {
            true => writeln!(out, "left out: {why}")?,
            false => writeln!(out, "left out: {}: {why}", Shown(path))?,
        }
    }
    match report.left_out.len().saturating_sub(SHOWN) {
        0 => Ok(()),
        more => writeln!(out, "left out: {more} more; --json names them"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            executed: true,
            past_root: Some("20261121T113705Z-6d3f20c1".parse().unwrap()),
            entries: 3,
            bytes: 2048,
            archive_bytes: 1024,
            left_out: Vec::new(),
            not_wanted: None,
        }
    }

    #[test]
    fn what_was_captured_and_what_was_not() {
        let shown = |report: &Report| Screen::text(None, |out| human(report, out));
        assert_eq!(
            shown(&report()),
            "past root 20261121T113705Z-6d3f20c1: 3 entries, 2.0 KiB; 1.0 KiB on the disk\n"
        );
        let big = LeftOut {
            path: "/big\n".into(),
            why: "its 99 bytes are more than there is room for".into(),
        };
        let planned = Report {
            executed: false,
            left_out: vec![big.clone()],
            ..report()
        };
        assert_eq!(
            shown(&planned),
            "3 entries, 2.0 KiB would become a past root\n\
             left out: /big\\n: its 99 bytes are more than there is room for\n"
        );
        let many = Report {
            left_out: vec![big; 22],
            ..report()
        };
        assert!(shown(&many).ends_with("left out: 2 more; --json names them\n"));
        let nothing = Report {
            past_root: None,
            ..report()
        };
        assert_eq!(
            shown(&nothing),
            "nothing would be lost, and nothing was captured\n"
        );
    }
}
