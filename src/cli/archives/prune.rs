//! What pruning did, as people read it.

use crate::cli::exit::one_line;
use crate::cli::output::{BAD, FAINT, WARN};
use crate::cli::table::{Column, Table};
use crate::cli::{Exit, Screen};
use crate::ops::prune;
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
pub(super) fn human(report: &prune::Report, out: &mut Screen<'_>) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retention::{Reason, Verdict};

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
}
