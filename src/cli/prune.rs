//! `state archives prune` and `state archives list --machines`, as people read them.

use super::backup::short;
use super::exit::one_line;
use super::output::{BAD, FAINT, WARN};
use super::size::size;
use super::table::{Column, Table};
use super::{Exit, Screen};
use crate::ops::{machines, prune};
use anstyle::Style;
use std::io::{self, Write as _};

/// The exit status of a prune.
pub(super) fn exit(report: &prune::Report) -> Exit {
    match report.targets.iter().any(|target| target.is_append_only) {
        true => Exit::Refused,
        false if report.is_partial() => Exit::Partial,
        false => Exit::Done,
    }
}

/// What was pruned.
///
/// # Errors
/// The screen's.
pub fn human(report: &prune::Report, out: &mut Screen<'_>) -> io::Result<()> {
    let mut table = Table::new([
        ("target", Column::Flexible),
        ("archive", Column::Left),
        ("", Column::Left),
        ("why", Column::Flexible),
    ]);
    for target in &report.targets {
        for verdict in &target.archives {
            let reasons: Vec<String> = verdict.kept_by.iter().map(ToString::to_string).collect();
            let (word, style) = match (verdict.is_kept(), target.deleted.contains(&verdict.name)) {
                (true, _) => ("kept", Style::new()),
                (false, true) => ("deleted", WARN),
                (false, false) if report.executed => ("still there", BAD),
                (false, false) => ("would go", WARN),
            };
            let why = match reasons.is_empty() {
                true => "no rule keeps it".to_owned(),
                false => reasons.join(", "),
            };
            table.styled([
                (target.target.clone(), Style::new()),
                (verdict.name.clone(), Style::new()),
                (word.to_owned(), style),
                (why, FAINT),
            ]);
        }
    }
    if table.is_empty() {
        writeln!(out, "no archives")?;
    } else {
        table.print(out)?;
    }
    for target in &report.targets {
        let Some(why) = &target.failed else { continue };
        let (name, why) = (one_line(&target.target), one_line(why));
        if target.is_append_only {
            writeln!(out, "{BAD}{name}{BAD:#} lets nothing be deleted: {why}")?;
            writeln!(
                out,
                "hint: nothing was lost. What is append-only for this machine is pruned from \
                 another one, or by the server; leave `keep` out here"
            )?;
        } else {
            writeln!(out, "{BAD}{name}{BAD:#}: {why}")?;
        }
    }
    Ok(())
}

/// The machines at the targets.
///
/// # Errors
/// The screen's.
pub fn human_machines(report: &machines::Report, out: &mut Screen<'_>) -> io::Result<()> {
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
    for odd in &report.odd {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::seal::Signature;
    use crate::retention::{Reason, Verdict};
    use chrono::DateTime;

    fn verdict(name: &str, kept_by: &[Reason]) -> Verdict<String> {
        Verdict {
            name: name.into(),
            kept_by: kept_by.to_vec(),
        }
    }

    #[test]
    fn every_verdict_is_a_line_with_its_reasons() {
        let mut report = prune::Report {
            executed: false,
            targets: vec![prune::Pruned {
                target: "usb".into(),
                archives: vec![
                    verdict("20261119T100000Z-3f6a90c1", &[]),
                    verdict("20261121T100000Z-3f6a90c1", &[Reason::Newest, Reason::Last]),
                ],
                deleted: Vec::new(),
                failed: None,
                is_append_only: false,
            }],
        };
        assert_eq!(
            Screen::text(None, |out| human(&report, out)),
            "target  archive                              why\n\
             usb     20261119T100000Z-3f6a90c1  would go  no rule keeps it\n\
             usb     20261121T100000Z-3f6a90c1  kept      newest, last\n"
        );
        report.executed = true;
        report.targets[0].failed = Some("access denied".into());
        report.targets[0].is_append_only = true;
        let text = Screen::text(None, |out| human(&report, out));
        assert!(text.contains("still there"), "{text}");
        assert!(
            text.contains("usb lets nothing be deleted: access denied\nhint: "),
            "{text}"
        );
        assert_eq!(exit(&report), Exit::Refused);
    }

    #[test]
    fn a_fleet_is_a_table() {
        let machine = |name: &str, newest| machines::Machine {
            target: "b2".into(),
            machine: name.into(),
            archives: 3,
            stored_bytes: 3 << 20,
            newest,
        };
        let newest = machines::Newest {
            id: "20261121T100000Z-3f6a90c1".into(),
            time: DateTime::from_timestamp(1_795_255_200, 0).unwrap(),
            bytes: 5 << 20,
            commit: Some("0123456789abcdef0123456789abcdef01234567".into()),
            signature: Signature::Unsigned,
        };
        let report = machines::Report {
            machines: vec![machine("blitzar", Some(newest)), machine("kiosk", None)],
            odd: Vec::new(),
        };
        assert_eq!(
            Screen::text(None, |out| human_machines(&report, out)),
            "machine  target  newest archive             age          content  archives   stored  config\n\
             blitzar  b2      20261121T100000Z-3f6a90c1  2 hours ago  5.0 MiB         3  3.0 MiB  0123456789ab  unsigned\n\
             kiosk    b2      -                          -                  -         3  3.0 MiB  -             nothing complete\n"
        );
    }
}
