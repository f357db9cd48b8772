//! `state snapshot`

use super::output::{BAD, FAINT, GOOD, Screen};
use super::table::{Column, Table};
use super::{Exit, Globals, size};
use crate::diff::{Change, What};
use crate::failure::Failure;
use crate::ops::snapshot::{self, Create, Differences, List, Prune, Rollback};
use crate::paths::Shown;
use crate::wanted::Wanted;
use anstyle::Style;
use state_api::SnapshotName;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Snapshots of the persist tree, inside its filesystem
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A NAME may be cut short as long as it is clear, and `latest` is the newest."
)]
pub struct Args {
    /// Only this store; by default all that are not mere cache.
    #[arg(long, global = true, value_name = "PATH")]
    store: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Take a read-only snapshot of every store, nested volumes included
    Create {
        /// Its name; by default the time. Named snapshots are never pruned by a rule.
        name: Option<SnapshotName>,
        /// Change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// List snapshots, oldest first, and why each is kept
    List,
    /// Show what changed between a snapshot and another, or the store as it is now
    Diff {
        /// The older side.
        from: Wanted,
        /// The newer side; by default the store as it is now.
        to: Option<Wanted>,
    },
    /// Give a store that is not in use the content of a snapshot; `state undo` takes it back
    Rollback {
        /// Which.
        name: Wanted,
        /// Give up the tree that was replaced before and is still kept, or an interrupted restore.
        #[arg(long)]
        forget_replaced: bool,
        /// Change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Delete the snapshots that no rule keeps, or exactly the named ones
    Prune {
        /// Which; by default what the rules of `[snapshots] keep` let go.
        names: Vec<Wanted>,
        /// Show what would go and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

/// Runs the verb.
///
/// # Errors
/// Those of [`snapshot`].
pub fn run(globals: &Globals, args: Args) -> anyhow::Result<Exit> {
    let store = args.store.as_deref();
    match args.verb {
        Verb::Create { name, dry_run } => {
            let report = snapshot::create(&globals.context(dry_run)?, store, name)?;
            globals.show(&report, human_create)?;
        }
        Verb::List => {
            globals.show(
                &snapshot::list(&globals.context(false)?, store)?,
                |r, out| human(r, out),
            )?;
        }
        Verb::Diff { from, to } => {
            let (cx, progress) = (globals.context(false)?, globals.progress());
            let report = snapshot::diff(&cx, store, &from, to.as_ref(), progress.as_ref())?;
            globals.show(&report, human_diff)?;
            if !report.unreadable.is_empty() {
                return Ok(Exit::Partial);
            }
        }
        Verb::Rollback {
            name,
            forget_replaced: forget,
            dry_run,
        } => {
            let rollback = |dry_run| {
                let (cx, progress) = (globals.context(dry_run)?, globals.progress());
                snapshot::rollback(&cx, store, &name, forget, progress.as_ref())
            };
            if !dry_run {
                let plan = rollback(true)?;
                let question = format!(
                    "Roll {} back to {}? What it holds now is kept for `state undo`.",
                    plan.store.display(),
                    plan.name
                );
                if !globals.confirm(&question)? {
                    return Err(Failure::refused("not confirmed: the store stays as it is").into());
                }
            }
            globals.show(&rollback(dry_run)?, human_rollback)?;
        }
        Verb::Prune { names, dry_run } => {
            let report = snapshot::prune(&globals.context(dry_run)?, store, &names)?;
            globals.show(&report, human_prune)?;
            if report.failures() > 0 {
                return Ok(Exit::Partial);
            }
        }
    }
    Ok(Exit::Done)
}

/// New snapshots, as people read of them.
///
/// # Errors
/// The screen's.
pub fn human_create(report: &Create, out: &mut Screen<'_>) -> io::Result<()> {
    let verb = if report.executed {
        "took"
    } else {
        "would take"
    };
    for created in &report.stores {
        writeln!(
            out,
            "{verb} snapshot {} of {}",
            report.name,
            created.store.display()
        )?;
    }
    Ok(())
}

/// The list as people read it.
///
/// # Errors
/// The screen's.
pub fn human(lists: &[List], out: &mut Screen<'_>) -> io::Result<()> {
    let mut table = Table::new([
        ("store", Column::Flexible),
        ("name", Column::Flexible),
        ("taken", Column::Left),
        ("kept by", Column::Left),
    ]);
    let mut none = Vec::new();
    for list in lists {
        let store = list.store.display().to_string();
        if list.snapshots.is_empty() {
            none.push((store, list.has_snapshots));
            continue;
        }
        for listed in &list.snapshots {
            let name = &listed.snapshot.name;
            let at = name.taken_at().or(listed.snapshot.taken_at);
            let kept = match listed.kept_by.is_empty() {
                true => ("nothing: the next prune deletes it".to_owned(), FAINT),
                false => {
                    let reasons: Vec<_> = listed.kept_by.iter().map(ToString::to_string).collect();
                    (reasons.join(", "), Style::new())
                }
            };
            let when = at.map_or_else(String::new, |at| out.age(at));
            let plain = |text: String| (text, Style::new());
            table.styled([
                plain(store.clone()),
                plain(name.to_string()),
                plain(when),
                kept,
            ]);
        }
    }
    if !table.is_empty() {
        table.print(out)?;
    }
    for (store, has_snapshots) in none {
        match has_snapshots {
            true => writeln!(out, "{store} has no snapshots")?,
            false => writeln!(out, "{store} is on a filesystem without snapshots")?,
        }
    }
    Ok(())
}

/// What pruning did, as people read it.
///
/// # Errors
/// The screen's.
pub fn human_prune(report: &Prune, out: &mut Screen<'_>) -> io::Result<()> {
    let mut went = 0;
    for one in &report.snapshots {
        let (name, store) = (&one.name, one.store.display());
        match (&one.failure, one.kept_by.is_empty()) {
            (Some(why), _) => {
                let why = super::exit::one_line(why);
                writeln!(
                    out,
                    "{BAD}stays{BAD:#}  {name} of {store}  it could not be deleted: {why}"
                )?;
            }
            (None, true) => {
                went += 1;
                let word = if report.executed { "gone" } else { "goes" };
                writeln!(out, "{GOOD}{word}{GOOD:#}   {name} of {store}")?;
            }
            (None, false) => {
                let reasons: Vec<_> = one.kept_by.iter().map(ToString::to_string).collect();
                writeln!(
                    out,
                    "stays  {name} of {store}  {FAINT}{}{FAINT:#}",
                    reasons.join(", ")
                )?;
            }
        }
    }
    let stays = report.snapshots.len() - went;
    match (report.executed, went) {
        (_, 0) => writeln!(out, "nothing to delete: {stays} kept"),
        (true, _) => writeln!(out, "deleted {went}, kept {stays}"),
        (false, _) => writeln!(out, "would delete {went} and keep {stays}"),
    }
}

/// Differences as people read them: a sign, the path, and in which respects it changed.
///
/// # Errors
/// The screen's.
pub fn human_diff(report: &Differences, out: &mut Screen<'_>) -> io::Result<()> {
    for change in &report.changes {
        line(change, out)?;
    }
    for unreadable in &report.unreadable {
        writeln!(out, "{BAD}?{BAD:#} {}", super::exit::one_line(unreadable))?;
    }
    if report.changes.is_empty() && report.unreadable.is_empty() {
        let to = report
            .to
            .as_ref()
            .map_or_else(|| "now".to_owned(), ToString::to_string);
        writeln!(
            out,
            "{} is the same in {} and {to}",
            report.store.display(),
            report.from
        )?;
    }
    Ok(())
}

fn line(change: &Change, out: &mut Screen<'_>) -> io::Result<()> {
    let on_machine = |path: &Path| Path::new("/").join(path);
    let path = on_machine(&change.path);
    let path = Shown(&path);
    match &change.what {
        What::Created => writeln!(out, "{GOOD}+{GOOD:#} {path}"),
        What::Deleted => writeln!(out, "{BAD}-{BAD:#} {path}"),
        What::Renamed { from } => {
            let from = on_machine(from);
            writeln!(out, "> {path} {FAINT}was {}{FAINT:#}", Shown(&from))
        }
        What::Changed { aspects } => {
            let aspects: Vec<&str> = aspects.iter().map(|aspect| aspect.word()).collect();
            writeln!(out, "~ {path} {FAINT}{}{FAINT:#}", aspects.join(", "))
        }
    }
}

/// A rollback as people read of it.
///
/// # Errors
/// The screen's.
pub fn human_rollback(report: &Rollback, out: &mut Screen<'_>) -> io::Result<()> {
    let (store, name) = (report.store.display(), &report.name);
    let Some(copied) = &report.copied else {
        return writeln!(
            out,
            "{store} would get the content of {name}; what it holds now is kept"
        );
    };
    writeln!(
        out,
        "{GOOD}{store} is what it was in {name}{GOOD:#}: {}, {}",
        size::entries(copied.entries),
        size::size(copied.bytes)
    )?;
    writeln!(out, "what it held is kept: `state undo` takes it back")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::snapshot::Listed;
    use crate::ops::snapshot::Pruned;
    use crate::retention::Reason;
    use state_api::Snapshot;

    fn listed(name: &str, kept_by: &[Reason]) -> Listed {
        Listed {
            snapshot: Snapshot {
                name: name.parse().unwrap(),
                taken_at: "2026-11-20T12:00:00Z".parse().ok(),
                sequence: 1,
                identity: None,
            },
            kept_by: kept_by.to_vec(),
        }
    }

    #[test]
    fn lists_name_the_store_the_age_and_the_reason() {
        let list = |store: &str, has_snapshots, snapshots| List {
            store: store.into(),
            has_snapshots,
            snapshots,
        };
        let lists = [
            list(
                "/persist",
                true,
                vec![
                    listed("20261121T110000Z", &[Reason::Newest, Reason::Hourly]),
                    listed("20261101T110000Z", &[]),
                    listed("before-the-upgrade", &[Reason::NotOurs]),
                ],
            ),
            list("/data", true, vec![]),
            list("/usb", false, vec![]),
        ];
        assert_eq!(
            Screen::text(Some(90), |out| human(&lists, out)),
            "\
store     name                taken        kept by
/persist  20261121T110000Z    1 hour ago   newest, hourly
/persist  20261101T110000Z    20 days ago  nothing: the next prune deletes it
/persist  before-the-upgrade  1 day ago    named by hand
/data has no snapshots
/usb is on a filesystem without snapshots
"
        );
    }

    #[test]
    fn pruning_tells_each() {
        let one = |name: &str, kept_by: &[Reason], failure: Option<&str>| Pruned {
            store: "/persist".into(),
            name: name.parse().unwrap(),
            kept_by: kept_by.to_vec(),
            failure: failure.map(str::to_owned),
        };
        let report = Prune {
            executed: false,
            snapshots: vec![
                one("20261101T110000Z", &[], None),
                one("20261121T110000Z", &[Reason::Newest], None),
            ],
        };
        assert_eq!(
            Screen::text(None, |out| human_prune(&report, out)),
            "\
goes   20261101T110000Z of /persist
stays  20261121T110000Z of /persist  newest
would delete 1 and keep 1
"
        );
    }
}
