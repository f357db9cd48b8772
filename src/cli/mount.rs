//! `state mount`: shows what became of the persist tree.

use super::exit::Told;
use super::output::{BAD, GOOD, Screen, WARN, write_told};
use super::{Exit, Globals};
use crate::context::Context;
use crate::ops::mount::{self, EntryReport, Options, Report, Status, Which};
use crate::ops::waiting::{Swap, What};
use crate::ops::watch;
use crate::paths::Shown;
use crate::persist::{Method, Step};
use std::io::{self, Write};

/// Put the persist tree in place
///
/// Every declared entry is mounted or linked from its store, parents first. What is in place
/// already is left alone, and what would hide data that exists nowhere else is refused by name;
/// the other entries are put in place all the same.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Put only the early entries in place: what the initrd does.
    #[arg(long)]
    early: bool,
    /// Stay, and save copied files into the store whenever they have changed.
    #[arg(long, conflicts_with_all = ["early", "dry_run"])]
    watch: bool,
    /// Show what would be done and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Runs the verb.
///
/// # Errors
/// Those of the verb.
pub fn run(globals: &Globals, args: Args) -> anyhow::Result<Exit> {
    let cx = globals.context(args.dry_run)?;
    if args.watch {
        return watch(globals, &cx);
    }
    let which = match args.early {
        true => Which::Early,
        false => Which::All,
    };
    let report = mount::run(&cx, Options { which })?;
    globals.show(&report, human)?;
    for told in failures(&report) {
        write_told(&told, &mut globals.stderr())?;
    }
    Ok(exit(&report))
}

fn exit(report: &Report) -> Exit {
    let is_whole = report.trouble.is_none() && report.unswapped().next().is_none();
    match (report.failed(), report.has_worked()) {
        (0, _) if is_whole => Exit::Done,
        (0, _) | (_, true) => Exit::Partial,
        (_, false) => Exit::Failed,
    }
}

/// The entries that could not be put in place, as failures are told.
fn failures(report: &Report) -> Vec<Told> {
    let exit = exit(report).code();
    // A store that is missing is one failure, not one for each of its entries.
    let mut by_reason: Vec<(&Status, Vec<&EntryReport>)> = Vec::new();
    for entry in &report.entries {
        if let Status::Failed { .. } = entry.status {
            match by_reason.iter_mut().find(|(why, _)| **why == entry.status) {
                Some((_, entries)) => entries.push(entry),
                None => by_reason.push((&entry.status, vec![entry])),
            }
        }
    }
    let of_reason = |(status, entries): (&Status, Vec<&EntryReport>)| {
        let Status::Failed { error, hint } = status else {
            return None;
        };
        let first = Shown(&entries[0].path);
        let what = match entries.len() {
            1 => first.to_string(),
            n => format!("{first} and {} more", n - 1),
        };
        Some(Told {
            error: format!("putting {what} in place: {error}"),
            excerpt: None,
            hint: hint.clone(),
            also: Vec::new(),
            exit,
        })
    };
    let unswapped = report.unswapped().map(|swap| {
        let failure = swap.failure.as_ref();
        let why = failure.map_or("", |failure| failure.error.as_str());
        Told {
            error: format!(
                "putting {} in the place of {}: {why}; the tree that was there is used",
                what(swap),
                Shown(&swap.store)
            ),
            excerpt: None,
            hint: failure.and_then(|failure| failure.hint.clone()),
            also: Vec::new(),
            exit,
        }
    });
    let trouble = report.trouble.iter().map(|trouble| Told {
        error: trouble.clone(),
        excerpt: None,
        hint: None,
        also: Vec::new(),
        exit,
    });
    (by_reason.into_iter())
        .filter_map(of_reason)
        .chain(unswapped)
        .chain(trouble)
        .collect()
}

/// What took a store's place, or should have.
fn what(swap: &Swap) -> String {
    (swap.what.as_ref()).map_or("a tree that waited".into(), What::to_string)
}

/// Tells what is saved as it happens.
fn watch(globals: &Globals, cx: &Context<'_>) -> anyhow::Result<Exit> {
    let mut failed = Ok(());
    let report = watch::run(cx, &mut |report| {
        let told = || -> anyhow::Result<()> {
            globals.show(report, human_watch)?;
            for told in failures(report) {
                write_told(&told, &mut globals.stderr())?;
            }
            Ok(())
        };
        // Nobody to tell is no reason to save no more.
        if let Err(error) = told() {
            failed = Err(error);
        }
    })?;
    globals.show(&report, human_end)?;
    failed?;
    Ok(match report.unsaved {
        0 => Exit::Done,
        _ => Exit::Partial,
    })
}

/// What was saved just now.
fn human_watch(report: &Report, out: &mut Screen<'_>) -> io::Result<()> {
    for entry in &report.entries {
        if let Status::Done { steps } = &entry.status {
            let how = copied(steps);
            writeln!(out, "{}: {GOOD}{how}{GOOD:#}", Shown(&entry.path))?;
        }
    }
    notes(report, out)
}

/// How the watch ended.
fn human_end(report: &watch::Report, out: &mut Screen<'_>) -> io::Result<()> {
    match (report.watched, report.unsaved) {
        (0, _) => writeln!(
            out,
            "no entry has method = \"copy\": there is nothing to watch"
        ),
        (n, 0) => writeln!(out, "all of {n} copied files are saved"),
        (n, unsaved) => writeln!(
            out,
            "{BAD}{unsaved} of {n} copied files are not saved{BAD:#}"
        ),
    }
}

fn notes(report: &Report, out: &mut Screen<'_>) -> io::Result<()> {
    for note in &report.notes {
        writeln!(out, "{WARN}note:{WARN:#} {note}")?;
    }
    Ok(())
}

/// In which direction a file was copied.
fn copied(steps: &[Step]) -> &'static str {
    match steps.last() {
        Some(Step::Save { .. }) => "saved",
        _ => "copied",
    }
}

/// The report as people read it.
///
/// # Errors
/// The screen's.
pub fn human(report: &Report, out: &mut Screen<'_>) -> io::Result<()> {
    let (mut done, mut planned, mut in_place) = (0, 0, 0);
    let mut told = Vec::new();
    for swap in report.swaps.iter().filter(|swap| swap.failure.is_none()) {
        let (store, what) = (Shown(&swap.store), what(swap));
        match report.executed {
            true => writeln!(
                out,
                "{store}: {GOOD}is now{GOOD:#} {what}; `state undo` goes back"
            )?,
            false => writeln!(out, "{store}: would become {what}")?,
        }
    }
    for entry in &report.entries {
        let path = Shown(&entry.path);
        match &entry.status {
            Status::InPlace => {
                in_place += 1;
                if out.is_verbose() {
                    writeln!(out, "{path}: in place")?;
                }
            }
            Status::Done { steps } => {
                done += 1;
                let how = match entry.method {
                    Method::Bind => "mounted",
                    Method::Symlink => "linked",
                    Method::Copy => copied(steps),
                    Method::MachineId => "written",
                };
                writeln!(out, "{path}: {GOOD}{how}{GOOD:#}")?;
            }
            Status::Planned { steps } => {
                planned += 1;
                writeln!(out, "{path}:")?;
                // Every entry's steps are complete; a parent that several share is told once.
                for step in steps {
                    if !told.contains(&step) {
                        writeln!(out, "  {step}")?;
                        told.push(step);
                    }
                }
            }
            Status::LeftOut { why } => writeln!(out, "{path}: left out: {why}")?,
            Status::Failed { .. } => {}
        }
    }
    notes(report, out)?;
    let mut counts = Vec::new();
    let mut count = |number: usize, what: &str| {
        if number > 0 {
            counts.push(format!("{number} {what}"));
        }
    };
    count(done, "put in place");
    count(planned, "to put in place");
    count(in_place, "in place already");
    count(report.failed(), "failed");
    match (counts.is_empty(), report.entries.is_empty()) {
        (true, true) => writeln!(out, "nothing is declared"),
        (true, false) => Ok(()), // all was left out, and said so
        (false, _) => writeln!(out, "{}", counts.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::{Ownership, Replaces};

    fn report(statuses: Vec<(&str, Method, Status)>) -> Report {
        let entry = |(path, method, status): (&str, Method, Status)| EntryReport {
            path: path.into(),
            source: format!("/persist{path}").into(),
            method,
            status,
        };
        Report {
            executed: true,
            swaps: Vec::new(),
            entries: statuses.into_iter().map(entry).collect(),
            notes: Vec::new(),
            trouble: None,
        }
    }

    fn failure() -> Status {
        Status::Failed {
            error: "something else is mounted there".into(),
            hint: Some("unmount /c".into()),
        }
    }

    #[test]
    fn what_was_done_is_told_and_counted() {
        let done = || Status::Done { steps: vec![] };
        let left = Status::LeftOut {
            why: "it is not in the store yet".into(),
        };
        let report = report(vec![
            ("/a\nb", Method::Bind, done()),
            ("/b", Method::Symlink, done()),
            ("/c", Method::Bind, failure()),
            ("/d", Method::Bind, Status::InPlace),
            ("/e", Method::Bind, left),
            ("/f", Method::Bind, failure()),
        ]);
        let text = Screen::text(None, |out| human(&report, out));
        let expected = "\
/a\\nb: mounted
/b: linked
/e: left out: it is not in the store yet
2 put in place, 1 in place already, 2 failed
";
        assert_eq!(text, expected);
        let told = Told {
            error: "putting /c and 1 more in place: something else is mounted there".into(),
            excerpt: None,
            hint: Some("unmount /c".into()),
            also: Vec::new(),
            exit: 3,
        };
        assert_eq!(failures(&report), [told]);
        assert_eq!(exit(&report), Exit::Partial);
    }

    #[test]
    fn a_plan_is_shown_step_by_step() {
        let ownership = Ownership {
            uid: 0,
            gid: 42,
            mode: 0o750,
        };
        let steps = vec![
            Step::MakeDirectory {
                path: "/persist/a".into(),
                ownership,
            },
            Step::Link {
                path: "/a".into(),
                source: "/persist/a".into(),
                replaces: Replaces::Nothing,
            },
        ];
        let report = report(vec![("/a", Method::Symlink, Status::Planned { steps })]);
        let text = Screen::text(None, |out| human(&report, out));
        let expected = "\
/a:
  make directory /persist/a (0:42 0750)
  link /a to /persist/a
1 to put in place
";
        assert_eq!(text, expected);
        let json = serde_json::to_value(&report).unwrap();
        let expected = serde_json::json!({
            "executed": true,
            "entries": [{
                "path": "/a",
                "source": "/persist/a",
                "method": "symlink",
                "status": "planned",
                "steps": [
                    {
                        "step": "make-directory",
                        "path": "/persist/a",
                        "uid": 0,
                        "gid": 42,
                        "mode": 0o750,
                    },
                    { "step": "link", "path": "/a", "source": "/persist/a" },
                ],
            }],
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn the_exit_code_says_how_much_worked() {
        let in_place = || ("/a", Method::Bind, Status::InPlace);
        let failed = || ("/b", Method::Bind, failure());
        for (statuses, expected) in [
            (vec![], Exit::Done),
            (vec![in_place()], Exit::Done),
            (vec![in_place(), failed()], Exit::Partial),
            (vec![failed()], Exit::Failed),
        ] {
            assert_eq!(exit(&report(statuses)), expected);
        }
    }
}
