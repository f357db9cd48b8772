//! The rest of a rebuilt machine, as people read it.

use crate::cli::backup::short;
use crate::cli::exit::one_line;
use crate::cli::output::{BAD, GOOD, HEADER, WARN};
use crate::cli::{Screen, doctor, provision};
use crate::ops::rebuild::{Adapted, Checkout, Rebuilt};
use crate::paths::Shown;
use std::io::{self, Write as _};

/// What became of the machine's other half.
pub(super) fn human(rebuilt: &Rebuilt, out: &mut Screen<'_>) -> io::Result<()> {
    match &rebuilt.adapted {
        Adapted::Untouched => {}
        Adapted::Fitted { file } => {
            writeln!(
                out,
                "{GOOD}fitted{GOOD:#}   [root] in {} to the new disk",
                Shown(file)
            )?;
        }
        Adapted::Written { file } => {
            writeln!(
                out,
                "{GOOD}written{GOOD:#}  {}: the archive held no configuration",
                Shown(file)
            )?;
        }
        Adapted::Elsewhere { root } => {
            writeln!(
                out,
                "{WARN}note{WARN:#}     for the system's configuration, on the new disk:"
            )?;
            for line in root.lines() {
                writeln!(out, "         {line}")?;
            }
        }
    }
    checkout(&rebuilt.checkout, out)?;
    let install = &rebuilt.install;
    match (&install.failure, install.ran) {
        (None, true) => writeln!(out, "{GOOD}install{GOOD:#}  done")?,
        (Some(why), _) => writeln!(out, "{BAD}install{BAD:#}  failed: {}", one_line(why))?,
        (None, false) => {}
    }
    if !rebuilt.fstab.is_empty() && install.commands.is_empty() {
        provision::lines(&rebuilt.fstab, rebuilt.crypttab.as_deref(), out)?;
    }
    if !install.ran && !install.commands.is_empty() {
        writeln!(out, "\n{HEADER}To install the system{HEADER:#}")?;
        for command in &install.commands {
            writeln!(out, "  {}", one_line(command))?;
        }
    }
    if !rebuilt.todo.is_empty() {
        provision::todo(&rebuilt.todo, out)?;
    }
    writeln!(
        out,
        "\n{HEADER}`state --root {} doctor`{HEADER:#}",
        Shown(&rebuilt.into)
    )?;
    doctor::human(&rebuilt.doctor, out)
}

fn checkout(checkout: &Checkout, out: &mut Screen<'_>) -> io::Result<()> {
    let by_hand = |commands: &[String], out: &mut Screen<'_>| {
        (commands.iter()).try_for_each(|command| writeln!(out, "         {}", one_line(command)))
    };
    match checkout {
        Checkout::Unknown => Ok(()), // a note has said so
        Checkout::Restored {
            repo,
            commit,
            is_dirty,
        } => {
            let changes = if *is_dirty {
                ", with what was not committed"
            } else {
                ""
            };
            writeln!(
                out,
                "{GOOD}config{GOOD:#}   {} came back at {}{changes}",
                Shown(repo),
                short(commit)
            )
        }
        Checkout::Differs {
            repo,
            found,
            commit,
            commands,
        } => {
            writeln!(
                out,
                "{WARN}config{WARN:#}   {} is at {}, and the archive belongs to {}; it is left as it is:",
                Shown(repo),
                short(found),
                short(commit)
            )?;
            by_hand(commands, out)
        }
        Checkout::Cloned {
            repo,
            url,
            commit,
            was_dirty,
        } => {
            writeln!(
                out,
                "{GOOD}config{GOOD:#}   {} cloned from {}, at {}",
                Shown(repo),
                one_line(url),
                short(commit)
            )?;
            match was_dirty {
                true => writeln!(
                    out,
                    "         what was not committed on the machine is not in it"
                ),
                false => Ok(()),
            }
        }
        Checkout::Failed {
            why,
            commit,
            commands,
        } => {
            writeln!(
                out,
                "{BAD}config{BAD:#}   {} could not be checked out: {}",
                short(commit),
                one_line(why)
            )?;
            by_hand(commands, out)
        }
    }
}
