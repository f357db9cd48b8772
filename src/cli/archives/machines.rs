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
        ("proven", Column::Left),
        ("content", Column::Right),
        ("archives", Column::Right),
        ("stored", Column::Right),
        ("config", Column::Left),
        ("", Column::Left),
    ]);
    for machine in &report.machines {
        let newest = machine.newest.as_ref();
        let some = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        let (style, mut remarks) = match newest {
            Some(newest) => (Style::new(), Vec::from_iter(newest.signature.remark())),
            None => (WARN, vec!["nothing complete".to_owned()]),
        };
        let proven = machine.proven.as_ref();
        if let Some(remark) = proven.and_then(|proven| proven.signature.remark()) {
            remarks.push(format!("proof {remark}"));
        }
        let commit = newest.and_then(|newest| newest.commit.as_deref());
        table.styled([
            (machine.machine.clone(), style),
            (machine.target.clone(), style),
            (some(newest.map(|newest| newest.id.clone())), style),
            (some(newest.map(|newest| out.age(newest.time))), style),
            (
                proven.map_or("never".to_owned(), |proven| out.age(proven.proof.time)),
                if proven.is_some() { style } else { FAINT },
            ),
            (some(newest.map(|newest| size(newest.bytes))), style),
            (machine.archives.to_string(), style),
            (size(machine.stored_bytes), style),
            (some(commit.map(|commit| short(commit).to_owned())), style),
            (remarks.join(", "), FAINT),
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
    use crate::archive::manifest::Digest;
    use crate::archive::proof::{Against, Proof};
    use crate::ops::machines::{Machine, Newest, Proven};
    use crate::ops::seal::Signature;
    use chrono::DateTime;

    #[test]
    fn a_fleet_is_a_table() {
        let machine = |name: &str, newest: Option<Newest>| Machine {
            target: "b2".into(),
            machine: name.into(),
            archives: 3,
            stored_bytes: 3 << 20,
            proven: newest.is_some().then(|| Proven {
                proof: Proof {
                    machine: name.into(),
                    id: "20261121T090000Z-3f6a90c1".parse().unwrap(),
                    time: DateTime::from_timestamp(1_795_170_000, 0).unwrap(),
                    data_sha256: Digest([1; 32]),
                    entries: 3,
                    bytes: 33,
                    against: Against::Snapshot,
                },
                signature: Signature::Trusted {
                    key: "SHA256:x".into(),
                },
            }),
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
            "machine  target  newest archive             age          proven     content  archives   stored  config\n\
             blitzar  b2      20261121T100000Z-3f6a90c1  2 hours ago  1 day ago  5.0 MiB         3  3.0 MiB  0123456789ab  unsigned\n\
             kiosk    b2      -                          -            never            -         3  3.0 MiB  -             nothing complete\n"
        );
    }
}
