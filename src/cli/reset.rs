//! `state reset`

use super::output::{GOOD, Screen, WARN};
use super::{Exit, Globals, size, steps};
use crate::ops::reset::{self, Report};
use crate::record::Outcome;
use state_api::Source;
use std::io::{self, Write as _};
use std::time::Duration;

/// Put root back to blank (the initrd's unit runs this)
///
/// The outgoing root is kept as a past root, or given up where `past-roots.last` is 0. Never asks,
/// never deletes anything on a failure, and leaves a record for `state status`. The kernel command
/// line can ask for something else for one boot: `state.skip`, or `state.root=past/NAME`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show the plan and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Runs the verb.
///
/// # Errors
/// See [`reset::run`].
pub fn run(globals: &Globals, args: Args) -> anyhow::Result<Exit> {
    let report = reset::run(&globals.context(args.dry_run)?, globals.progress().as_ref())?;
    for warning in &report.warnings {
        globals.note(&format!("warning: {warning}"))?;
    }
    globals.show(&report, human)?;
    Ok(Exit::Done)
}

/// The report as people read it.
///
/// # Errors
/// The screen's.
pub fn human(report: &Report, out: &mut Screen<'_>) -> io::Result<()> {
    let root = &report.root;
    let from = match &report.source {
        Some(Source::Past(name)) => format!("past root {name}"),
        _ => report
            .blank
            .as_ref()
            .map_or_else(|| "blank".into(), |blank| blank.name.clone()),
    };
    if !report.executed {
        return match (report.outcome, report.plan.is_empty()) {
            (Outcome::Checked, _) => {
                writeln!(out, "{root} is empty at every boot: nothing to erase")
            }
            (_, true) => writeln!(
                out,
                "nothing to do: the kernel command line says state.skip"
            ),
            (Outcome::Skipped, false) => {
                writeln!(
                    out,
                    "a reset would leave {root} as it is and finish an earlier run:"
                )?;
                steps::print(&report.plan, out)
            }
            (_, false) => {
                writeln!(out, "a reset would make {root} a copy of {from}:")?;
                steps::print(&report.plan, out)
            }
        };
    }
    let took = size::duration(Duration::from_micros(report.took_us));
    match report.outcome {
        Outcome::Skipped => {
            writeln!(
                out,
                "{WARN}{root} was left as it is{WARN:#}: the kernel command line says state.skip"
            )?;
        }
        Outcome::Checked => {
            writeln!(
                out,
                "{GOOD}{root} is as it should be{GOOD:#}: empty at every boot"
            )?;
        }
        _ => writeln!(
            out,
            "{GOOD}{root} is a copy of {from}{GOOD:#} again, after {took}"
        )?,
    }
    if let Some(name) = &report.past_root {
        writeln!(out, "what it was is kept as past root {name}")?;
    }
    if out.is_verbose() || report.debug {
        steps::print(&report.plan, out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::act::Act;
    use state_api::{Blank, Identity};

    fn report() -> Report {
        let act = |text: &str, us| Act {
            text: text.into(),
            step: serde_json::Value::Null,
            outcome: Some(state_api::Outcome::Made),
            took_us: Some(us),
        };
        Report {
            mounted_at: None,
            executed: true,
            backend: "btrfs",
            root: "/dev/vda2[root]".into(),
            outcome: Outcome::Reset,
            source: Some(Source::Blank),
            blank: Some(Blank {
                name: "root-blank".into(),
                identity: Identity("x".into()),
                taken_at: None,
            }),
            past_root: Some("20261121T113705Z-6d3f20c1".parse().unwrap()),
            plan: vec![
                act("snapshot root-blank as root.new", 1200),
                act("exchange root.new and root", 300),
            ],
            debug: false,
            warnings: vec![],
            took_us: 18_250,
        }
    }

    fn text(report: &Report) -> String {
        Screen::text(Some(80), |out| human(report, out))
    }

    #[test]
    fn what_was_done() {
        assert_eq!(
            text(&report()),
            "\
/dev/vda2[root] is a copy of root-blank again, after 18 ms
what it was is kept as past root 20261121T113705Z-6d3f20c1
"
        );
        let past = Report {
            source: Some(Source::Past("20261120T070000Z-0a1b2c3d".parse().unwrap())),
            past_root: None,
            ..report()
        };
        assert_eq!(
            text(&past),
            "/dev/vda2[root] is a copy of past root 20261120T070000Z-0a1b2c3d again, after 18 ms\n"
        );
        let skipped = Report {
            outcome: Outcome::Skipped,
            source: None,
            past_root: None,
            plan: vec![],
            ..report()
        };
        assert_eq!(
            text(&skipped),
            "/dev/vda2[root] was left as it is: the kernel command line says state.skip\n"
        );
    }

    #[test]
    fn what_would_be_done() {
        let mut dry = Report {
            executed: false,
            ..report()
        };
        for act in &mut dry.plan {
            (act.outcome, act.took_us) = (None, None);
        }
        assert_eq!(
            text(&dry),
            "\
a reset would make /dev/vda2[root] a copy of root-blank:
  1. snapshot root-blank as root.new
  2. exchange root.new and root
"
        );
    }
}
