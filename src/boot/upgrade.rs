//! The units that upgrade blank every night, for the machine's package manager. Pure.

use super::text::{fill, word, words};
use super::unit::Unit;
use crate::persist::PersistTree;
use crate::settings::{Keep, Root};
use std::path::Path;

const UPGRADE: &str = include_str!("../../contrib/systemd/state-blank-upgrade.service");
const UPGRADE_TIMER: &str = include_str!("../../contrib/systemd/state-blank-upgrade.timer");

/// A package manager, by its program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manager {
    /// Where its program is.
    pub sign: &'static str,
    /// What upgrades everything and asks nothing; 75 where there is nothing to upgrade. It stands
    /// in single quotes in a unit: no quote, no `$`, no `%`.
    upgrade: &'static str,
}

/// Those that are known. Only the first was tried.
pub const MANAGERS: [Manager; 3] = [
    Manager {
        sign: "/usr/bin/apt-get",
        upgrade: "apt-get -q update && if apt-get -qs upgrade | grep -q ^Inst; \
                  then apt-get -yq -o Dpkg::Options::=--force-confold upgrade && apt-get clean; else exit 75; fi",
    },
    Manager {
        sign: "/usr/bin/dnf",
        upgrade: "if dnf -q --refresh check-update; then exit 75; else dnf -y upgrade && dnf clean packages; fi",
    },
    Manager {
        sign: "/usr/bin/pacman",
        upgrade: "pacman -Sy --noconfirm && if pacman -Qu; then pacman -Su --noconfirm && pacman -Scc --noconfirm; \
                  else exit 75; fi",
    },
];

/// The units; none where blank cannot be renewed in a copy.
pub fn units(
    root: Option<&Root>,
    manager: Option<Manager>,
    tree: &PersistTree,
    keep: &Keep,
    program: &Path,
) -> Vec<Unit> {
    let (Some(Root::Btrfs { .. }), Some(manager)) = (root, manager) else {
        return Vec::new();
    };
    let program = word(program);
    let stores = words(tree.stores().map(|(store, _)| store), "");
    let prune = match *keep == Keep::default() {
        true => String::new(),
        false => format!("{program} snapshot prune"),
    };
    let blanks = [
        ("@PROGRAM@", program.as_str()),
        ("@STORES@", &stores),
        ("@UPGRADE@", manager.upgrade),
        ("@PRUNE@", &prune),
    ];
    vec![
        ("state-blank-upgrade.service", fill(UPGRADE, &blanks)),
        ("state-blank-upgrade.timer", fill(UPGRADE_TIMER, &blanks)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::Users;
    use crate::settings::Settings;

    fn filled(text: &str) -> Vec<Unit> {
        let settings: Settings = text.parse().unwrap();
        let tree = PersistTree::resolve(&settings, &Users::default()).unwrap();
        let keep = &settings.snapshots.keep;
        units(
            settings.root.as_ref(),
            Some(MANAGERS[0]),
            &tree,
            keep,
            Path::new("/usr/bin/state"),
        )
    }

    #[test]
    fn a_blank_is_upgraded_by_its_package_manager() {
        let text = "[root]\nbackend = \"btrfs\"\ndevice = \"/dev/vda2\"\nsubvolume = \"root\"\n\
                    [persist.\"/persist\"]\n";
        let acts = |text: &str| -> Vec<String> {
            let units = filled(text);
            let lines = units[0].1.lines();
            let is_act = |line: &&str| line.starts_with("Exec") || line.starts_with("Requires");
            lines.filter(is_act).map(str::to_owned).collect()
        };
        let upgrade = "ExecStart=/usr/bin/state blank run -- sh -c 'apt-get -q update && \
                       if apt-get -qs upgrade | grep -q ^Inst; then apt-get -yq -o \
                       Dpkg::Options::=--force-confold upgrade && apt-get clean; else exit 75; fi'";
        assert_eq!(acts(text), ["RequiresMountsFor=/persist", upgrade]);
        let with_rule = format!("{text}[snapshots]\nkeep = {{ last = 5 }}\n");
        let prune = "ExecStartPost=/usr/bin/state snapshot prune";
        assert_eq!(acts(&with_rule)[2], prune);
        assert_eq!(
            filled(
                &text
                    .replace("btrfs", "zfs")
                    .replace("device = \"/dev/vda2\"\nsubvolume", "dataset")
            ),
            []
        );
    }

    #[test]
    fn commands_can_stand_in_a_unit() {
        for manager in MANAGERS {
            let has_special = manager.upgrade.contains(['\'', '$', '%', '\\', '\n', '@']);
            assert!(!has_special, "{}", manager.sign);
        }
    }
}
