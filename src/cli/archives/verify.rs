//! What verifying found, as people read it.

use crate::cli::exit::one_line;
use crate::cli::output::{BAD, GOOD, WARN};
use crate::cli::size::entries;
use crate::cli::{Exit, Screen};
use crate::ops::archives::{Verdict, Verified};
use crate::ops::seal::Signature;
use std::io::{self, Write as _};

/// The exit status.
pub(super) fn exit(report: &Verified) -> Exit {
    let is_refused =
        |verdict: &Verdict| matches!(verdict.archive.signature, Signature::Refused { .. });
    let is_locked = |verdict: &Verdict| verdict.locked.is_some();
    let mut archives = report.archives.iter();
    if archives.any(|verdict| verdict.damage.is_some())
        || report.unreadable.iter().any(|label| !label.is_newer)
    {
        Exit::Verification
    } else if !report.unreadable.is_empty() {
        Exit::Refused
    } else if report.archives.iter().any(is_refused) || report.archives.iter().any(is_locked) {
        Exit::Key
    } else {
        Exit::Done
    }
}

/// What verifying found, as people read it.
///
/// # Errors
/// The screen's.
pub(super) fn human(verified: &Verified, out: &mut Screen<'_>) -> io::Result<()> {
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
        if let Some(why) = &verdict.locked {
            writeln!(out, "{WARN}locked{WARN:#}   {at}: {}", one_line(why))?;
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
    use super::super::tests::listed;
    use super::*;
    use crate::ops::archives::{Odd, Unreadable};

    #[test]
    fn a_verdict_is_one_line() {
        let verified = Verified {
            archives: vec![
                Verdict {
                    archive: listed("20261121T100000Z-3f6a90c1", true),
                    damage: None,
                    locked: None,
                },
                Verdict {
                    archive: listed("20261121T100000Z-3f6a90c2", true),
                    damage: None,
                    locked: Some("no key opens it".into()),
                },
                Verdict {
                    archive: listed("20261121T100001Z-3f6a90c1", true),
                    damage: Some("./etc/machine-id: its content has digest 01…, not 02…".into()),
                    locked: None,
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
            Screen::text(None, |out| human(&verified, out)),
            "whole    20261121T100000Z-3f6a90c1 at usb: 287 entries\n\
             locked   20261121T100000Z-3f6a90c2 at usb: no key opens it\n\
             damaged  20261121T100001Z-3f6a90c1 at usb: ./etc/machine-id: its content has digest \
             01…, not 02…\n\
             unread   blitzar/x.txt has format 2; this version of state reads format 1, at usb\n"
        );
    }
}
