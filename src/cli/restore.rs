//! `state restore`

use super::exit::one_line;
use super::output::{BAD, FAINT, GOOD, WARN};
use super::size::{entries, moment, size};
use super::{Exit, Globals, Screen, exit};
use crate::failure::Failure;
use crate::ops::archives::Which;
use crate::ops::restore::{self, Kept, Options, Report, Restored};
use crate::ops::seal::Signature;
use state_linux::confine::Confinement;
use std::io::{self, Write as _};
use std::path::PathBuf;

/// Restore an archive, or one path out of it: staged, verified, then swapped in
///
/// What is there is kept: `state undo` puts it back. An interrupted restore changes nothing and
/// goes on where it was when it is run again.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this path of the machine.
    path: Option<PathBuf>,
    /// The target, by name or URL; by default all that are configured.
    #[arg(long, value_name = "TARGET")]
    from: Option<String>,
    /// The machine whose archive it is; by default this one.
    #[arg(long, value_name = "NAME")]
    machine: Option<String>,
    /// The archive's id; by default the newest complete one.
    #[arg(long, value_name = "ID")]
    archive: Option<String>,
    /// Restore into the store at this directory instead of where it was.
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// Only this one of the archive's stores, by the directory it was mounted at.
    #[arg(long, value_name = "PATH", conflicts_with = "path")]
    store: Option<PathBuf>,
    /// Believe what this key signed, whatever the configuration says: its fingerprint, SHA256:….
    #[arg(long, value_name = "FINGERPRINT")]
    trust_key: Option<String>,
    /// Believe the keys in this allowed_signers file, whatever the configuration says: on fresh
    /// hardware, the one in your configuration's repository.
    #[arg(long, value_name = "FILE", conflicts_with = "trust_key")]
    trusted_signers: Option<PathBuf>,
    /// A file with the age key that opens the archive, if it is encrypted; may be given several
    /// times.
    #[arg(long, value_name = "FILE")]
    identity: Vec<PathBuf>,
    /// Restore although nobody vouches for who made the archive.
    #[arg(long)]
    allow_unsigned: bool,
    /// Give up the tree that an earlier restore replaced and that is still kept.
    #[arg(long)]
    forget_replaced: bool,
    /// Show what would be restored and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Runs the verb.
///
/// # Errors
/// Those of [`restore`], or it was not confirmed.
pub fn run(globals: &Globals, args: Args) -> anyhow::Result<Exit> {
    let mut options = Options {
        path: args.path,
        which: Which {
            from: args.from,
            machine: args.machine,
            trust_key: args.trust_key,
            trusted_signers: args.trusted_signers,
            keyring: globals.keyring(args.identity),
        },
        archive: args.archive,
        into: args.into,
        store: args.store,
        allow_unsigned: args.allow_unsigned,
        forget_replaced: args.forget_replaced,
    };
    if !args.dry_run {
        let plan = restore::run(
            &globals.context(true)?,
            &options,
            globals.progress().as_ref(),
        )?;
        match &plan.signature {
            Signature::Unknown { key } if !options.allow_unsigned => {
                let question = format!(
                    "The archive {} is signed by {key}. Compare it with your recovery sheet, or \
                     with what `ssh-keygen -lf` prints of the key you know. Is that the key of {}?",
                    plan.id, plan.machine
                );
                if !globals.vouch(&question)? {
                    return plan.signature.demand(&plan.id, false).map(|()| Exit::Done);
                }
                options.which.trust_key = Some(key.clone());
            }
            signature => signature.demand(&plan.id, options.allow_unsigned)?,
        }
        let into: Vec<_> = plan
            .stores
            .iter()
            .map(|s| s.into.display().to_string())
            .collect();
        let question = format!(
            "Restore {} of {}, made {}, into {}? What is there is kept.",
            plan.id,
            plan.machine,
            moment(plan.time),
            into.join(" and ")
        );
        if !globals.confirm(&question)? {
            return Err(Failure::refused("not confirmed: everything stays as it is").into());
        }
        options.archive = Some(plan.id); // the one that was shown, even if a newer one came
    }
    let cx = globals.context(args.dry_run)?;
    let report = restore::run(&cx, &options, globals.progress().as_ref())?;
    globals.show(&report, human)?;
    if args.dry_run {
        let demanded = report.signature.demand(&report.id, options.allow_unsigned);
        return match demanded {
            Ok(()) => Ok(Exit::Done),
            Err(error) if globals.json => Ok(exit::exit_of(&error)), // one object is printed
            Err(error) => Err(error),
        };
    }
    Ok(match report.is_partial() {
        true => Exit::Partial,
        false => Exit::Done,
    })
}

/// The report as people read it.
///
/// # Errors
/// The screen's.
pub fn human(report: &Report, out: &mut Screen<'_>) -> io::Result<()> {
    let (id, machine, at) = (&report.id, &report.machine, one_line(&report.target));
    writeln!(
        out,
        "archive  {id} of {machine}, made {}, from {at}",
        moment(report.time)
    )?;
    if !report.is_complete {
        writeln!(
            out,
            "         {WARN}incomplete{WARN:#}: not all was in it that should have been"
        )?;
    }
    match &report.signature {
        Signature::Trusted { key } => writeln!(out, "signed   by {key}, trusted for {machine}")?,
        Signature::Unsigned => writeln!(
            out,
            "         {WARN}unsigned{WARN:#}: nobody vouches for who made it"
        )?,
        other => {
            let remark = other.remark().unwrap_or_default();
            writeln!(out, "         {WARN}{}{WARN:#}", one_line(&remark))?;
        }
    }
    if let Some(commit) = &report.commit {
        writeln!(out, "config   commit {}", super::backup::short(commit))?;
    }
    for store in &report.stores {
        restored(store, report.executed, out)?;
    }
    report
        .notes
        .iter()
        .try_for_each(|note| writeln!(out, "{WARN}note{WARN:#}     {}", one_line(note)))
}

fn restored(store: &Restored, executed: bool, out: &mut Screen<'_>) -> io::Result<()> {
    let (held, bytes) = (entries(store.entries), size(store.bytes));
    let into = store.into.display();
    if !executed {
        return writeln!(out, "would restore {held}, {bytes}, into {into}");
    }
    let resumed = if store.is_resumed { ", resumed" } else { "" };
    writeln!(
        out,
        "{GOOD}restored{GOOD:#} {into}: {held}, {bytes}{resumed}"
    )?;
    if let (Some(Confinement::Unconfined(why)), true) = (&store.confinement, out.is_verbose()) {
        let why = one_line(why);
        writeln!(
            out,
            "         {FAINT}the kernel did not keep it in its directory: {why}{FAINT:#}"
        )?;
    }
    match &store.before {
        None => {}
        Some(Kept::ForUndo) => {
            writeln!(
                out,
                "         {FAINT}`state undo` puts back what was there{FAINT:#}"
            )?;
        }
        Some(Kept::At(path)) => {
            let path = crate::paths::Shown(path);
            writeln!(
                out,
                "         {FAINT}`state undo` puts back what was there; it is at {path}{FAINT:#}"
            )?;
        }
    }
    const MOST: usize = 10;
    let shown = if out.is_verbose() {
        store.losses.len()
    } else {
        MOST
    };
    for lost in store.losses.iter().take(shown) {
        let path = super::backup::path(&lost.path.0);
        writeln!(
            out,
            "         {BAD}lost{BAD:#}: {path}: {}",
            one_line(&lost.what)
        )?;
    }
    match store.losses.len().checked_sub(shown) {
        Some(more) if more > 0 => writeln!(out, "         … and {more} more (-v shows all)"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::manifest::Bytes;
    use crate::ops::restore::Lost;
    use chrono::DateTime;

    fn report() -> Report {
        Report {
            target: "usb".into(),
            machine: "blitzar".into(),
            id: "20261121T113705Z-3f6a90c1".into(),
            time: DateTime::from_timestamp(1_795_261_025, 0).unwrap(),
            is_complete: false,
            signature: Signature::Unsigned,
            executed: true,
            stores: vec![Restored {
                store: "/persist".into(),
                into: "/mnt/persist".into(),
                entries: 287,
                bytes: 1 << 20,
                is_resumed: true,
                is_swapped: true,
                losses: vec![Lost {
                    path: Bytes(b"/var/lib/db/table".to_vec()),
                    what: "flags no-cow: operation not supported".into(),
                }],
                confinement: None,
                before: Some(Kept::ForUndo),
            }],
            commit: Some("0123456789abcdef0123456789abcdef01234567".into()),
            notes: vec!["its configuration differed from the commit it names".into()],
        }
    }

    #[test]
    fn a_restore_says_what_is_there_now_and_what_is_lost() {
        assert_eq!(
            Screen::text(None, |out| human(&report(), out)),
            "archive  20261121T113705Z-3f6a90c1 of blitzar, made 2026-11-21 11:37, from usb\n         \
             incomplete: not all was in it that should have been\n         \
             unsigned: nobody vouches for who made it\n\
             config   commit 0123456789ab\n\
             restored /mnt/persist: 287 entries, 1.0 MiB, resumed\n         \
             `state undo` puts back what was there\n         \
             lost: /var/lib/db/table: flags no-cow: operation not supported\n\
             note     its configuration differed from the commit it names\n"
        );
    }

    #[test]
    fn a_dry_run_says_what_it_would_do() {
        let mut plan = report();
        (plan.executed, plan.is_complete) = (false, true);
        plan.signature = Signature::Trusted {
            key: "SHA256:x".into(),
        };
        (plan.commit, plan.notes) = (None, Vec::new());
        assert_eq!(
            Screen::text(None, |out| human(&plan, out)),
            "archive  20261121T113705Z-3f6a90c1 of blitzar, made 2026-11-21 11:37, from usb\n\
             signed   by SHA256:x, trusted for blitzar\n\
             would restore 287 entries, 1.0 MiB, into /mnt/persist\n"
        );
    }
}
