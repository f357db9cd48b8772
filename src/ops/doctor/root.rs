//! Root: it is what the configuration says, and a reset can run.

use super::{Facts, Finding, Severity};
use crate::engine;
use crate::failure::message;
use crate::machine::Machine;
use crate::paths::Shown;
use crate::retention;
use crate::settings::Root;
use chrono::{DateTime, Utc};
use state_api::{Error, Leftover, PastRoot, Refusal};
use std::io;
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
    if !is_below_overlay(facts) {
        findings.extend(is_another(root, &facts.machine));
    }
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
    match &facts.root {
        None => {}
        Some(Err(error)) => findings.push(unreachable(error)),
        Some(Ok(told)) => {
            let speaks = told
                .refusals
                .iter()
                .filter(|refusal| !is_expected(refusal, facts));
            findings.extend(speaks.map(|refusal| Finding {
                cure: refusal.hint(),
                ..Finding::new(CHECK, Severity::Bad, refusal.to_string())
            }));
            findings.extend(told.leftovers.iter().map(leftover));
            findings.extend(piling_up(root, &told.past_roots, facts.now));
        }
    }
    Some(findings)
}

/// An engine that does not answer an ordinary user is no finding about the machine.
fn unreachable(error: &anyhow::Error) -> Finding {
    let told = error.downcast_ref::<Error>();
    let is_denied = matches!(told, Some(Error::Os { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied);
    let severity = if is_denied {
        Severity::Note
    } else {
        Severity::Bad
    };
    let fact = format!("root cannot be looked at: {}", message(error));
    Finding {
        cure: told.and_then(Error::hint),
        ..Finding::new(CHECK, severity, fact)
    }
}

/// What speaks against a reset *now* and is as it should be on a machine that runs, or is found
/// from the machine's files already.
fn is_expected(refusal: &Refusal, facts: &Facts) -> bool {
    match refusal {
        // Where it is looked at, below --root, is no obstacle to the reset at its next start.
        Refusal::RootMounted { at, .. } => facts.machine.is_running || *at == facts.root_dir,
        // The lower layer is written to while it is installed.
        Refusal::Unsafe { .. } => is_below_overlay(facts),
        Refusal::RootMountedById { .. } => !facts.machine.root_by_id().is_empty(),
        _ => false,
    }
}

/// Whether a machine with an overlay is looked at from outside: what is mounted is what lies below.
fn is_below_overlay(facts: &Facts) -> bool {
    let config = facts.config.as_ref();
    let root = config.ok().and_then(|config| config.settings.root.as_ref());
    matches!(root, Some(Root::Overlay { .. })) && !facts.machine.is_running
}

fn leftover(leftover: &Leftover) -> Finding {
    let (name, what) = match leftover {
        Leftover::Staged { name } => (name, "a new root that nobody started"),
        Leftover::Outgoing { name } => (name, "a root that was not put away"),
    };
    Finding::new(
        CHECK,
        Severity::Note,
        format!("an interrupted reset left {name}, {what}"),
    )
    .cure("the next reset finishes it")
}

/// So many that no rule keeps mean that nobody collects them.
const MANY_DUE: usize = 3;

fn piling_up(root: &Root, past: &[PastRoot], now: DateTime<Utc>) -> Option<Finding> {
    let due = retention::past_roots(past, engine::past_roots(root), now)
        .iter()
        .filter(|verdict| !verdict.is_kept())
        .count();
    (due >= MANY_DUE).then(|| {
        let fact = format!(
            "past roots pile up: {due} of {} are kept by no rule",
            past.len()
        );
        Finding::new(CHECK, Severity::Warn, fact)
            .cure("`state roots gc`, and see why its timer does not run")
    })
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
        Root::Overlay { .. } => ("overlay".into(), filesystem.into_owned()),
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
