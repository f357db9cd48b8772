//! `state keep`: shows what was moved into the store.

use super::diff::on_machine;
use super::exit::{self, Told};
use super::output::{FAINT, GOOD, Screen, WARN};
use super::{Exit, Globals, size};
use crate::ops::keep::{self, Options, Report};
use crate::paths::Shown;
use crate::settings::Method;
use serde::Serialize;
use std::io::{self, Write as _};
use std::path::PathBuf;

/// Keep files and directories from now on: copy them into the store, declare them, mount them
///
/// What is at a path stays untouched until all of it is in the store, compared and declared. Of
/// a file that is declared already and was replaced by a program, the newer one is kept and the
/// store's goes to the quarantine.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What, by its path on the machine.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// The store that is to hold it; by default the first that is archived.
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// How it is put in place; by default a mount, and a copy for files that programs replace.
    #[arg(long, value_name = "METHOD")]
    method: Option<How>,
    /// Show what would be done and change nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum How {
    /// A kernel bind mount
    Bind,
    /// A symlink into the store
    Symlink,
    /// A copy, saved back when it changes
    Copy,
}

impl From<How> for Method {
    fn from(how: How) -> Self {
        match how {
            How::Bind => Self::Bind,
            How::Symlink => Self::Symlink,
            How::Copy => Self::Copy,
        }
    }
}

/// Runs the verb.
///
/// # Errors
/// Those of [`keep`].
pub fn run(globals: &Globals, args: Args) -> anyhow::Result<Exit> {
    let cx = globals.context(args.dry_run)?;
    let store = args.store.as_deref().map(on_machine).transpose()?;
    each(globals, &args.paths, human, |path| {
        let options = Options {
            path,
            store: store.clone(),
            method: args.method.map(Method::from),
        };
        keep::run(&cx, &options, globals.progress().as_ref())
    })
}

/// What became of several paths.
#[derive(Serialize)]
struct All<R> {
    paths: Vec<One<R>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum One<R> {
    Done(R),
    Failed(Told),
}

/// Does something to each path; one that fails stops no other.
pub(super) fn each<R: Serialize>(
    globals: &Globals,
    paths: &[PathBuf],
    human: impl Fn(&R, &mut Screen<'_>) -> io::Result<()>,
    act: impl Fn(PathBuf) -> anyhow::Result<R>,
) -> anyhow::Result<Exit> {
    let paths: Vec<PathBuf> = paths
        .iter()
        .map(|path| on_machine(path))
        .collect::<Result<_, _>>()?;
    if let [path] = &paths[..] {
        globals.show(&act(path.clone())?, human)?;
        return Ok(Exit::Done);
    }
    let mut all = All { paths: Vec::new() };
    let (mut done, mut failed) = (0, None);
    for path in paths {
        match act(path) {
            Ok(report) => {
                done += 1;
                if !globals.json {
                    globals.show(&report, &human)?;
                }
                all.paths.push(One::Done(report));
            }
            Err(error) => {
                let told = exit::tell(&error);
                let exit = exit::exit_of(&error);
                if exit == Exit::Interrupted {
                    return Err(error);
                }
                failed.get_or_insert(exit);
                if !globals.json {
                    globals.tell(&told)?;
                }
                all.paths.push(One::Failed(told));
            }
        }
    }
    if globals.json {
        globals.show(&all, |_, _| Ok(()))?;
    }
    Ok(match (failed, done) {
        (None, _) => Exit::Done,
        (Some(exit), 0) => exit,
        (Some(_), _) => Exit::Partial,
    })
}

/// The report as people read it.
///
/// # Errors
/// The screen's.
pub fn human(report: &Report, out: &mut Screen<'_>) -> io::Result<()> {
    let (path, source) = (Shown(&report.path), Shown(&report.source));
    if report.was_kept {
        writeln!(out, "{path} is kept already")?;
    } else if report.executed {
        write!(out, "{GOOD}{path}{GOOD:#} is kept in {source}")?;
        match &report.copied {
            None => writeln!(out)?,
            Some(copied) if copied.entries == 1 => {
                writeln!(out, " {FAINT}({}){FAINT:#}", size::size(copied.bytes))?;
            }
            Some(copied) => writeln!(
                out,
                " {FAINT}({} things, {}){FAINT:#}",
                copied.entries,
                size::size(copied.bytes)
            )?,
        }
        if out.is_verbose() {
            for step in &report.steps {
                writeln!(out, "  {step}")?;
            }
        }
    } else {
        writeln!(out, "{path}:")?;
        for step in &report.steps {
            writeln!(out, "  {step}")?;
        }
    }
    notes(&report.notes, out)
}

pub(super) fn notes(notes: &[String], out: &mut Screen<'_>) -> io::Result<()> {
    for note in notes {
        writeln!(out, "{WARN}note:{WARN:#} {}", exit::one_line(note))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::Copied;
    use crate::ops::keep::Step;
    use crate::persist;

    #[test]
    fn what_was_kept_is_told() {
        let done = || Report {
            executed: true,
            path: "/srv/a\nb".into(),
            source: "/persist/srv/a\nb".into(),
            was_kept: false,
            steps: vec![Step::Place {
                path: "/srv/a\nb".into(),
                source: "/persist/srv/a\nb".into(),
                method: persist::Method::Bind,
            }],
            copied: Some(Copied {
                entries: 3,
                bytes: 2048,
                boundaries: vec![],
                dropped: vec![],
            }),
            notes: vec!["nginx (process 12) is using the old one until started again".into()],
        };
        let dry = Report {
            executed: false,
            copied: None,
            notes: vec![],
            ..done()
        };
        let kept = Report {
            was_kept: true,
            steps: vec![],
            notes: vec!["/srv is kept, and it lies inside".into()],
            ..done()
        };
        for (report, expected) in [
            (
                done(),
                "/srv/a\\nb is kept in /persist/srv/a\\nb (3 things, 2.0 KiB)\n\
                 note: nginx (process 12) is using the old one until started again\n",
            ),
            (
                dry,
                "/srv/a\\nb:\n  mount /persist/srv/a\\nb at /srv/a\\nb\n",
            ),
            (
                kept,
                "/srv/a\\nb is kept already\nnote: /srv is kept, and it lies inside\n",
            ),
        ] {
            assert_eq!(Screen::text(None, |out| human(&report, out)), expected);
        }
    }
}
