//! The stores: mounted, apart from root, with room left.

use super::{Facts, Finding, Severity};
use crate::paths::Shown;

pub(super) fn check(facts: &Facts) -> Option<Vec<Finding>> {
    let erases = facts.config.as_ref().ok()?.settings.root.is_some();
    let mut findings = Vec::new();
    for store in &facts.stores {
        let path = Shown(&store.path);
        let bad = |fact: String| Finding::new("stores", Severity::Bad, fact);
        if !store.exists {
            findings.push(
                bad(format!("the store {path} is not there"))
                    .cure("make it and mount it early: neededForBoot on NixOS, x-initrd.mount in fstab elsewhere"),
            );
        } else if !store.is_apart && erases {
            findings.push(
                bad(format!(
                    "the store {path} lies inside root: the next reset erases it"
                ))
                .cure("mount a volume of its own there, and move what it holds onto that first"),
            );
        } else if !store.is_apart {
            findings.push(
                Finding::new(
                    "stores",
                    Severity::Warn,
                    format!("the store {path} lies inside root"),
                )
                .cure("before root is ever erased, mount a volume of its own there"),
            );
        }
        if store.is_apart
            && store
                .mount
                .as_ref()
                .is_some_and(|mount| mount.is_read_only())
        {
            findings.push(
                bad(format!("the store {path} is read-only"))
                    .cure("`dmesg` says why; nothing is kept until it can be written"),
            );
        }
    }
    Some(findings)
}

/// The least that is left free before somebody is told.
const LOW_BYTES: u64 = 1 << 30;
const LOW_PERCENT: u64 = 5;

pub(super) fn space(facts: &Facts) -> Option<Vec<Finding>> {
    facts.config.as_ref().ok()?;
    let mut findings = Vec::new();
    for store in &facts.stores {
        let Some(space) = store.space.filter(|space| space.total_bytes > 0) else {
            continue;
        };
        let percent = u128::from(space.free_bytes) * 100 / u128::from(space.total_bytes);
        if percent < u128::from(LOW_PERCENT) && space.free_bytes < LOW_BYTES {
            let (path, mib) = (Shown(&store.path), space.free_bytes >> 20);
            let filesystem = store
                .mount
                .as_ref()
                .and_then(|mount| mount.filesystem.to_str());
            let cure = match filesystem {
                Some("btrfs" | "zfs") => {
                    "`state snapshot prune` and `state roots gc` let go what no rule keeps"
                }
                _ => {
                    "`state orphans` tells what nobody declares, `state roots gc` lets go what no rule keeps"
                }
            };
            findings.push(
                Finding::new(
                    "space",
                    Severity::Warn,
                    format!("the store {path} is nearly full: {mib} MiB, {percent} %, are free"),
                )
                .cure(cure),
            );
        }
    }
    Some(findings)
}
