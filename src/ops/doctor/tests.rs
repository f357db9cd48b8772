//! Every finding, from a machine where all is well and one thing changed.

mod drills;
mod sealing;

use super::*;
use crate::ops::look::{Place, Placed, Space};
use crate::ops::seal::Believed;
use crate::persist;
use crate::record::Outcome;
use crate::settings::Settings;
use chrono::{DateTime, TimeDelta};
use state_api::{Error, Leftover, PastRoot, Refusal};
use std::path::Path;

/// A machine where all is well, with an engine that says so.
fn well() -> Facts {
    let root_dir =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/machines/nixos-btrfs");
    let cx = Context {
        now: "2026-11-21T12:00:00Z".parse().unwrap(),
        boot_id: "6d3f20c1-96c1-4b53-a1de-3f6f8f7e0a11".into(),
        ..Context::below(root_dir)
    };
    let mut facts = facts(&cx).unwrap();
    facts.root = Some(Ok(RootFacts {
        root: "/dev/vda2[root]".into(),
        exists: true,
        mounted_at: vec!["/".into()],
        blank: None,
        previous_blank: None,
        past_roots: vec![],
        leftovers: vec![],
        refusals: vec![Refusal::RootMounted {
            root: "root".into(),
            at: "/".into(),
        }],
    }));
    facts.entries = Some(vec![]);
    for store in &mut facts.stores {
        store.space = Some(Space {
            free_bytes: 50 << 30,
            total_bytes: 100 << 30,
        });
    }
    facts
}

/// The findings as `check severity: fact`.
pub(super) fn found(change: impl FnOnce(&mut Facts)) -> Vec<String> {
    let mut facts = well();
    change(&mut facts);
    let findings = judge(&facts).findings.into_iter();
    findings
        .map(|finding| format!("{} {:?}: {}", finding.check, finding.severity, finding.fact))
        .collect()
}

fn engine(facts: &mut Facts) -> &mut RootFacts {
    facts.root.as_mut().unwrap().as_mut().unwrap()
}

fn placed(path: &str, place: Place) -> Placed {
    Placed {
        path: path.into(),
        place,
    }
}

fn store_missing() -> Place {
    Place::Stuck {
        why: "the store /persist cannot be used: it does not exist".into(),
        hint: None,
    }
}

#[test]
fn all_is_well() {
    assert_eq!(found(|_| {}), [""; 0]);
    // NixOS makes initrds its own way, and it makes no archives.
    assert_eq!(
        judge(&well()).skipped,
        ["initrd", "loader", "kernels", "keys", "drill"]
    );
}

#[test]
fn what_lies_below_an_overlay_is_no_fault_where_it_is_looked_at_from_outside() {
    let overlay = |facts: &mut Facts, is_running| {
        let text = "[root]\nbackend = \"overlay\"\ndevice = \"/dev/disk/by-uuid/1\"";
        let settings: Settings = text.parse().unwrap();
        facts.config.as_mut().unwrap().settings.root = settings.root;
        facts.machine.is_running = is_running;
        engine(facts).refusals = vec![Refusal::Unsafe {
            fact: "the lower layer is mounted writable".into(),
            cure: String::new(),
        }];
    };
    let of_root = |found: Vec<String>| -> Vec<String> {
        let found = found.into_iter();
        found.filter(|line| line.starts_with("root ")).collect()
    };
    assert_eq!(of_root(found(|facts| overlay(facts, false))), [""; 0]);
    assert_eq!(
        of_root(found(|facts| overlay(facts, true))),
        [
            "root Bad: root is declared to be overlay, and btrfs is mounted",
            "root Bad: the lower layer is mounted writable"
        ]
    );
}

#[test]
fn each_fault_is_found() {
    type Change = fn(&mut Facts);
    let table: &[(Change, &[&str])] = &[
        (
            |facts| facts.now = DateTime::UNIX_EPOCH,
            &["clock Warn: the clock says 1970-01-01"],
        ),
        (
            |facts| facts.now -= TimeDelta::hours(2),
            &[
                "clock Warn: the clock went backwards: root was reset at 2026-11-21 11:37, and now it is 2026-11-21 10:00",
            ],
        ),
        (
            |facts| facts.lock_holder = Some(42),
            &["lock Note: another run of state is changing something (pid 42)"],
        ),
        (
            |facts| {
                facts.kernels = Some(kernels::Seen {
                    starts: vec!["6.1.0-9".into(), "6.1.0-10".into()],
                    modules: vec!["6.1.0-9".into()],
                });
            },
            &[
                "kernels Bad: the newest kernel, 6.1.0-10, has no modules in blank: after the next reset there is no network, nor much else that needs a module",
            ],
        ),
        (
            |facts| facts.updater = Some(("unattended-upgrades", "apt-daily-upgrade.timer")),
            &[
                "updates Warn: unattended-upgrades installs into root: what it upgrades, for security too, is gone after the next boot",
            ],
        ),
        (
            |facts| facts.unwatched = 2,
            &["watch Bad: the changes of 2 copied files are not saved: nobody watches them"],
        ),
        (
            |facts| {
                let text = "[persist.\"/persist\"]\nfiles = [\"/etc/shadow\", \
                            { path = \"/etc/passwd\", method = \"copy\" }]";
                let users = persist::Users::default();
                let tree = PersistTree::resolve(&text.parse().unwrap(), &users).unwrap();
                facts.tree = Some(tree);
                facts.precious = Vec::new();
            },
            &[
                "watch Warn: programs replace /etc/shadow by a new file, which its method does not let them",
            ],
        ),
        (
            |facts| facts.modes = vec![("/persist/var/lib/private".into(), 0o755)],
            &[
                "entries Bad: /persist/var/lib/private has mode 0755: services with users of their own do not start",
            ],
        ),
        (
            |facts| facts.record = Ok(None),
            &["boot Bad: nothing tells that root was reset at this boot"],
        ),
        (
            |facts| {
                let record = facts.record.as_mut().unwrap().as_mut().unwrap();
                record.outcome = Outcome::Skipped;
            },
            &["boot Bad: root was not reset at this boot: the kernel command line said state.skip"],
        ),
        (
            |facts| facts.record = Err("reading the boot record: not a boot record".into()),
            &["boot Bad: reading the boot record: not a boot record"],
        ),
        (
            |facts| {
                facts.stores[0].space = Some(Space {
                    free_bytes: 100 << 20,
                    total_bytes: 100 << 30,
                });
            },
            &["space Warn: the store /persist is nearly full: 100 MiB, 0 %, are free"],
        ),
        (
            |facts| facts.stores[0].exists = false,
            &["stores Bad: the store /persist is not there"],
        ),
        (
            |facts| facts.stores[0].is_apart = false,
            &["stores Bad: the store /persist lies inside root: the next reset erases it"],
        ),
        (
            |facts| facts.stores[0].mount.as_mut().unwrap().options = "ro,noatime".into(),
            &["stores Bad: the store /persist is read-only"],
        ),
        (
            |facts| facts.store_copy = Some(look::StoreCopy::Missing),
            &[
                "configuration Bad: the store has no copy of the configuration: the next reset erases it",
            ],
        ),
        (
            |facts| {
                facts
                    .machine
                    .mounts
                    .retain(|mount| mount.at != Path::new("/nix"))
            },
            &["root Bad: /nix lies inside root: the next reset erases the system"],
        ),
        (
            |facts| {
                engine(facts).refusals.push(Refusal::NoBlank {
                    blank: "root-blank".into(),
                    root_exists: true,
                });
            },
            &["root Bad: root-blank does not exist"],
        ),
        (
            |facts| {
                engine(facts).leftovers.push(Leftover::Outgoing {
                    name: "root.new".into(),
                });
            },
            &["root Note: an interrupted reset left root.new, a root that was not put away"],
        ),
        (
            |facts| {
                facts.root = Some(Err(Error::os(
                    "opening /dev/vda2",
                    std::io::ErrorKind::PermissionDenied,
                )
                .into()));
            },
            &["root Note: root cannot be looked at: opening /dev/vda2: permission denied"],
        ),
        (
            |facts| facts.root = Some(Err(anyhow::anyhow!("no such device"))),
            &["root Bad: root cannot be looked at: no such device"],
        ),
        (
            |facts| {
                facts.entries = Some(vec![
                    placed("/a", Place::InPlace),
                    placed("/b\n", Place::NotYet),
                    placed("/c", Place::NotYet),
                    placed(
                        "/d",
                        Place::LeftOut {
                            why: "it is not in the store yet".into(),
                        },
                    ),
                    placed(
                        "/e",
                        Place::Stuck {
                            why: "it holds 2 things that exist nowhere else, x first".into(),
                            hint: None,
                        },
                    ),
                    placed("/f", store_missing()),
                    placed("/g", store_missing()),
                ]);
            },
            &[
                "entries Bad: /e: it holds 2 things that exist nowhere else, x first",
                "entries Bad: 2 entries, /f first: the store /persist cannot be used: it does not exist",
                "entries Bad: 2 of 7 entries are not in place, /b\\n first",
            ],
        ),
    ];
    for (change, expected) in table {
        assert_eq!(found(change), *expected);
    }
}

#[test]
fn past_roots_pile_up_when_nobody_collects_them() {
    let past = |day: u32| PastRoot {
        name: format!("202601{day:02}T000000Z-6d3f20c1").parse().unwrap(),
        rotated_at: Some(format!("2026-01-{day:02}T00:00:00Z").parse().unwrap()),
        sequence: day.into(),
        is_pinned: false,
        needed_by: Vec::new(),
    };
    let with =
        |count: u32| found(|facts| engine(facts).past_roots = (1..=count).map(past).collect());
    assert_eq!(
        with(7),
        [""; 0],
        "two are due: the next collection takes them"
    );
    assert_eq!(
        with(8),
        ["root Warn: past roots pile up: 3 of 8 are kept by no rule"]
    );
}
