//! `state roots`

use super::diff::WhatToShow;
use super::output::{BAD, FAINT, GOOD, Screen};
use super::table::{Column, Table};
use super::{Exit, Globals, capture, recover, size, steps};
use crate::ops::diff;
use crate::ops::roots::{self, Collected, Gc, List, Listed, Pinned};
use crate::retention::Reason;
use crate::wanted::Wanted;
use state_api::Outcome;
use std::io::{self, Write as _};

/// Past roots: what resets put away, and how long it is kept
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A NAME may be cut short as long as it is clear, and `latest` is the newest."
)]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List past roots, oldest first, and why each is kept
    List,
    /// Show one past root
    Show {
        /// Which.
        name: Wanted,
    },
    /// Show what a past root held that blank does not: what its reset threw away
    Diff {
        /// Which.
        #[arg(default_value = "latest")]
        name: Wanted,
        #[command(flatten)]
        what: WhatToShow,
    },
    Recover(recover::Args),
    Capture(capture::Args),
    /// Keep a past root whatever the rules say
    Pin(Pin),
    /// Let the rules decide about a past root again
    Unpin(Pin),
    /// Delete the past roots that no rule keeps
    Gc {
        /// Show what would go and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Pin {
    /// Which.
    name: Wanted,
    /// Change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Runs the verb.
///
/// # Errors
/// Those of [`roots`].
pub fn run(globals: &Globals, args: Args) -> anyhow::Result<Exit> {
    let pin = |pin: Pin, pinned| {
        let report = roots::pin(&globals.context(pin.dry_run)?, &pin.name, pinned)?;
        globals.show(&report, human_pin)?;
        Ok(Exit::Done)
    };
    match args.verb.unwrap_or(Verb::List) {
        Verb::List => globals.show(&roots::list(&globals.context(false)?)?, human)?,
        Verb::Show { name } => {
            globals.show(&roots::show(&globals.context(false)?, &name)?, human_show)?;
        }
        Verb::Diff { name, what } => {
            let options = what.options()?;
            let cx = globals.context(false)?;
            let report = diff::run_past(&cx, &name, &options, globals.progress().as_ref())?;
            return what.show(globals, &report);
        }
        Verb::Recover(args) => return recover::run(globals, args),
        Verb::Capture(args) => return capture::run(globals, args),
        Verb::Pin(args) => return pin(args, true),
        Verb::Unpin(args) => return pin(args, false),
        Verb::Gc { dry_run } => {
            // Nobody waits for it; where the kernel has no priorities, it runs all the same.
            if let Err(error) = state_linux::priority::step_back() {
                globals.note(&format!("note: running at ordinary priority: {error}"))?;
            }
            let report = roots::gc(&globals.context(dry_run)?)?;
            globals.show(&report, human_gc)?;
            if report.failures() > 0 {
                return Ok(Exit::Partial);
            }
        }
    }
    Ok(Exit::Done)
}

/// `pinned, last 5`; with the numbers of the rules where there are some.
fn reasons(kept_by: &[Reason]) -> String {
    let texts: Vec<String> = kept_by.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

/// The list as people read it.
///
/// # Errors
/// The screen's.
pub fn human(list: &List, out: &mut Screen<'_>) -> io::Result<()> {
    if list.past_roots.is_empty() {
        return writeln!(out, "{} has no past roots", list.root);
    }
    let mut table = Table::new([
        ("name", Column::Flexible),
        ("put away", Column::Left),
        ("kept by", Column::Left),
    ]);
    for Listed { root, kept_by } in &list.past_roots {
        let when = root
            .rotated_at
            .map_or_else(|| "unknown".into(), |at| out.age(at));
        let kept = match kept_by.is_empty() {
            true => ("nothing: the next gc deletes it".to_owned(), FAINT),
            false => (reasons(kept_by), anstyle::Style::new()),
        };
        let plain = anstyle::Style::new();
        table.styled([(root.name.to_string(), plain), (when, plain), kept]);
    }
    table.print(out)
}

/// One past root as people read it.
///
/// # Errors
/// The screen's.
pub fn human_show(listed: &Listed, out: &mut Screen<'_>) -> io::Result<()> {
    let Listed { root, kept_by } = listed;
    writeln!(out, "past root  {}", root.name)?;
    match root.rotated_at {
        Some(at) => writeln!(out, "put away   {} ({})", size::moment(at), out.age(at))?,
        None => writeln!(out, "put away   unknown: named by hand")?,
    }
    match kept_by.is_empty() {
        true => writeln!(
            out,
            "kept by    nothing: the next `state roots gc` deletes it"
        )?,
        false => writeln!(out, "kept by    {}", reasons(kept_by))?,
    }
    writeln!(
        out,
        "boot it    state.root=past/{} on the kernel command line",
        root.name
    )
}

fn human_pin(report: &Pinned, out: &mut Screen<'_>) -> io::Result<()> {
    let (yes, no) = ("pinned: no rule lets it go", "not pinned: the rules decide");
    let what = if report.is_pinned { yes } else { no };
    let tense = match (report.executed, report.outcome) {
        (_, Outcome::AlreadySo) => "was already",
        (true, Outcome::Made) => "is",
        (false, Outcome::Made) => "would be",
    };
    writeln!(out, "{} {tense} {what}", report.name)
}

/// What a collection did, as people read it.
///
/// # Errors
/// The screen's.
pub fn human_gc(report: &Gc, out: &mut Screen<'_>) -> io::Result<()> {
    let mut went = 0;
    for Collected {
        name,
        kept_by,
        plan,
        failure,
    } in &report.past_roots
    {
        match (failure, kept_by.is_empty()) {
            (Some(why), _) => {
                let why = super::exit::one_line(why);
                writeln!(
                    out,
                    "{BAD}stays{BAD:#}  {name}  it could not be deleted: {why}"
                )?;
            }
            (None, true) => {
                went += 1;
                let word = if report.executed { "gone" } else { "goes" };
                writeln!(out, "{GOOD}{word}{GOOD:#}   {name}")?;
                if out.is_verbose() {
                    steps::print(plan, out)?;
                }
            }
            (None, false) => writeln!(out, "stays  {name}  {FAINT}{}{FAINT:#}", reasons(kept_by))?,
        }
    }
    if let Some(why) = &report.failure {
        let why = super::exit::one_line(why);
        writeln!(
            out,
            "{BAD}stays{BAD:#}  what resets gave up: it could not be deleted: {why}"
        )?;
    } else if !report.given_up.is_empty() {
        let word = if report.executed { "gone" } else { "goes" };
        writeln!(out, "{GOOD}{word}{GOOD:#}   what resets gave up")?;
        if out.is_verbose() {
            steps::print(&report.given_up, out)?;
        }
    }
    if let Some(why) = &report.not_learned {
        let why = super::exit::one_line(why);
        writeln!(
            out,
            "{BAD}?{BAD:#} what every boot makes anew could not be learned: {why}"
        )?;
    }
    let stays = report.past_roots.len() - went;
    match (report.executed, went) {
        (_, 0) => writeln!(out, "nothing to delete: {stays} kept"),
        (true, _) => writeln!(out, "deleted {went}, kept {stays}"),
        (false, _) => writeln!(out, "would delete {went} and keep {stays}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::PastRoots;
    use state_api::PastRoot;

    fn listed(name: &str, kept_by: &[Reason]) -> Listed {
        let name: state_api::PastRootName = name.parse().unwrap();
        Listed {
            root: PastRoot {
                rotated_at: name.rotated_at(),
                name,
                sequence: 1,
                is_pinned: kept_by.contains(&Reason::Pinned),
                needed_by: Vec::new(),
            },
            kept_by: kept_by.to_vec(),
        }
    }

    fn list() -> List {
        List {
            root: "rpool/local/root".into(),
            policy: PastRoots::default(),
            at: "2026-11-21T12:00:00Z".parse().unwrap(),
            past_roots: vec![
                listed("20261001T070000Z-0a1b2c3d", &[]),
                listed("before-the-move", &[Reason::NotOurs]),
                listed("20261119T070000Z-6d3f20c1", &[Reason::Pinned, Reason::Days]),
            ],
        }
    }

    #[test]
    fn a_list_says_why_each_is_kept() {
        assert_eq!(
            Screen::text(Some(80), |out| human(&list(), out)),
            "\
name                       put away     kept by
20261001T070000Z-0a1b2c3d  51 days ago  nothing: the next gc deletes it
before-the-move            unknown      named by hand
20261119T070000Z-6d3f20c1  2 days ago   pinned, days
"
        );
        let none = List {
            past_roots: vec![],
            ..list()
        };
        assert_eq!(
            Screen::text(None, |out| human(&none, out)),
            "rpool/local/root has no past roots\n"
        );
        assert_eq!(
            Screen::text(None, |out| human_show(&list().past_roots[2], out)),
            "\
past root  20261119T070000Z-6d3f20c1
put away   2026-11-19 07:00 (2 days ago)
kept by    pinned, days
boot it    state.root=past/20261119T070000Z-6d3f20c1 on the kernel command line
"
        );
    }

    #[test]
    fn a_collection_names_what_went_and_what_could_not() {
        let one = |name: &str, kept_by: &[Reason], failure: Option<&str>| Collected {
            name: name.parse().unwrap(),
            kept_by: kept_by.to_vec(),
            plan: vec![],
            failure: failure.map(str::to_owned),
        };
        let gc = Gc {
            executed: true,
            policy: PastRoots::default(),
            past_roots: vec![
                one("20261001T070000Z-a", &[], None),
                one(
                    "20261002T070000Z-b",
                    &[],
                    Some("deleting x: Operation not permitted"),
                ),
                one("20261119T070000Z-c", &[Reason::Newest, Reason::Last], None),
            ],
            given_up: vec![],
            failure: None,
            not_learned: Some("opening blank: it does not exist".into()),
        };
        assert_eq!(
            Screen::text(None, |out| human_gc(&gc, out)),
            "\
gone   20261001T070000Z-a
stays  20261002T070000Z-b  it could not be deleted: deleting x: Operation not permitted
stays  20261119T070000Z-c  newest, last
? what every boot makes anew could not be learned: opening blank: it does not exist
deleted 1, kept 2
"
        );
    }
}
