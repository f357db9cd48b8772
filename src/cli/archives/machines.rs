//! The machines at the targets, as people read of them.

use super::strange;
use crate::cli::Screen;
use crate::cli::backup::short;
use crate::cli::output::{FAINT, WARN};
use crate::cli::size::size;
use crate::cli::table::{Column, Table};
use crate::ops::machines::Report;
use anstyle::Style;
use std::io::{self, Write as _};

/// The machines at the targets.
///
/// # Errors
/// The screen's.
pub(super) fn human(report: &Report, out: &mut Screen<'_>) -> io::Result<()> {
    let mut table = Table::new([
        ("machine", Column::Left),
        ("target", Column::Flexible),
        ("newest archive", Column::Left),
        ("age", Column::Left),
        ("content", Column::Right),
        ("archives", Column::Right),
        ("stored", Column::Right),
        ("config", Column::Left),
        ("", Column::Left),
    ]);
    for machine in &report.machines {
        let newest = machine.newest.as_ref();
        let some = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        let (style, remark) = match newest {
            Some(newest) => (Style::new(), newest.signature.remark().unwrap_or_default()),
            None => (WARN, "nothing complete".to_owned()),
        };
        let commit = newest.and_then(|newest| newest.commit.as_deref());
        table.styled([
            (machine.machine.clone(), style),
            (machine.target.clone(), style),
            (some(newest.map(|newest| newest.id.clone())), style),
            (some(newest.map(|newest| out.age(newest.time))), style),
            (some(newest.map(|newest| size(newest.bytes))), style),
            (machine.archives.to_string(), style),
            (size(machine.stored_bytes), style),
            (some(commit.map(|commit| short(commit).to_owned())), style),
            (remark, FAINT),
        ]);
    }
    if table.is_empty() {
        writeln!(out, "no archives")?;
    } else {
        table.print(out)?;
    }
    strange(&report.odd, out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::machines::{Machine, Newest};
    use crate::ops::seal::Signature;
    use chrono::DateTime;

    #[test]
    fn a_fleet_is_a_table() {
        let machine = |name: &str, newest| Machine {
            target: "b2".into(),
            machine: name.into(),
            archives: 3,
            stored_bytes: 3 << 20,
            newest,
        };
        let newest = Newest {
            id: "20261121T100000Z-3f6a90c1".into(),
            time: DateTime::from_timestamp(1_795_255_200, 0).unwrap(),
            bytes: 5 << 20,
            commit: Some("0123456789abcdef0123456789abcdef01234567".into()),
            signature: Signature::Unsigned,
        };
        let report = Report {
            machines: vec![machine("blitzar", Some(newest)), machine("kiosk", None)],
            odd: Vec::new(),
        };
        assert_eq!(
            Screen::text(None, |out| human(&report, out)),
            "machine  target  newest archive             age          content  archives   stored  config\n\
             blitzar  b2      20261121T100000Z-3f6a90c1  2 hours ago  5.0 MiB         3  3.0 MiB  0123456789ab  unsigned\n\
             kiosk    b2      -                          -                  -         3  3.0 MiB  -             nothing complete\n"
        );
    }
}
