//! `state archives`

mod consolidate;
mod list;
mod machines;
mod prune;
mod show;
mod verify;

use super::exit::one_line;
use super::output::WARN;
use super::which::Which;
use super::{Exit, Globals, Screen};
use crate::ops::archives::{self, Listed, Odd};
use crate::ops::{self, backup};
use std::io::{self, Write as _};

/// Archives at the targets: what there is, what is in it, whether it is whole
#[derive(Debug, clap::Args)]
#[command(
    after_help = "An ID may be cut short as long as it is clear, and `latest` is the newest \
                        complete one."
)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List archives, oldest first
    List {
        /// Every machine by its newest archive, instead.
        #[arg(long, conflicts_with = "machine")]
        machines: bool,
    },
    /// Delete the archives of this machine that no rule keeps
    ///
    /// The rules are `keep` in the target's table; a target without any is left alone. What a
    /// kept archive builds on is kept. Nothing is deleted while the clock is behind a time that
    /// an archive shows, or before the newest one has been read back.
    Prune {
        /// Show what would go and why the rest stays, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Make a full archive out of one that builds on others
    ///
    /// The machine is not read: this works wherever the archives are, and, if they are encrypted,
    /// a key. What it was made of stays; `prune` deletes it when no rule keeps it.
    Consolidate {
        /// Which.
        #[arg(default_value = "latest")]
        id: String,
        /// Show what would be made and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Show one archive: machine, configuration, stores, what is missing
    Show {
        /// Which.
        #[arg(default_value = "latest")]
        id: String,
    },
    /// Read archives to their last byte and compare everything with everything else
    Verify {
        /// Which; by default the newest at each target.
        #[arg(conflicts_with = "all")]
        id: Option<String>,
        /// All of them.
        #[arg(long)]
        all: bool,
    },
}

/// Runs the verb.
///
/// # Errors
/// Those of [`archives`].
pub fn run(globals: &Globals, args: Args) -> anyhow::Result<Exit> {
    let is_dry = matches!(
        args.verb,
        Verb::Prune { dry_run: true } | Verb::Consolidate { dry_run: true, .. }
    );
    let cx = globals.context(is_dry)?;
    let which = args.which.archives(globals);
    match args.verb {
        Verb::List { machines: true } => {
            let report = ops::machines::run(&cx, &which)?;
            globals.show(&report, machines::human)?;
        }
        Verb::List { machines: false } => {
            globals.show(&archives::list(&cx, &which)?, list::human)?
        }
        Verb::Consolidate { id, .. } => {
            let progress = globals.progress();
            let report = backup::consolidate(&cx, &which, &id, progress.as_ref())?;
            globals.show(&report, consolidate::human)?;
        }
        Verb::Prune { .. } => {
            let report = ops::prune::run(&cx, &which, globals.progress().as_ref())?;
            globals.show(&report, prune::human)?;
            return Ok(prune::exit(&report));
        }
        Verb::Show { id } => globals.show(&archives::show(&cx, &which, &id)?, show::human)?,
        Verb::Verify { id, all } => {
            let progress = globals.progress();
            let report = archives::verify(&cx, &which, id.as_deref(), all, progress.as_ref())?;
            globals.show(&report, verify::human)?;
            return Ok(verify::exit(&report));
        }
    }
    Ok(Exit::Done)
}

/// What to know of an archive beside its figures.
fn remarks(archive: &Listed) -> String {
    let remarks = [
        (archive.broken.as_ref()).map(|why| format!("broken: {}", one_line(why))),
        (!archive.is_complete).then(|| "incomplete".to_owned()),
        archive.signature.remark(),
        archive.is_dirty.then(|| "config changed".to_owned()),
    ];
    remarks.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// What stands in the way of a whole list.
fn strange(odd: &[Odd], out: &mut Screen<'_>) -> io::Result<()> {
    odd.iter().try_for_each(|odd| {
        let object = odd
            .object
            .as_ref()
            .map(|name| format!("/{name}"))
            .unwrap_or_default();
        let (target, why) = (one_line(&odd.target), one_line(&odd.why));
        writeln!(out, "{WARN}note{WARN:#} {target}{object}: {why}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::seal::Signature;
    use chrono::DateTime;

    pub(super) fn listed(id: &str, is_complete: bool) -> Listed {
        Listed {
            target: "usb".into(),
            machine: "blitzar".into(),
            id: id.into(),
            parent: None,
            position: 0,
            time: DateTime::from_timestamp(1_795_255_200, 0).unwrap(),
            is_complete,
            broken: None,
            encrypted_to: Vec::new(),
            signature: Signature::Unsigned,
            commit: is_complete.then(|| "0123456789abcdef0123456789abcdef01234567".into()),
            is_dirty: false,
            entries: 287,
            bytes: 1 << 20,
            data_bytes: 345_678,
        }
    }
}
