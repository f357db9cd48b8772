//! Updates that install themselves: into root, from where the next reset takes them away.

use super::{Facts, Finding, Severity};
use crate::context::Context;
use crate::settings::Root;

/// What updates a machine by itself, by what it installs and the timer that starts it.
const UPDATERS: [(&str, &str, &str); 4] = [
    (
        "unattended-upgrades",
        "/usr/bin/unattended-upgrade",
        "apt-daily-upgrade.timer",
    ),
    (
        "dnf-automatic",
        "/usr/bin/dnf-automatic",
        "dnf-automatic.timer",
    ),
    (
        "dnf-automatic",
        "/usr/bin/dnf-automatic",
        "dnf-automatic-install.timer",
    ),
    ("dnf-automatic", "/usr/bin/dnf5", "dnf5-automatic.timer"),
];
const WANTS: &str = "/etc/systemd/system/timers.target.wants";

/// An updater that is enabled, and its timer.
pub(super) type Updater = (&'static str, &'static str);

pub(super) fn look(cx: &Context) -> Option<Updater> {
    let is_there = |path: &str| cx.rooted(path).symlink_metadata().is_ok();
    UPDATERS
        .into_iter()
        .find(|(_, program, timer)| is_there(program) && is_there(&format!("{WANTS}/{timer}")))
        .map(|(name, _, timer)| (name, timer))
}

pub(super) fn check(facts: &Facts) -> Option<Vec<Finding>> {
    let root = facts.config.as_ref().ok()?.settings.root.as_ref()?;
    let Some((name, timer)) = facts.updater else {
        return Some(Vec::new());
    };
    let fact = format!(
        "{name} installs into root: what it upgrades, for security too, is gone after the next boot"
    );
    let cure = match root {
        Root::Btrfs { .. } => format!(
            "`state blank run -- sh -c 'systemctl disable {timer} && systemctl enable \
             state-blank-upgrade.timer'`: that upgrades blank (docs/blank.md)"
        ),
        _ => format!("disable {timer} in blank, and renew blank by hand (docs/blank.md)"),
    };
    Some(vec![
        Finding::new("updates", Severity::Warn, fact).cure(cure),
    ])
}
