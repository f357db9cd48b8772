//! What was restored, as people read it.

use crate::cli::Screen;
use crate::cli::backup::{path, short};
use crate::cli::exit::one_line;
use crate::cli::output::{BAD, FAINT, GOOD, WARN};
use crate::cli::size::{entries, moment, size};
use crate::ops::restore::{Kept, Report, Restored};
use crate::ops::seal::Signature;
use state_linux::confine::Confinement;
use std::io::{self, Write as _};

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
        writeln!(out, "config   commit {}", short(commit))?;
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
    if let Some(time) = store.earlier {
        let time = moment(time);
        return writeln!(
            out,
            "{GOOD}restored{GOOD:#} {into}: {held}, {bytes}, by an earlier run, {time}; \
             --forget-replaced restores it once more"
        );
    }
    if !executed {
        write!(out, "would restore {held}, {bytes}, into {into}")?;
        return match &store.waits_for {
            Some(by) => writeln!(
                out,
                "\n         {WARN}at the next boot{WARN:#}: it is in use by {}",
                one_line(by)
            ),
            None => writeln!(out),
        };
    }
    let resumed = if store.is_resumed { ", resumed" } else { "" };
    match &store.waits_for {
        None => writeln!(
            out,
            "{GOOD}restored{GOOD:#} {into}: {held}, {bytes}{resumed}"
        )?,
        Some(by) => {
            let by = one_line(by);
            writeln!(
                out,
                "{WARN}waits for the next boot{WARN:#}: {into}, {held}, {bytes}{resumed}"
            )?;
            writeln!(
                out,
                "         it is in use by {by}: what is written until then stays in the old tree"
            )?;
        }
    }
    if let (Some(Confinement::Unconfined(why)), true) = (&store.confinement, out.is_verbose()) {
        let why = one_line(why);
        writeln!(
            out,
            "         {FAINT}the kernel did not keep it in its directory: {why}{FAINT:#}"
        )?;
    }
    match &store.before {
        None => {}
        Some(Kept::ForUndo) if store.waits_for.is_some() => {
            writeln!(
                out,
                "         {FAINT}`state undo` calls it off, and after the boot puts back what was there{FAINT:#}"
            )?;
        }
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
        let path = path(&lost.path.0);
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
                earlier: None,
                is_swapped: true,
                waits_for: None,
                losses: vec![Lost {
                    path: Bytes(b"/var/lib/db/table".to_vec()),
                    what: "flags no-cow: operation not supported".into(),
                }],
                confinement: None,
                before: Some(Kept::ForUndo),
            }],
            commit: Some("0123456789abcdef0123456789abcdef01234567".into()),
            notes: vec!["its configuration differed from the commit it names".into()],
            machine_root: None,
            archived: None,
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
    fn what_an_earlier_run_restored_is_told_as_that() {
        let mut report = report();
        report.stores[0].earlier = Some(report.time);
        let told = Screen::text(None, |out| human(&report, out));
        let line = told.lines().find(|line| line.starts_with("restored"));
        assert_eq!(
            line,
            Some(
                "restored /mnt/persist: 287 entries, 1.0 MiB, by an earlier run, 2026-11-21 11:37; \
                 --forget-replaced restores it once more"
            )
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

    #[test]
    fn what_waits_for_the_next_boot_says_so() {
        let mut report = report();
        report.signature = Signature::Trusted {
            key: "SHA256:x".into(),
        };
        (report.is_complete, report.commit, report.notes) = (true, None, Vec::new());
        let store = &mut report.stores[0];
        (store.is_swapped, store.losses) = (false, Vec::new());
        store.waits_for = Some("sshd (process 7)".into());
        let text = |report: &Report| {
            let text = Screen::text(None, |out| human(report, out));
            text.lines()
                .skip(2)
                .map(|line| format!("{line}\n"))
                .collect::<String>()
        };
        assert_eq!(
            text(&report),
            "waits for the next boot: /mnt/persist, 287 entries, 1.0 MiB, resumed\n         \
             it is in use by sshd (process 7): what is written until then stays in the old tree\n         \
             `state undo` calls it off, and after the boot puts back what was there\n"
        );
        report.executed = false;
        assert_eq!(
            text(&report),
            "would restore 287 entries, 1.0 MiB, into /mnt/persist\n         \
             at the next boot: it is in use by sshd (process 7)\n"
        );
    }
}
