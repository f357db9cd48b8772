//! What consolidating did, as people read it.

use crate::cli::Screen;
use crate::cli::exit::one_line;
use crate::cli::output::{GOOD, WARN};
use crate::cli::size::size;
use crate::ops::backup::Consolidated;
use std::io::{self, Write as _};

/// What consolidating did, as people read it.
///
/// # Errors
/// The screen's.
pub(super) fn human(report: &Consolidated, out: &mut Screen<'_>) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
        let text = |report: &Consolidated| Screen::text(None, |out| human(report, out));
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
}
