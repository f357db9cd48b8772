//! Root: it is what the configuration says, and a reset can run.

use super::{Facts, Finding, Severity};
use crate::machine::Machine;
use crate::paths::Shown;
use crate::settings::Root;
use std::path::Path;

const CHECK: &str = "root";

pub(super) fn check(facts: &Facts) -> Option<Vec<Finding>> {
    let config = facts.config.as_ref().ok()?;
    let Some(root) = &config.settings.root else {
        return Some(vec![Finding::new(
            CHECK,
            Severity::Note,
            "no root is declared: nothing is erased",
        )]);
    };
    let mut findings = Vec::new();
    findings.extend(is_another(root, &facts.machine));
    for who in facts.machine.root_by_id() {
        let fact = format!("{who} mounts root by its subvolume id, which the first reset changes");
        findings.push(Finding::new(CHECK, Severity::Bad, fact).cure(
            "mount it by name: subvol=NAME in place of subvolid=…, or the machine will not start",
        ));
    }
    let nix = facts.machine.mount_of(Path::new("/nix"));
    if facts.machine.distribution.is_nixos
        && let (Some(root), Some(nix)) = (facts.machine.root(), nix)
        && Machine::is_same_volume(root, nix)
    {
        findings.push(
            Finding::new(
                CHECK,
                Severity::Bad,
                "/nix lies inside root: the next reset erases the system",
            )
            .cure("move it to a volume of its own, mounted at /nix with neededForBoot"),
        );
    }
    Some(findings)
}

/// Whether what is mounted is not what is declared.
fn is_another(root: &Root, machine: &Machine) -> Option<Finding> {
    let mount = machine.root()?;
    let filesystem = mount.filesystem.to_string_lossy();
    let (declared, mounted) = match root {
        Root::Btrfs { subvolume, .. } if filesystem == "btrfs" => (
            format!("subvolume {}", Shown(subvolume)),
            format!(
                "subvolume {}",
                Shown(mount.root.strip_prefix("/").unwrap_or(&mount.root))
            ),
        ),
        Root::Zfs { dataset, .. } if filesystem == "zfs" => (
            format!("dataset {dataset}"),
            format!("dataset {}", mount.source.display()),
        ),
        Root::Btrfs { .. } => ("btrfs".into(), filesystem.into_owned()),
        Root::Zfs { .. } => ("zfs".into(), filesystem.into_owned()),
        Root::Tmpfs { .. } => ("tmpfs".into(), filesystem.into_owned()),
    };
    (declared != mounted).then(|| {
        Finding::new(
            CHECK,
            Severity::Bad,
            format!("root is declared to be {declared}, and {mounted} is mounted"),
        )
        .cure("correct [root], or mount what it says: what is mounted now is never erased")
    })
}
