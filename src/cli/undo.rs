//! `state undo`

use super::exit::one_line;
use super::output::{FAINT, GOOD};
use super::{Exit, Globals, Screen};
use crate::failure::Failure;
use crate::ops::restore::{self, How, Undo, Undone};
use crate::paths::Shown;
use std::io::{self, Write as _};
use std::path::PathBuf;

/// Put back what the last restore or rollback replaced
///
/// What it put in place is kept in turn: undoing twice changes nothing. What waits for the next boot
/// is called off; a store that is in use is put back by the next boot.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only the store at this directory; by default every store that has something to put back.
    dir: Option<PathBuf>,
    /// Put it back now or not at all; a store that is in use is refused, instead of being left to
    /// the next boot.
    #[arg(long)]
    now: bool,
    /// Show what would be put back and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Runs the verb.
///
/// # Errors
/// Those of [`restore::undo`], or it was not confirmed.
pub fn run(globals: &Globals, args: Args) -> anyhow::Result<Exit> {
    let dir = args.dir.as_deref();
    if !args.dry_run {
        let plan = restore::undo(&globals.context(true)?, dir, args.now)?;
        let plans: Vec<_> = plan.stores.iter().map(planned).collect();
        let question = format!("This would {}. Go on?", plans.join(", and "));
        if !globals.confirm(&question)? {
            return Err(Failure::refused("not confirmed: everything stays as it is").into());
        }
    }
    let report = restore::undo(&globals.context(args.dry_run)?, dir, args.now)?;
    globals.show(&report, human)?;
    Ok(Exit::Done)
}

/// What is to be done: a verb and its object.
fn planned(undo: &Undo) -> String {
    let path = Shown(&undo.path);
    match &undo.how {
        How::Now => format!("put back what was in {path} before"),
        How::AtBoot { waits_for } => format!(
            "have the next boot put back what was in {path} before (it is in use by {})",
            one_line(waits_for)
        ),
        How::Dropped => format!("drop what waits for the next boot to become {path}"),
        How::CalledOff => format!("leave {path} as it is at the next boot"),
    }
}

/// The report as people read it.
///
/// # Errors
/// The screen's.
pub fn human(report: &Undone, out: &mut Screen<'_>) -> io::Result<()> {
    for undo in &report.stores {
        let path = Shown(&undo.path);
        match (&undo.how, report.executed) {
            (_, false) => writeln!(out, "would {}", planned(undo))?,
            (How::Now, true) => writeln!(out, "{GOOD}put back{GOOD:#} {path}")?,
            (How::AtBoot { waits_for }, true) => {
                let by = one_line(waits_for);
                writeln!(
                    out,
                    "{GOOD}waits for the next boot{GOOD:#}: {path}, in use by {by}"
                )?;
                writeln!(
                    out,
                    "         {FAINT}what is written until then is kept; `state undo` calls it off{FAINT:#}"
                )?;
            }
            (How::Dropped, true) => writeln!(
                out,
                "{GOOD}dropped{GOOD:#} what waited for the next boot to become {path}"
            )?,
            (How::CalledOff, true) => {
                writeln!(
                    out,
                    "{GOOD}called off{GOOD:#}: {path} stays as it is at the next boot"
                )?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_is_told() {
        let undo = |path: &str, how| Undo {
            path: path.into(),
            how,
        };
        let at_boot = How::AtBoot {
            waits_for: "a mount at /var/lib".into(),
        };
        let stores = vec![
            undo("/a", How::Now),
            undo("/b", at_boot),
            undo("/c", How::Dropped),
            undo("/d", How::CalledOff),
        ];
        let text = |executed| {
            let stores = stores.clone();
            Screen::text(None, |out| human(&Undone { stores, executed }, out))
        };
        assert_eq!(
            text(true),
            "put back /a\n\
             waits for the next boot: /b, in use by a mount at /var/lib\n         \
             what is written until then is kept; `state undo` calls it off\n\
             dropped what waited for the next boot to become /c\n\
             called off: /d stays as it is at the next boot\n"
        );
        assert_eq!(
            text(false),
            "would put back what was in /a before\n\
             would have the next boot put back what was in /b before (it is in use by a mount at /var/lib)\n\
             would drop what waits for the next boot to become /c\n\
             would leave /d as it is at the next boot\n"
        );
    }
}
