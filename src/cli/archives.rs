//! `state archives`

use super::backup::{names, short};
use super::exit::one_line;
use super::output::{BAD, FAINT, GOOD, WARN};
use super::size::{entries, moment, size};
use super::table::{Column, Table};
use super::{Exit, Globals, Screen, prune};
use crate::ops::archives::{self, List, Listed, Show, Verified, Which};
use crate::ops::backup::{self, Consolidated};
use crate::ops::machines;
use crate::ops::seal::Signature;
use anstyle::Style;
use std::io::{self, Write as _};
use std::path::PathBuf;

/// Archives at the targets: what there is, what is in it, whether it is whole
#[derive(Debug, clap::Args)]
#[command(
    after_help = "An ID may be cut short as long as it is clear, and `latest` is the newest \
                        complete one."
)]
pub struct Args {
    /// Only this target, by name or URL; by default all that are configured.
    #[arg(long, global = true, value_name = "TARGET")]
    from: Option<String>,
    /// The machine whose archives are meant; by default this one.
    #[arg(long, global = true, value_name = "NAME")]
    machine: Option<String>,
    /// A file with the age key that opens encrypted archives; may be given several times.
    #[arg(long, global = true, value_name = "FILE")]
    identity: Vec<PathBuf>,
    /// Believe what this key signed, whatever the configuration says: its fingerprint, SHA256:….
    #[arg(long, global = true, value_name = "FINGERPRINT")]
    trust_key: Option<String>,
    /// Believe the keys in this allowed_signers file, whatever the configuration says: on fresh
    /// hardware, the one in your configuration's repository.
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "trust_key")]
    trusted_signers: Option<PathBuf>,
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
    let which = Which {
        from: args.from,
        machine: args.machine,
        trust_key: args.trust_key,
        trusted_signers: args.trusted_signers,
        keyring: globals.keyring(args.identity),
    };
    match args.verb {
        Verb::List { machines: true } => {
            globals.show(&machines::run(&cx, &which)?, prune::human_machines)?;
        }
        Verb::List { machines: false } => globals.show(&archives::list(&cx, &which)?, human)?,
        Verb::Consolidate { id, .. } => {
            let progress = globals.progress();
            let report = backup::consolidate(&cx, &which, &id, progress.as_ref())?;
            globals.show(&report, human_consolidated)?;
        }
        Verb::Prune { .. } => {
            let report = crate::ops::prune::run(&cx, &which)?;
            globals.show(&report, prune::human)?;
            return Ok(prune::exit(&report));
        }
        Verb::Show { id } => globals.show(&archives::show(&cx, &which, &id)?, human_show)?,
        Verb::Verify { id, all } => {
            let progress = globals.progress();
            let report = archives::verify(&cx, &which, id.as_deref(), all, progress.as_ref())?;
            globals.show(&report, human_verify)?;
            if report
                .archives
                .iter()
                .any(|verdict| verdict.damage.is_some())
            {
                return Ok(Exit::Verification);
            }
            if report.unreadable.iter().any(|label| !label.is_newer) {
                return Ok(Exit::Verification);
            }
            if !report.unreadable.is_empty() {
                return Ok(Exit::Refused);
            }
            let is_refused =
                |archive: &Listed| matches!(archive.signature, Signature::Refused { .. });
            if report.archives.iter().any(|v| is_refused(&v.archive)) {
                return Ok(Exit::Key);
            }
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

/// The same in a list, where the chain is to be seen and who can read it is not.
fn listed_remarks(archive: &Listed) -> String {
    let chain = archive
        .parent
        .as_ref()
        .map(|parent| format!("builds on {parent}"));
    let remarks = Some(remarks(archive)).filter(|remarks| !remarks.is_empty());
    chain
        .into_iter()
        .chain(remarks)
        .chain((!archive.encrypted_to.is_empty()).then(|| "encrypted".to_owned()))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The list as people read it.
///
/// # Errors
/// The screen's.
pub fn human(list: &List, out: &mut Screen<'_>) -> io::Result<()> {
    let mut columns = vec![("target", Column::Flexible)];
    columns.extend([
        ("id", Column::Left),
        ("age", Column::Left),
        ("content", Column::Right),
        ("stored", Column::Right),
        ("config", Column::Left),
        ("", Column::Left),
    ]);
    let mut table = Table::new(columns);
    for archive in &list.archives {
        let style = match (&archive.broken, archive.is_complete) {
            (Some(_), _) => BAD,
            (None, true) => Style::new(),
            (None, false) => WARN,
        };
        let mut row = vec![(archive.target.clone(), style)];
        let commit = archive.commit.as_deref().map_or("-", short);
        row.extend([
            (archive.id.clone(), style),
            (out.age(archive.time), style),
            (size(archive.bytes), style),
            (size(archive.data_bytes), style),
            (commit.to_owned(), style),
            (listed_remarks(archive), FAINT),
        ]);
        table.styled(row);
    }
    if table.is_empty() {
        writeln!(out, "no archives")?;
    } else {
        table.print(out)?;
    }
    for odd in &list.odd {
        let object = odd
            .object
            .as_ref()
            .map(|name| format!("/{name}"))
            .unwrap_or_default();
        let (target, why) = (one_line(&odd.target), one_line(&odd.why));
        writeln!(out, "{WARN}note{WARN:#} {target}{object}: {why}")?;
    }
    Ok(())
}

/// One archive as people read of it.
///
/// # Errors
/// The screen's.
pub fn human_show(show: &Show, out: &mut Screen<'_>) -> io::Result<()> {
    let (archive, machine) = (&show.archive, &show.machine);
    writeln!(
        out,
        "archive  {} of {} at {}",
        archive.id, archive.machine, archive.target
    )?;
    writeln!(
        out,
        "made     {} by {}",
        moment(archive.time),
        one_line(&machine.tool)
    )?;
    let (content, stored) = (size(archive.bytes), size(archive.data_bytes));
    writeln!(
        out,
        "holds    {}, {content}, stored as {stored}",
        entries(archive.entries)
    )?;
    if let Some(parent) = &archive.parent {
        writeln!(
            out,
            "chain    builds on {parent}, {} back to a full one",
            archive.position
        )?;
    }
    super::backup::encrypted(&archive.encrypted_to, out)?;
    if let Signature::Trusted { key } = &archive.signature {
        writeln!(out, "signed   by {key}, trusted for {}", archive.machine)?;
    }
    let remarks = remarks(archive);
    if !remarks.is_empty() {
        writeln!(out, "         {WARN}{remarks}{WARN:#}")?;
    }
    match &machine.config {
        Some(config) => {
            let dirty = if config.is_dirty {
                ", and changes on top"
            } else {
                ""
            };
            writeln!(out, "config   commit {}{dirty}", config.commit)?;
            if let Some(url) = &config.url {
                writeln!(out, "         {}", one_line(url))?;
            }
        }
        None => writeln!(out, "config   {FAINT}no commit is known{FAINT:#}")?,
    }
    for store in &machine.stores {
        let path = super::backup::path(&store.path.0);
        let (declared, on) = (store.entries.len(), &store.filesystem);
        let plural = if declared == 1 { "" } else { "s" };
        writeln!(
            out,
            "store    {path} on {on}, {declared} declared path{plural}"
        )?;
        if out.is_verbose() {
            for entry in &store.entries {
                writeln!(out, "         {}", super::backup::path(&entry.0[1..]))?;
            }
        }
    }
    names(out, "incomplete", &show.incomplete)?;
    if out.is_verbose() {
        names(out, "left out", &show.left_out)?;
    }
    Ok(())
}

/// What consolidating did, as people read it.
///
/// # Errors
/// The screen's.
pub fn human_consolidated(report: &Consolidated, out: &mut Screen<'_>) -> io::Result<()> {
    let (of, chain) = (&report.of, report.chain);
    match &report.id {
        None if chain == 1 => writeln!(out, "archive  {of} is a full one")?,
        None => writeln!(
            out,
            "would make a full archive of {of}, which needs {chain} archives"
        )?,
        Some(id) => {
            let stored = size(report.data_bytes);
            writeln!(out, "archive  {id}: full, stored as {stored}")?;
            writeln!(
                out,
                "         holds what the {chain} archives up to {of} hold"
            )?;
            if let Some(key) = &report.signed_by {
                writeln!(out, "signed   by {key}")?;
            }
            let at = one_line(&report.target);
            writeln!(out, "target   {GOOD}{at}{GOOD:#}: published and read back")?;
        }
    }
    let mut notes = report.notes.iter();
    notes.try_for_each(|note| writeln!(out, "{WARN}note{WARN:#}     {}", one_line(note)))
}

/// What verifying found, as people read it.
///
/// # Errors
/// The screen's.
pub fn human_verify(verified: &Verified, out: &mut Screen<'_>) -> io::Result<()> {
    for verdict in &verified.archives {
        let archive = &verdict.archive;
        let at = format!("{} at {}", archive.id, one_line(&archive.target));
        if let Signature::Refused { why } = &archive.signature {
            writeln!(
                out,
                "{BAD}refused{BAD:#}  {at}: its signature: {}",
                one_line(why)
            )?;
            continue;
        }
        match &verdict.damage {
            None => writeln!(
                out,
                "{GOOD}whole{GOOD:#}    {at}: {}",
                entries(archive.entries)
            )?,
            Some(why) => writeln!(out, "{BAD}damaged{BAD:#}  {at}: {}", one_line(why))?,
        }
    }
    for label in &verified.unreadable {
        let style = if label.is_newer { WARN } else { BAD };
        let (at, why) = (one_line(&label.odd.target), one_line(&label.odd.why));
        writeln!(out, "{style}unread{style:#}   {why}, at {at}")?;
    }
    if let Some(why) = &verified.unnoted {
        writeln!(
            out,
            "{WARN}note{WARN:#}     not noted in the ledger: {}",
            one_line(why)
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::archives::{Odd, Unreadable, Verdict};
    use chrono::DateTime;

    fn listed(id: &str, is_complete: bool) -> Listed {
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

    #[test]
    fn a_list_shows_what_can_be_relied_on() {
        let list = List {
            archives: vec![
                listed("20261121T100000Z-3f6a90c1", true),
                listed("20261121T100001Z-3f6a90c1", false),
                Listed {
                    parent: Some("20261121T100000Z-3f6a90c1".into()),
                    position: 1,
                    broken: Some("its data is 7 bytes long, not 345678".into()),
                    ..listed("20261121T100002Z-3f6a90c1", true)
                },
            ],
            odd: vec![Odd {
                target: "usb".into(),
                object: Some("blitzar/x.txt".into()),
                why: "not the label of an archive".into(),
            }],
        };
        assert_eq!(
            Screen::text(None, |out| human(&list, out)),
            "target  id                         age          content   stored  config\n\
             usb     20261121T100000Z-3f6a90c1  2 hours ago  1.0 MiB  338 KiB  0123456789ab  unsigned\n\
             usb     20261121T100001Z-3f6a90c1  2 hours ago  1.0 MiB  338 KiB  -             incomplete, unsigned\n\
             usb     20261121T100002Z-3f6a90c1  2 hours ago  1.0 MiB  338 KiB  0123456789ab  \
             builds on 20261121T100000Z-3f6a90c1, broken: its data is 7 bytes long, not 345678, \
             unsigned\n\
             note usb/blitzar/x.txt: not the label of an archive\n"
        );
        let none = List {
            archives: Vec::new(),
            odd: Vec::new(),
        };
        assert_eq!(Screen::text(None, |out| human(&none, out)), "no archives\n");
    }

    #[test]
    fn consolidating_says_what_there_is_now() {
        let mut report = Consolidated {
            target: "usb".into(),
            machine: "blitzar".into(),
            of: "20261121T100002Z-3f6a90c1".into(),
            chain: 3,
            id: Some("20261121T100003Z-3f6a90c1".into()),
            data_bytes: 345_678,
            signed_by: None,
            notes: Vec::new(),
        };
        let text =
            |report: &Consolidated| Screen::text(None, |out| human_consolidated(report, out));
        assert_eq!(
            text(&report),
            "archive  20261121T100003Z-3f6a90c1: full, stored as 338 KiB\n         \
             holds what the 3 archives up to 20261121T100002Z-3f6a90c1 hold\n\
             target   usb: published and read back\n"
        );
        report.id = None;
        assert_eq!(
            text(&report),
            "would make a full archive of 20261121T100002Z-3f6a90c1, which needs 3 archives\n"
        );
        report.chain = 1;
        assert_eq!(
            text(&report),
            "archive  20261121T100002Z-3f6a90c1 is a full one\n"
        );
    }

    #[test]
    fn a_verdict_is_one_line() {
        let verified = Verified {
            archives: vec![
                Verdict {
                    archive: listed("20261121T100000Z-3f6a90c1", true),
                    damage: None,
                },
                Verdict {
                    archive: listed("20261121T100001Z-3f6a90c1", true),
                    damage: Some("./etc/machine-id: its content has digest 01…, not 02…".into()),
                },
            ],
            unreadable: vec![Unreadable {
                odd: Odd {
                    target: "usb".into(),
                    object: Some("blitzar/x.txt".into()),
                    why: "blitzar/x.txt has format 2; this version of state reads format 1".into(),
                },
                is_newer: true,
            }],
            unnoted: None,
        };
        assert_eq!(
            Screen::text(None, |out| human_verify(&verified, out)),
            "whole    20261121T100000Z-3f6a90c1 at usb: 287 entries\n\
             damaged  20261121T100001Z-3f6a90c1 at usb: ./etc/machine-id: its content has digest \
             01…, not 02…\n\
             unread   blitzar/x.txt has format 2; this version of state reads format 1, at usb\n"
        );
    }
}
