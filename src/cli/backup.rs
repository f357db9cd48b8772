//! `state backup`

use super::exit::one_line;
use super::output::{BAD, FAINT, GOOD, WARN};
use super::size::{entries, size};
use super::{Exit, Globals, Screen};
use crate::ops::backup::{self, Options, Published, Report, Shortcoming};
use std::io::{self, Write as _};

/// Archive the persist tree, publish the archive, and read it back
///
/// Takes a snapshot where the filesystem can. An archive holds what changed since the last one,
/// which it needs to be restored; after `[archive] full-every` of them comes a full one again. If
/// nothing changed there is no new archive. What cannot be read is left out by name: then the
/// archive is marked incomplete, is never the latest, and the exit status is 3.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this target, by name or URL; by default all that are configured.
    #[arg(long, value_name = "TARGET")]
    to: Option<String>,
    /// Make a full archive, which needs no other, whatever there is already.
    #[arg(long)]
    full: bool,
    /// Show what would be archived and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Runs the verb.
///
/// # Errors
/// Those of [`backup`].
pub fn run(globals: &Globals, args: Args) -> anyhow::Result<Exit> {
    let options = Options {
        to: args.to,
        full: args.full,
    };
    let cx = globals.context(args.dry_run)?;
    let report = backup::run(&cx, &options, globals.progress().as_ref())?;
    globals.show(&report, human)?;
    Ok(match report.is_partial() {
        true => Exit::Partial,
        false => Exit::Done,
    })
}

/// How many names of a long list are shown without `-v`.
const MOST: usize = 10;

/// The report as people read it.
///
/// # Errors
/// The screen's.
pub fn human(report: &Report, out: &mut Screen<'_>) -> io::Result<()> {
    for store in &report.stores {
        let how = match store.from_snapshot {
            true => "from a snapshot",
            false => "as it is now: its filesystem has no snapshots",
        };
        writeln!(
            out,
            "store    {} ({}), {how}",
            store.path.display(),
            store.filesystem
        )?;
    }
    let dirty = if report.is_dirty {
        ", and changes on top"
    } else {
        ""
    };
    match &report.commit {
        Some(commit) => writeln!(out, "config   commit {}{dirty}", short(commit))?,
        None => writeln!(out, "config   {FAINT}no commit is known{FAINT:#}")?,
    }
    if let Some(id) = &report.unchanged_since {
        return writeln!(out, "archive  {GOOD}nothing changed{GOOD:#} since {id}");
    }
    encrypted(&report.encrypted_to, out)?;
    let Some(id) = &report.id else {
        let targets: Vec<_> = report.targets.iter().map(|t| t.target.as_str()).collect();
        let (paths, to) = (report.declared, targets.join(", "));
        return writeln!(
            out,
            "would archive {paths} declared paths of {} to {to}",
            report.machine
        );
    };
    let totals = &report.totals;
    let (content, stored) = (size(totals.bytes), size(report.data_bytes));
    writeln!(
        out,
        "archive  {id}: {}, {content}, stored as {stored}",
        entries(totals.entries)
    )?;
    match (&report.parent, &report.full_because) {
        (Some(parent), _) => writeln!(out, "         what changed since {parent}")?,
        (None, Some(why)) => writeln!(out, "         {FAINT}full: {}{FAINT:#}", one_line(why))?,
        (None, None) => {}
    }
    match &report.signed_by {
        Some(key) => writeln!(out, "signed   by {key}")?,
        None => writeln!(
            out,
            "         {FAINT}unsigned: nobody vouches for it{FAINT:#}"
        )?,
    }
    names(out, "incomplete", &report.incomplete)?;
    if report.orphans > 0 {
        let what = match report.orphans {
            1 => "1 path of the store, which nobody declared".to_owned(),
            n => format!("{n} paths of the store, which nobody declared"),
        };
        writeln!(out, "         {FAINT}left out: {what}{FAINT:#}")?;
    }
    if out.is_verbose() {
        names(out, "left out", &report.left_out)?;
        for path in &report.absent {
            let path = crate::paths::Shown(path);
            writeln!(
                out,
                "         {FAINT}declared and not there: {path}{FAINT:#}"
            )?;
        }
    }
    for target in &report.targets {
        published(target, out)?;
    }
    if let Some(why) = &report.hook_failed {
        writeln!(out, "hook     {BAD}{}{BAD:#}", one_line(why))?;
    }
    report
        .notes
        .iter()
        .try_for_each(|note| writeln!(out, "{WARN}note{WARN:#}     {}", one_line(note)))
}

/// Who can read an archive, if not everybody can.
///
/// # Errors
/// The screen's.
pub(super) fn encrypted(recipients: &[String], out: &mut Screen<'_>) -> io::Result<()> {
    match recipients {
        [] => Ok(()),
        _ => writeln!(out, "locked   to {}", one_line(&recipients.join(", "))),
    }
}

fn published(target: &Published, out: &mut Screen<'_>) -> io::Result<()> {
    let name = one_line(&target.target);
    match &target.failed {
        Some(why) => writeln!(out, "target   {BAD}{name}: {}{BAD:#}", one_line(why))?,
        None => writeln!(
            out,
            "target   {GOOD}{name}{GOOD:#}: published and read back"
        )?,
    }
    for name in &target.removed {
        writeln!(
            out,
            "         {FAINT}removed {name}, which an interrupted run left{FAINT:#}"
        )?;
    }
    Ok(())
}

pub(super) fn names(out: &mut Screen<'_>, what: &str, list: &[Shortcoming]) -> io::Result<()> {
    let shown = if out.is_verbose() { list.len() } else { MOST };
    for missing in list.iter().take(shown) {
        let path = path(&missing.path.0);
        writeln!(
            out,
            "         {BAD}{what}{BAD:#}: {path}: {}",
            one_line(&missing.why)
        )?;
    }
    match list.len().checked_sub(shown) {
        Some(more) if more > 0 => writeln!(out, "         … and {more} more (-v shows all)"),
        _ => Ok(()),
    }
}

pub(super) fn path(bytes: &[u8]) -> String {
    use std::os::unix::ffi::OsStrExt;
    crate::paths::Shown(std::path::Path::new(std::ffi::OsStr::from_bytes(bytes))).to_string()
}

pub(super) fn short(commit: &str) -> &str {
    &commit[..commit.len().min(12)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::manifest::{Bytes, Totals};
    use crate::ops::backup::Source;

    fn report() -> Report {
        Report {
            machine: "blitzar".into(),
            executed: true,
            stores: vec![Source {
                path: "/persist".into(),
                filesystem: "btrfs".into(),
                from_snapshot: true,
            }],
            declared: 4,
            commit: Some("0123456789abcdef0123456789abcdef01234567".into()),
            is_dirty: true,
            targets: vec![
                Published {
                    target: "nas".into(),
                    is_published: false,
                    failed: Some("file:///mnt/nas: no such file or directory".into()),
                    removed: Vec::new(),
                },
                Published {
                    target: "usb".into(),
                    is_published: true,
                    failed: None,
                    removed: vec!["blitzar/20261120T113705Z-3f6a90c1.tar.zst".into()],
                },
            ],
            id: Some("20261121T113705Z-3f6a90c1".into()),
            parent: None,
            full_because: None,
            unchanged_since: None,
            totals: Totals {
                entries: 287,
                files: 250,
                bytes: 1 << 20,
                tar_bytes: 2 << 20,
            },
            data_bytes: 345_678,
            encrypted_to: vec!["age1x".into(), "age1y".into()],
            signed_by: Some("SHA256:x".into()),
            incomplete: vec![Shortcoming {
                path: Bytes(b"/var/lib/app/a\nb".to_vec()),
                why: "reading it at byte 4096: input/output error".into(),
            }],
            left_out: Vec::new(),
            absent: vec!["/var/lib/none".into()],
            orphans: 2,
            hook_failed: None,
            data_sha256: None,
            notes: vec!["the clock stands before the newest archive's time".into()],
        }
    }

    #[test]
    fn a_backup_says_what_it_has_and_what_it_has_not() {
        assert_eq!(
            Screen::text(None, |out| human(&report(), out)),
            "store    /persist (btrfs), from a snapshot\n\
             config   commit 0123456789ab, and changes on top\n\
             locked   to age1x, age1y\n\
             archive  20261121T113705Z-3f6a90c1: 287 entries, 1.0 MiB, stored as 338 KiB\n\
             signed   by SHA256:x\n         \
             incomplete: /var/lib/app/a\\nb: reading it at byte 4096: input/output error\n         \
             left out: 2 paths of the store, which nobody declared\n\
             target   nas: file:///mnt/nas: no such file or directory\n\
             target   usb: published and read back\n         \
             removed blitzar/20261120T113705Z-3f6a90c1.tar.zst, which an interrupted run left\n\
             note     the clock stands before the newest archive's time\n"
        );
    }

    #[test]
    fn a_backup_says_what_it_builds_on() {
        let mut increment = report();
        increment.parent = Some("20261120T113705Z-00000001".into());
        let line = |report: &Report, n: usize| {
            let text = Screen::text(None, |out| human(report, out));
            text.lines().nth(n).unwrap().to_owned()
        };
        assert_eq!(
            line(&increment, 4),
            "         what changed since 20261120T113705Z-00000001"
        );
        let mut full = report();
        full.full_because = Some("30 archives build on each other".into());
        assert_eq!(
            line(&full, 4),
            "         full: 30 archives build on each other"
        );
        let mut none = report();
        none.id = None;
        none.unchanged_since = Some("20261120T113705Z-00000001".into());
        let since = "archive  nothing changed since 20261120T113705Z-00000001";
        assert_eq!(line(&none, 2), since);
    }

    #[test]
    fn a_dry_run_says_what_it_would_do() {
        let mut plan = report();
        (plan.id, plan.executed, plan.commit) = (None, false, None);
        plan.stores[0].from_snapshot = false;
        assert_eq!(
            Screen::text(None, |out| human(&plan, out)),
            "store    /persist (btrfs), as it is now: its filesystem has no snapshots\n\
             config   no commit is known\n\
             locked   to age1x, age1y\n\
             would archive 4 declared paths of blitzar to nas, usb\n"
        );
    }
}
