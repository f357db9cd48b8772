//! `state blank`

use super::output::{BAD, FAINT, GOOD, Screen};
use super::{Exit, Globals, renew, size, steps};
use crate::failure::Failure;
use crate::ops::blank::{self, Show, Take};
use state_api::Blank;
use std::io::{self, Write as _};

/// The blank snapshot that root goes back to
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Show the blank and what speaks against it
    Show,
    /// Make the present root the blank; the previous one is kept
    Take {
        /// Show the plan and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Check that the blank is there, read-only, and was never written to
    Verify,
    /// Run a command in a copy of the blank, which becomes the blank if the command succeeds
    ///
    /// The copy has the stores, every entry, and a separate /boot in place, and the network. Services
    /// are not started in it. The stores are snapshotted first. A command that fails changes nothing of the
    /// blank, and its exit status is passed on. The running root is as it was until the next boot.
    Run(renew::Run),
    /// The same with a shell, and a question at its end
    Shell(renew::Shell),
    /// Make the previous blank the blank again; twice is not at all
    Undo(renew::Undo),
}

/// Runs the verb.
///
/// # Errors
/// Those of [`blank`].
pub fn run(globals: &Globals, args: Args) -> anyhow::Result<Exit> {
    match args.verb {
        Verb::Show => {
            globals.show(&blank::show(&globals.context(false)?)?, human)?;
            Ok(Exit::Done)
        }
        Verb::Verify => {
            let show = blank::show(&globals.context(false)?)?;
            globals.show(&show, human_verify)?;
            let is_well = show.blank.is_some() && show.problems.is_empty();
            Ok(if is_well { Exit::Done } else { Exit::Attention })
        }
        Verb::Run(args) => renew::run(globals, args),
        Verb::Shell(args) => renew::shell(globals, args),
        Verb::Undo(args) => renew::undo(globals, args),
        Verb::Take { dry_run } => {
            if !dry_run {
                ask(globals)?;
            }
            globals.show(&blank::take(&globals.context(dry_run)?)?, human_take)?;
            Ok(Exit::Done)
        }
    }
}

/// The first blank needs no answer; one in the place of another does.
fn ask(globals: &Globals) -> anyhow::Result<()> {
    let plan = blank::take(&globals.context(true)?)?;
    let Some(blank) = plan.replaced else {
        return Ok(());
    };
    let made = blank
        .taken_at
        .map(|at| format!(", taken {}", size::moment(at)));
    let question = format!(
        "{} exists{}. Make the present {} the blank in its place?",
        blank.name,
        made.unwrap_or_default(),
        plan.root
    );
    if globals.confirm(&question)? {
        Ok(())
    } else {
        Err(Failure::refused("not confirmed: the blank stays as it is").into())
    }
}

/// The blank as people read it.
///
/// # Errors
/// The screen's.
pub fn human(show: &Show, out: &mut Screen<'_>) -> io::Result<()> {
    writeln!(out, "root      {}", show.root)?;
    match &show.blank {
        None => writeln!(out, "blank     {BAD}none{BAD:#}")?,
        Some(blank) => {
            writeln!(out, "blank     {}", blank.name)?;
            taken(blank, out)?;
        }
    }
    if let Some(previous) = &show.previous {
        writeln!(out, "previous  {}", previous.name)?;
        taken(previous, out)?;
    }
    problems(show, out)
}

fn taken(blank: &Blank, out: &mut Screen<'_>) -> io::Result<()> {
    let Some(at) = blank.taken_at else {
        return Ok(());
    };
    let age = out.age(at);
    writeln!(
        out,
        "  taken   {} {FAINT}({age}){FAINT:#}",
        size::moment(at)
    )
}

fn problems(show: &Show, out: &mut Screen<'_>) -> io::Result<()> {
    for problem in &show.problems {
        writeln!(
            out,
            "{BAD}problem:{BAD:#} {}",
            super::exit::one_line(&problem.fact)
        )?;
        if let Some(hint) = &problem.hint {
            writeln!(out, "  {}", super::exit::one_line(hint))?;
        }
    }
    Ok(())
}

fn human_verify(show: &Show, out: &mut Screen<'_>) -> io::Result<()> {
    match &show.blank {
        Some(blank) if show.problems.is_empty() => {
            writeln!(
                out,
                "{GOOD}{} is blank{GOOD:#}: a reset can use it",
                blank.name
            )
        }
        _ => problems(show, out),
    }
}

/// What taking a blank did, as people read it.
///
/// # Errors
/// The screen's.
pub fn human_take(take: &Take, out: &mut Screen<'_>) -> io::Result<()> {
    if !take.executed {
        writeln!(out, "{} would become the blank:", take.root)?;
        return steps::print(&take.plan, out);
    }
    let name = take.blank.as_ref().map_or("blank", |blank| &blank.name);
    writeln!(
        out,
        "{GOOD}{name}{GOOD:#} is what {} was just now",
        take.root
    )?;
    if take.replaced.is_some() {
        writeln!(
            out,
            "the blank before it is kept: `state blank undo` goes back to it"
        )?;
    }
    if out.is_verbose() {
        steps::print(&take.plan, out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::blank::Problem;
    use state_api::{Blank, Identity, Refusal};

    fn show() -> Show {
        Show {
            backend: "zfs",
            root: "rpool/local/root".into(),
            blank: Some(Blank {
                name: "rpool/local/root@blank".into(),
                identity: Identity("7".into()),
                taken_at: "2026-11-18T09:30:00Z".parse().ok(),
            }),
            previous: None,
            problems: vec![],
        }
    }

    #[test]
    fn a_blank_and_its_problems() {
        assert_eq!(
            Screen::text(None, |out| human(&show(), out)),
            "\
root      rpool/local/root
blank     rpool/local/root@blank
  taken   2026-11-18 09:30 (3 days ago)
"
        );
        assert_eq!(
            Screen::text(None, |out| human_verify(&show(), out)),
            "rpool/local/root@blank is blank: a reset can use it\n"
        );
        let refusal = Refusal::NoBlank {
            blank: "rpool/local/root@blank".into(),
            root_exists: true,
        };
        let none = Show {
            blank: None,
            problems: vec![Problem {
                fact: refusal.to_string(),
                hint: refusal.hint(),
            }],
            ..show()
        };
        let problem = "\
problem: rpool/local/root@blank does not exist
  make root what it should be at every boot, then run `state blank take`
";
        assert_eq!(
            Screen::text(None, |out| human(&none, out)),
            format!("root      rpool/local/root\nblank     none\n{problem}")
        );
        assert_eq!(Screen::text(None, |out| human_verify(&none, out)), problem);
    }

    #[test]
    fn taking_one() {
        let take = Take {
            executed: true,
            root: "rpool/local/root".into(),
            replaced: show().blank,
            blank: show().blank,
            plan: vec![],
        };
        assert_eq!(
            Screen::text(None, |out| human_take(&take, out)),
            "\
rpool/local/root@blank is what rpool/local/root was just now
the blank before it is kept: `state blank undo` goes back to it
"
        );
    }
}
