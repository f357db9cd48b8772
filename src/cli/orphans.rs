//! `state orphans`

use super::diff::on_machine;
use super::keep::notes;
use super::output::{FAINT, GOOD, Screen};
use super::table::{Column, Table};
use super::{Exit, Globals, size};
use crate::failure::Failure;
use crate::ops::orphans::{self, Moved, Report};
use crate::paths::Shown;
use crate::quarantine::{self, Why};
use std::io::{self, Write as _};
use std::path::PathBuf;

/// What lies in the stores and no entry declares; its quarantine
///
/// Nothing is deleted but by `purge`: `--quarantine` moves orphans aside within their store, and
/// `restore` moves them back.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Move them into the quarantine of their store: those that are named, or all.
    #[arg(long)]
    quarantine: bool,
    /// Orphans, by their paths in the store, as the list shows them.
    #[arg(requires = "quarantine")]
    paths: Vec<PathBuf>,
    /// For how many days they are safe there at least.
    #[arg(long, value_name = "N", default_value_t = quarantine::DAYS, requires = "quarantine")]
    days: u32,
    /// Show what would be moved and change nothing.
    #[arg(long, requires = "quarantine")]
    dry_run: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Move what was quarantined back to where it was
    Restore {
        /// Which, by its name or the first letters of it.
        #[arg(required = true)]
        names: Vec<String>,
        /// Show what would be moved and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Delete for ever what has expired in quarantine
    Purge {
        /// These instead, expired or not.
        names: Vec<String>,
        /// Show what would be deleted and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

/// Runs the verb.
///
/// # Errors
/// Those of [`orphans`], or it was not confirmed.
pub fn run(globals: &Globals, args: Args) -> anyhow::Result<Exit> {
    let moved = match args.verb {
        None if !args.quarantine => {
            let (cx, progress) = (globals.context(false)?, globals.progress());
            globals.show(&orphans::list(&cx, progress.as_ref())?, human)?;
            return Ok(Exit::Done);
        }
        None => {
            let paths: Vec<PathBuf> = (args.paths.iter())
                .map(|path| on_machine(path))
                .collect::<anyhow::Result<_>>()?;
            let act = |dry| {
                let (cx, progress) = (globals.context(dry)?, globals.progress());
                orphans::take(&cx, &paths, args.days, progress.as_ref())
            };
            let ask = |moved: &Moved| format!("Move {} into quarantine?", things(moved));
            confirmed(globals, args.dry_run, act, ask, "moved into quarantine")?
        }
        Some(Verb::Restore { names, dry_run }) => {
            // Nothing is replaced: no question.
            let moved = orphans::restore(&globals.context(dry_run)?, &names)?;
            globals.show(&moved, |moved, out| human_moved(moved, "moved back", out))?;
            moved
        }
        Some(Verb::Purge { names, dry_run }) => {
            let act = |dry| {
                let (cx, progress) = (globals.context(dry)?, globals.progress());
                orphans::purge(&cx, &names, progress.as_ref())
            };
            let ask = |moved: &Moved| format!("Delete {} for ever?", things(moved));
            confirmed(globals, dry_run, act, ask, "deleted")?
        }
    };
    moved.ended()?;
    Ok(Exit::Done)
}

/// Does what was planned once somebody has said yes to it; without an answer nothing is done.
fn confirmed(
    globals: &Globals,
    dry_run: bool,
    act: impl Fn(bool) -> anyhow::Result<Moved>,
    question: impl Fn(&Moved) -> String,
    what: &str,
) -> anyhow::Result<Moved> {
    let plan = act(true)?;
    let is_nothing = plan.paths.is_empty() && plan.names.is_empty();
    let moved = if dry_run || is_nothing {
        plan
    } else if globals.confirm(&question(&plan))? {
        act(false)?
    } else {
        return Err(Failure::refused("not confirmed: everything stays as it is").into());
    };
    globals.show(&moved, |moved, out| human_moved(moved, what, out))?;
    Ok(moved)
}

/// `/persist/a and 2 more`
fn things(moved: &Moved) -> String {
    let Some(first) = moved.paths.first() else {
        return moved.names.join(", ");
    };
    match moved.paths.len() {
        1 => Shown(first).to_string(),
        n => format!("{} and {} more", Shown(first), n - 1),
    }
}

/// The lists as people read them.
///
/// # Errors
/// The screen's.
pub fn human(report: &Report, out: &mut Screen<'_>) -> io::Result<()> {
    if report.orphans.is_empty() {
        writeln!(out, "no orphans: everything in the stores is declared")?;
    } else {
        let mut table = Table::new([
            ("ORPHAN", Column::Flexible),
            ("SIZE", Column::Right),
            ("THINGS", Column::Right),
            ("CHANGED", Column::Left),
        ]);
        for orphan in &report.orphans {
            let slash = if orphan.is_directory { "/" } else { "" };
            table.row([
                format!("{}{slash}", Shown(&orphan.source)),
                size::size(orphan.bytes),
                orphan.entries.to_string(),
                orphan.changed.map_or_else(String::new, |at| out.age(at)),
            ]);
        }
        table.print(out)?;
        let bytes = report.orphans.iter().map(|orphan| orphan.bytes).sum();
        writeln!(
            out,
            "{FAINT}{} in all; the configuration can declare one again, `--quarantine` moves them aside{FAINT:#}",
            size::size(bytes)
        )?;
    }
    for held in &report.quarantine {
        let why = match held.why {
            Why::Orphan => "orphans",
            Why::Replaced => "replaced",
        };
        let until = match held.expires <= out.now() {
            true => "expired".to_owned(),
            false => format!("until {}", held.expires.format("%Y-%m-%d")),
        };
        writeln!(out, "quarantine {} ({why}, {until})", held.name)?;
        for path in &held.paths {
            writeln!(out, "  {}", Shown(&held.store.join(path)))?;
        }
    }
    notes(&report.notes, out)
}

/// What was done, as people read it.
fn human_moved(moved: &Moved, what: &str, out: &mut Screen<'_>) -> io::Result<()> {
    if moved.paths.is_empty() && moved.failed.is_empty() && moved.names.is_empty() {
        return writeln!(out, "nothing to do");
    }
    let would = if moved.executed { "" } else { "would be " };
    for path in &moved.paths {
        writeln!(out, "{}: {would}{GOOD}{what}{GOOD:#}", Shown(path))?;
    }
    if moved.executed && what != "deleted" {
        for name in &moved.names {
            writeln!(out, "{FAINT}quarantine {name}{FAINT:#}")?;
        }
    }
    for failed in moved.failed.iter().skip(1) {
        writeln!(out, "{failed}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::orphans::{Held, Orphan};

    #[test]
    fn orphans_and_what_is_in_quarantine() {
        let report = Report {
            orphans: vec![
                Orphan {
                    store: "/persist".into(),
                    source: "/persist/srv/a\nb".into(),
                    is_directory: true,
                    entries: 3,
                    bytes: 2048,
                    changed: "2026-11-18T12:00:00Z".parse().ok(),
                },
                Orphan {
                    store: "/persist".into(),
                    source: "/persist/etc/f".into(),
                    is_directory: false,
                    entries: 1,
                    bytes: 10,
                    changed: None,
                },
            ],
            quarantine: vec![
                Held {
                    store: "/persist".into(),
                    name: "20261001T120000Z".into(),
                    why: Why::Orphan,
                    expires: "2026-10-31T12:00:00Z".parse().unwrap(),
                    paths: vec!["srv/old".into()],
                },
                Held {
                    store: "/persist".into(),
                    name: "20261120T120000Z".into(),
                    why: Why::Replaced,
                    expires: "2026-12-20T12:00:00Z".parse().unwrap(),
                    paths: vec!["etc/passwd".into()],
                },
            ],
            notes: vec!["the store /x cannot be used: it does not exist".into()],
        };
        assert_eq!(
            Screen::text(Some(80), |out| human(&report, out)),
            "\
ORPHAN                 SIZE  THINGS  CHANGED
/persist/srv/a\\nb/  2.0 KiB       3  3 days ago
/persist/etc/f         10 B       1
2.0 KiB in all; the configuration can declare one again, `--quarantine` moves them aside
quarantine 20261001T120000Z (orphans, expired)
  /persist/srv/old
quarantine 20261120T120000Z (replaced, until 2026-12-20)
  /persist/etc/passwd
note: the store /x cannot be used: it does not exist
"
        );
        let none = Report::default();
        assert_eq!(
            Screen::text(None, |out| human(&none, out)),
            "no orphans: everything in the stores is declared\n"
        );
    }

    #[test]
    fn what_was_moved() {
        let moved = Moved {
            executed: true,
            paths: vec!["/persist/a".into()],
            names: vec!["20261120T120000Z".into()],
            failed: vec!["/persist/b is in use by a mount at /b".into()],
        };
        assert_eq!(
            Screen::text(None, |out| human_moved(&moved, "moved back", out)),
            "/persist/a: moved back\nquarantine 20261120T120000Z\n"
        );
        assert_eq!(
            moved.ended().unwrap_err().to_string(),
            "/persist/b is in use by a mount at /b"
        );
    }
}
