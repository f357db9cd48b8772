//! The ledger as Prometheus reads it: the text format of the node exporter's textfile collector.

use crate::ledger::{Drill, Entry, Ledger, Outcome, Run};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The whole file. Pure.
pub fn text(ledger: &Ledger) -> String {
    let mut text = Text(String::new());
    if let Some(run) = &ledger.last_run {
        run_text(&mut text, run);
    }
    let mut newest: BTreeMap<(&str, &str), &Entry> = BTreeMap::new();
    let is_good = |entry: &&Entry| entry.is_complete && entry.damaged.is_none();
    for entry in ledger.archives.iter().filter(is_good) {
        let place = newest
            .entry((&entry.machine, &entry.target))
            .or_insert(entry);
        if place.id < entry.id {
            *place = entry;
        }
    }
    type Value = fn(&Entry) -> i64;
    let gauges: [(&str, &str, Value); 5] = [
        (
            "state_archive_current_timestamp_seconds",
            "When the newest complete archive was last known to hold what the machine holds.",
            |entry| entry.current.unwrap_or(entry.published).timestamp(),
        ),
        (
            "state_archive_published_timestamp_seconds",
            "When the newest complete archive was published.",
            |entry| entry.published.timestamp(),
        ),
        (
            "state_archive_read_back_timestamp_seconds",
            "When the newest complete archive was last read back and found whole; 0: never.",
            |entry| entry.read_back.map_or(0, |at| at.timestamp()),
        ),
        (
            "state_archive_stored_bytes",
            "Size of the newest complete archive as stored.",
            |entry| saturated(entry.data_bytes),
        ),
        (
            "state_archive_content_bytes",
            "Size of the content of the newest complete archive.",
            |entry| saturated(entry.bytes),
        ),
    ];
    for (name, help, value) in gauges.iter().filter(|_| !newest.is_empty()) {
        text.gauge(name, help);
        for ((machine, target), entry) in &newest {
            let labels = [("machine", *machine), ("target", *target)];
            text.sample(name, &labels, value(entry));
        }
    }
    drills_text(&mut text, &ledger.drills);
    text.0
}

fn drills_text(text: &mut Text, drills: &[Drill]) {
    let mut last: BTreeMap<(&str, &str), [Option<&Drill>; 2]> = BTreeMap::new();
    for drill in drills {
        let place = last.entry((&drill.machine, &drill.target)).or_default();
        place[usize::from(drill.is_proof())] = Some(drill);
    }
    type Value = fn(&[Option<&Drill>; 2]) -> i64;
    let gauges: [(&str, &str, Value); 2] = [
        (
            "state_drill_proven_timestamp_seconds",
            "When a restore was last proven to work; 0: never.",
            |[_, proven]| proven.map_or(0, |drill| drill.at.timestamp()),
        ),
        (
            "state_drill_last_success",
            "Whether the last drill found what was saved.",
            // A proof ends what was remembered of failures.
            |[failed, _]| i64::from(failed.is_none()),
        ),
    ];
    for (name, help, value) in gauges.iter().filter(|_| !last.is_empty()) {
        text.gauge(name, help);
        for ((machine, target), drills) in &last {
            let labels = [("machine", *machine), ("target", *target)];
            text.sample(name, &labels, value(drills));
        }
    }
}

fn run_text(text: &mut Text, run: &Run) {
    for (name, help, value) in [
        (
            "state_backup_last_run_timestamp_seconds",
            "When the last backup began.",
            run.at.timestamp(),
        ),
        (
            "state_backup_last_run_duration_seconds",
            "How long the last backup took.",
            saturated(run.seconds),
        ),
        (
            "state_backup_last_run_success",
            "Whether the last backup did all of it.",
            i64::from(run.outcome == Outcome::Done),
        ),
    ] {
        text.gauge(name, help);
        text.sample(name, &[], value);
    }
    if !run.targets.is_empty() {
        let name = "state_backup_last_run_target_success";
        text.gauge(
            name,
            "Whether the last backup got to the target and was read back.",
        );
        for (target, is_published) in &run.targets {
            text.sample(name, &[("target", target)], i64::from(*is_published));
        }
    }
}

fn saturated(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

struct Text(String);

impl Text {
    fn gauge(&mut self, name: &str, help: &str) {
        self.0 += &format!("# HELP {name} {help}\n# TYPE {name} gauge\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: i64) {
        let escaped = |text: &str| {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"");
            text.replace('\n', "\\n")
        };
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
            .collect();
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", labels.join(",")),
        };
        writeln!(self.0, "{name}{labels} {value}").expect("a String takes everything");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::proof::Against;
    use chrono::DateTime;

    #[test]
    fn the_newest_archive_of_each_target_is_told() {
        let at = |n| DateTime::from_timestamp(n, 0).unwrap();
        let mut ledger = Ledger::default();
        assert_eq!(text(&ledger), "");
        for (target, id, is_complete) in [
            ("usb", "2", true),
            ("usb", "1", true),
            ("usb", "3", false),
            ("n\"as", "1", true),
        ] {
            ledger.published(Entry {
                target: target.into(),
                machine: "blitzar".into(),
                id: id.into(),
                data_sha256: String::new(),
                data_bytes: 10,
                bytes: 20,
                is_complete,
                published: at(100),
                read_back: (id == "2").then(|| at(101)),
                current: (id == "2").then(|| at(102)),
                damaged: None,
            });
        }
        // What was found damaged is no archive to count on.
        ledger.published(Entry {
            id: "4".into(),
            damaged: Some(at(103)),
            ..ledger.archives[0].clone()
        });
        for (target, at, found) in [
            ("usb", 110, None),
            ("usb", 120, Some("x")),
            ("b2", 130, Some("y")),
        ] {
            ledger.drilled(Drill {
                target: target.into(),
                machine: "blitzar".into(),
                id: "2".into(),
                data_sha256: String::new(),
                at: DateTime::from_timestamp(at, 0).unwrap(),
                entries: 3,
                bytes: 33,
                against: Against::Manifest,
                found: found.map(str::to_owned),
            });
        }
        ledger.last_run = Some(Run {
            at: at(90),
            seconds: 11,
            outcome: Outcome::Partial,
            targets: vec![("usb".into(), true), ("b2".into(), false)],
        });
        let text = text(&ledger);
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                "state_backup_last_run_timestamp_seconds 90",
                "state_backup_last_run_duration_seconds 11",
                "state_backup_last_run_success 0",
                "state_backup_last_run_target_success{target=\"usb\"} 1",
                "state_backup_last_run_target_success{target=\"b2\"} 0",
                "state_archive_current_timestamp_seconds{machine=\"blitzar\",target=\"n\\\"as\"} 100",
                "state_archive_current_timestamp_seconds{machine=\"blitzar\",target=\"usb\"} 102",
                "state_archive_published_timestamp_seconds{machine=\"blitzar\",target=\"n\\\"as\"} 100",
                "state_archive_published_timestamp_seconds{machine=\"blitzar\",target=\"usb\"} 100",
                "state_archive_read_back_timestamp_seconds{machine=\"blitzar\",target=\"n\\\"as\"} 0",
                "state_archive_read_back_timestamp_seconds{machine=\"blitzar\",target=\"usb\"} 101",
                "state_archive_stored_bytes{machine=\"blitzar\",target=\"n\\\"as\"} 10",
                "state_archive_stored_bytes{machine=\"blitzar\",target=\"usb\"} 10",
                "state_archive_content_bytes{machine=\"blitzar\",target=\"n\\\"as\"} 20",
                "state_archive_content_bytes{machine=\"blitzar\",target=\"usb\"} 20",
                "state_drill_proven_timestamp_seconds{machine=\"blitzar\",target=\"b2\"} 0",
                "state_drill_proven_timestamp_seconds{machine=\"blitzar\",target=\"usb\"} 110",
                "state_drill_last_success{machine=\"blitzar\",target=\"b2\"} 0",
                "state_drill_last_success{machine=\"blitzar\",target=\"usb\"} 0",
            ]
        );
        assert!(text.ends_with('\n'));
    }
}
