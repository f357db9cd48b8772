//! The units that save and prove by themselves: the nightly archive, and drills. Pure.

use super::text::{fill, word, words};
use super::unit::Unit;
use crate::persist::PersistTree;
use crate::settings::{Age, Keep, Settings};
use std::path::Path;

const BACKUP: &str = include_str!("../../contrib/systemd/state-backup.service");
const BACKUP_TIMER: &str = include_str!("../../contrib/systemd/state-backup.timer");
const DRILL: &str = include_str!("../../contrib/systemd/state-drill.service");
const DRILL_TIMER: &str = include_str!("../../contrib/systemd/state-drill.timer");

/// The units; none without a target, and no drills where nobody says how old a proof may be.
pub fn units(settings: &Settings, tree: &PersistTree, program: &Path) -> Vec<Unit> {
    if settings.target.is_empty() {
        return Vec::new();
    }
    let program = word(program);
    let stores = words(tree.stores().map(|(store, _)| store), "");
    let mut targets = settings.target.values();
    let prune = match targets.any(|target| target.keep != Keep::default()) {
        true => format!("{program} archives prune"),
        false => String::new(),
    };
    let (often, delay) = settings.drill.max_age.map(often).unwrap_or_default();
    let blanks = [
        ("@PROGRAM@", program.as_str()),
        ("@STORES@", &stores),
        ("@PRUNE@", &prune),
        ("@OFTEN@", often),
        ("@DELAY@", delay),
        (
            "@AC_POWER@",
            if settings.archive.on_battery {
                ""
            } else {
                "true"
            },
        ),
    ];
    let mut units = vec![
        ("state-backup.service", fill(BACKUP, &blanks)),
        ("state-backup.timer", fill(BACKUP_TIMER, &blanks)),
    ];
    if settings.drill.max_age.is_some() {
        units.push(("state-drill.service", fill(DRILL, &blanks)));
        units.push(("state-drill.timer", fill(DRILL_TIMER, &blanks)));
    }
    units
}

/// How often a drill is done, and within which time after that: seldom, and still so that one that
/// fails can be done again before the last proof is too old.
fn often(max_age: Age) -> (&'static str, &'static str) {
    match max_age.span().num_hours() {
        0..36 => ("*-*-* 00/6:30", "30min"),
        36..240 => ("daily", "3h"),
        240..1440 => ("weekly", "1d"),
        _ => ("monthly", "3d"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::enabled_by;
    use super::*;
    use crate::persist::Users;

    fn made(text: &str) -> Vec<Unit> {
        let text = format!("[persist.\"/persist\"]\n{text}");
        let settings: Settings = text.parse().unwrap();
        let tree = PersistTree::resolve(&settings, &Users::parse(b"", b"")).unwrap();
        units(&settings, &tree, Path::new("/opt/state"))
    }

    const USB: &str = "[target.usb]\nurl = \"file:///mnt\"\n";

    fn has(unit: &Unit, wanted: &str) -> bool {
        unit.1.lines().any(|line| line == wanted)
    }

    #[test]
    fn a_backup_has_a_timer_where_there_is_a_target() {
        assert_eq!(made(""), Vec::new());
        let without = made(USB);
        assert!(!without[0].1.contains("prune"), "{}", without[0].1);
        assert_eq!(without.len(), 2);
        let with = made(&format!("{USB}keep = {{ last = 3 }}\n"));
        for line in [
            "RequiresMountsFor=/persist",
            "ExecStart=/opt/state backup",
            "ExecStartPost=/opt/state archives prune",
        ] {
            assert!(has(&with[0], line), "{line}: {}", with[0].1);
        }
        assert_eq!(enabled_by(&with[1].1), ["timers.target.wants"]);
    }

    #[test]
    fn drills_come_often_enough_and_spare_the_battery_where_asked() {
        for (max_age, often) in [
            ("12 h", "*-*-* 00/6:30"),
            ("2 d", "daily"),
            ("14 d", "weekly"),
            ("90 d", "monthly"),
        ] {
            let drill = format!("{USB}[drill]\nmax-age = \"{max_age}\"\n");
            let units = made(&drill);
            assert!(has(&units[2], "ExecStart=/opt/state drill"));
            assert!(has(&units[3], &format!("OnCalendar={often}")));
            assert!(!units.iter().any(|unit| unit.1.contains("ACPower")));
            let mains = made(&format!("{drill}[archive]\non-battery = false\n"));
            for n in [0, 2] {
                assert!(has(&mains[n], "ConditionACPower=true"), "{}", mains[n].1);
            }
            assert!(mains.iter().all(|unit| !unit.1.contains('@')));
        }
    }
}
