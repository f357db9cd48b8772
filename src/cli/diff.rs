//! `state diff`: shows what the next reset will throw away.

use super::output::{BAD, FAINT, GOOD, Screen, WARN};
use super::table::{Column, Table};
use super::{Exit, Globals, size};
#[cfg(feature = "interactive")]
use crate::context::Context;
use crate::diff::{Change, What};
use crate::failure::Failure;
use crate::ops::diff::{self, Options, Report, Totals};
use crate::paths::{self, Shown};
use anstyle::Style;
use chrono::DateTime;
use state_linux::stat::{Kind, Time};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// What the next reset will throw away
///
/// Everything in root that is not in blank: new, changed, renamed and deleted things, whatever
/// they are. What is kept, made anew at every boot, or ignored is left out; so are stores, mount
/// points, and links that NixOS makes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    what: WhatToShow,
    /// Look through it on the terminal, and decide what to keep and what to ignore.
    #[cfg(feature = "interactive")]
    #[arg(long, conflicts_with_all = ["tree", "nul", "json", "quiet"])]
    interactive: bool,
}

/// How differences are chosen and shown: the same for `state roots diff`.
#[derive(Debug, clap::Args)]
pub struct WhatToShow {
    /// Only this path and what is below it.
    path: Option<PathBuf>,
    /// Show what is quiet too, and why.
    #[arg(long)]
    all: bool,
    /// Show every path, as a tree.
    #[arg(long)]
    tree: bool,
    /// Print the paths that would be lost, each ended by a NUL, and nothing else.
    #[arg(short = '0', conflicts_with_all = ["tree", "json"])]
    nul: bool,
}

impl WhatToShow {
    /// What is asked of the verb.
    ///
    /// # Errors
    /// The path cannot be one.
    pub fn options(&self) -> anyhow::Result<Options> {
        let path = self.path.as_deref().map(on_machine).transpose()?;
        Ok(Options {
            path,
            all: self.all,
        })
    }

    /// Shows a report.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn show(&self, globals: &Globals, report: &Report) -> anyhow::Result<Exit> {
        if self.nul {
            globals.raw(&nul_ended(report))?;
        } else {
            globals.show(report, |report, out| human(report, self.tree, out))?;
        }
        // Nobody may take an incomplete list for a complete one.
        Ok(if report.unreadable.is_empty() {
            Exit::Done
        } else {
            Exit::Partial
        })
    }
}

/// A path of the command line as a path of the machine: relative ones begin where we are.
///
/// # Errors
/// It holds `..`, or nobody knows where we are.
pub fn on_machine(path: &Path) -> anyhow::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    if absolute == Path::new("/") {
        return Ok(absolute);
    }
    let fault = |why| Failure::usage(format!("{} {why}", Shown(path)));
    Ok(paths::normal(&absolute).map_err(fault)?)
}

/// A path in something that is not the running root: relative ones begin at its top.
///
/// # Errors
/// It holds `..`.
pub fn in_tree(path: &Path) -> anyhow::Result<PathBuf> {
    on_machine(&Path::new("/").join(path))
}

/// Runs the verb.
///
/// # Errors
/// Those of [`diff`].
pub fn run(globals: &Globals, args: Args) -> anyhow::Result<Exit> {
    let options = args.what.options()?;
    let cx = globals.context(false)?;
    #[cfg(feature = "interactive")]
    if args.interactive {
        return interactive(globals, &cx, &options);
    }
    let report = diff::run(&cx, &options, globals.progress().as_ref())?;
    args.what.show(globals, &report)
}

/// Lets a person decide, and does what was decided.
#[cfg(feature = "interactive")]
fn interactive(globals: &Globals, cx: &Context<'_>, options: &Options) -> anyhow::Result<Exit> {
    use super::{browse, keep};
    use crate::ops::{ignore, keep as keeping};
    use std::io::IsTerminal as _;
    if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
        return Err(Failure::usage("`--interactive` needs a terminal")
            .hint("leave it out to get a list, or use `--json`")
            .into());
    }
    let report = diff::run(cx, options, globals.progress().as_ref())?;
    if report.changes.is_empty() {
        globals.show(&report, |report, out| human(report, false, out))?;
        return Ok(Exit::Done);
    }
    let decided = browse::browse(&report.changes, globals.has_colors(), cx.interrupt)?;
    if !decided.ignore.is_empty() {
        globals.show(&ignore::run(cx, &decided.ignore)?, ignored)?;
    }
    if decided.keep.is_empty() {
        return Ok(Exit::Done);
    }
    keep::each(globals, &decided.keep, keep::human, |path| {
        let options = keeping::Options {
            path,
            ..keeping::Options::default()
        };
        keeping::run(cx, &options, globals.progress().as_ref())
    })
}

#[cfg(feature = "interactive")]
fn ignored(report: &crate::ops::ignore::Report, out: &mut Screen<'_>) -> io::Result<()> {
    for path in &report.paths {
        writeln!(out, "{GOOD}{}{GOOD:#} is ignored from now on", Shown(path))?;
    }
    writeln!(out, "{FAINT}({} says so){FAINT:#}", Shown(&report.file))
}

/// The paths that would be lost.
fn nul_ended(report: &Report) -> Vec<u8> {
    let mut bytes = Vec::new();
    for change in report
        .changes
        .iter()
        .filter(|change| change.what != What::Deleted)
    {
        bytes.push(b'/');
        bytes.extend_from_slice(change.path.as_os_str().as_bytes());
        bytes.push(0);
    }
    bytes
}

/// A line of the list: a difference, with all that is new below it if that is told in one.
struct Row<'a> {
    change: &'a Change,
    /// How many differences it stands for, itself not counted.
    more: usize,
    bytes: u64,
    newest: Time,
}

/// One row for each difference, but only one for a new directory with everything in it.
fn rows(changes: &[Change], is_tree: bool) -> Vec<Row<'_>> {
    let mut rows: Vec<Row<'_>> = Vec::new();
    for change in changes {
        if let Some(row) = rows.last_mut()
            && !is_tree
            && row.change.what == What::Created
            && row.change.kind == Kind::Directory
            && change.what == What::Created
            && !row.change.path.as_os_str().is_empty()
            && change.path.starts_with(&row.change.path)
            && row.change.quiet == change.quiet
        {
            row.more += 1;
            row.bytes += change.size_bytes;
            row.newest = row.newest.max(change.modified);
            continue;
        }
        rows.push(Row {
            change,
            more: 0,
            bytes: change.size_bytes,
            newest: change.modified,
        });
    }
    rows
}

/// The differences as people read them.
///
/// # Errors
/// The screen's.
pub fn human(report: &Report, is_tree: bool, out: &mut Screen<'_>) -> io::Result<()> {
    let mut table = Table::new([
        ("", Column::Flexible),
        ("", Column::Right),
        ("", Column::Left),
        ("", Column::Left),
    ]);
    let plain = Style::new();
    let mut above: Option<&Path> = None;
    for row in rows(&report.changes, is_tree) {
        let path = &row.change.path;
        let parent = path.parent().unwrap_or(Path::new(""));
        let mut depth = 1;
        if is_tree {
            depth = headings(&mut table, above, parent);
        } else if above != Some(parent) {
            let heading = format!("/{}", Shown(parent));
            table.styled([
                (heading, plain),
                ("".into(), plain),
                ("".into(), plain),
                ("".into(), plain),
            ]);
        }
        above = Some(if is_tree && row.change.kind == Kind::Directory {
            path
        } else {
            parent
        });
        let (mark, style) = match row.change.what {
            What::Created => ("+", GOOD),
            What::Changed { .. } => ("~", WARN),
            What::Deleted => ("-", BAD),
            What::Renamed { .. } => (">", WARN),
        };
        let name = path.file_name().map_or(Path::new("/"), Path::new);
        let slash = if row.change.kind == Kind::Directory && !path.as_os_str().is_empty() {
            "/"
        } else {
            ""
        };
        let has_size = row.change.kind == Kind::File || row.more > 0;
        let is_gone = row.change.what == What::Deleted;
        let bytes = if has_size && !is_gone {
            size::size(row.bytes)
        } else {
            String::new()
        };
        let then = DateTime::from_timestamp(row.newest.seconds, 0);
        let age = then
            .filter(|_| !is_gone)
            .map_or_else(String::new, |then| out.age(then));
        table.styled([
            (
                format!("{}{mark} {}{slash}", "  ".repeat(depth), Shown(name)),
                style,
            ),
            (bytes, plain),
            (age, plain),
            (remark(&row), FAINT),
        ]);
    }
    table.print(out)?;
    for unreadable in &report.unreadable {
        writeln!(out, "{BAD}?{BAD:#} {}", super::exit::one_line(unreadable))?;
    }
    writeln!(out, "{}", summary(report))
}

/// Rows for the directories from `above` down to `parent`; says how deep that is.
fn headings(table: &mut Table, above: Option<&Path>, parent: &Path) -> usize {
    let plain = Style::new();
    let mut heading = |text: String| {
        table.styled([
            (text, plain),
            ("".into(), plain),
            ("".into(), plain),
            ("".into(), plain),
        ]);
    };
    if above.is_none() {
        heading("/".into());
    }
    let mut so_far = PathBuf::new();
    let mut depth = 1;
    for name in parent {
        so_far.push(name);
        if !above.is_some_and(|above| above.starts_with(&so_far)) {
            heading(format!("{}{}/", "  ".repeat(depth), Shown(Path::new(name))));
        }
        depth += 1;
    }
    depth
}

fn remark(row: &Row<'_>) -> String {
    let mut remarks = Vec::new();
    match &row.change.what {
        What::Changed { aspects } => {
            remarks.extend(aspects.iter().map(|aspect| aspect.word().to_owned()));
        }
        What::Renamed { from } => remarks.push(format!("was /{}", Shown(from))),
        What::Created | What::Deleted => {}
    }
    if row.more > 0 {
        remarks.push(things(row.more, "in it"));
    }
    match row.change.kind {
        Kind::File | Kind::Directory => {}
        Kind::Symlink => remarks.extend(
            row.change
                .target
                .as_ref()
                .map(|target| format!("to {}", Shown(target))),
        ),
        other => remarks.push(crate::diff::word(other).to_owned()),
    }
    remarks.extend(row.change.quiet.map(|quiet| quiet.word().to_owned()));
    remarks.join(", ")
}

fn things(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} thing{plural} {what}")
}

fn summary(report: &Report) -> String {
    let Totals {
        created,
        changed,
        deleted,
        renamed,
        bytes,
        quiet,
    } = report.totals;
    let counts: Vec<_> = [
        (created, "created"),
        (changed, "changed"),
        (renamed, "renamed"),
        (deleted, "deleted"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect();
    let mut text = match (&report.past_root, counts.is_empty()) {
        (None, true) => "nothing would be lost at the next reset".to_owned(),
        (None, false) => {
            format!(
                "{}: {} would be lost at the next reset",
                counts.join(", "),
                size::size(bytes)
            )
        }
        (Some(name), true) => format!("nothing was lost with {name}"),
        (Some(name), false) => format!(
            "{}: {} went with {name}; `state roots recover PATH --from {name}` brings it back",
            counts.join(", "),
            size::size(bytes)
        ),
    };
    let is_hidden = quiet > 0 && !report.changes.iter().any(|change| change.quiet.is_some());
    if is_hidden {
        text += &format!(
            " ({} quiet: --all shows it)",
            things(quiet, if quiet == 1 { "is" } else { "are" })
        );
    }
    text
}

#[cfg(test)]
mod tests;
