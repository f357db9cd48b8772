//! Surveys and the plans made from them: every state a machine can be found in.
#![forbid(unsafe_code)]

use state_api::{
    Leftover, Outcome, Plan, Refusal, Reset, Result, Retire, RootBackend, Source, View,
};
use state_zfs::{Dataset, DatasetKind, Kernel, Pool, Property, Step, Survey, Zfs, ZfsSnapshot};
use std::path::{Path, PathBuf};

/// Planning asks the kernel nothing.
struct NoKernel;

#[rustfmt::skip]
impl Kernel for NoKernel {
    fn pool(&self, _: &str) -> Result<Pool> { unreachable!() }
    fn datasets(&self, _: &str) -> Result<Vec<Dataset>> { unreachable!() }
    fn snapshots(&self, _: &str) -> Result<Vec<ZfsSnapshot>> { unreachable!() }
    fn resolves(&self, _: &str, _: &Path) -> Result<bool> { unreachable!() }
    fn snapshot(&mut self, _: &[String]) -> Result<()> { unreachable!() }
    fn rollback(&mut self, _: &str) -> Result<()> { unreachable!() }
    fn clone_snapshot(&mut self, _: &str, _: &str, _: &[Property]) -> Result<()> { unreachable!() }
    fn promote(&mut self, _: &str) -> Result<()> { unreachable!() }
    fn rename(&mut self, _: &str, _: &str) -> Result<()> { unreachable!() }
    fn create(&mut self, _: &str, _: &[Property]) -> Result<()> { unreachable!() }
    fn destroy(&mut self, _: &str) -> Result<()> { unreachable!() }
    fn set(&mut self, _: &str, _: &[Property]) -> Result<Outcome> { unreachable!() }
    fn inherit(&mut self, _: &str, _: &str) -> Result<Outcome> { unreachable!() }
    fn set_bootfs(&mut self, _: &str, _: &str) -> Result<Outcome> { unreachable!() }
    fn open(&self, _: &str) -> Result<View> { unreachable!() }
}

fn zfs() -> Zfs<NoKernel> {
    Zfs::new(NoKernel, "p/root", "blank").unwrap()
}

/// A dataset made in transaction group `txg`; its guid is the same number.
fn dataset(name: &str, txg: u64) -> Dataset {
    Dataset {
        name: name.into(),
        kind: DatasetKind::Filesystem,
        guid: txg,
        createtxg: txg,
        creation_seconds: 1_000_000_000,
        origin: None,
        mounted_at: Vec::new(),
        encryption_root: None,
        has_loaded_key: true,
        properties: vec![Property::new("mountpoint", "legacy")],
    }
}

fn clone_of(origin: &str, name: &str, txg: u64) -> Dataset {
    Dataset {
        origin: Some(origin.into()),
        ..dataset(name, txg)
    }
}

fn with(dataset: Dataset, properties: &[(&str, &str)]) -> Dataset {
    let properties = properties.iter().map(|(n, v)| Property::new(*n, *v));
    Dataset {
        properties: dataset.properties.into_iter().chain(properties).collect(),
        ..dataset
    }
}

fn retired(dataset: Dataset) -> Dataset {
    with(dataset, &[("canmount", "noauto"), ("readonly", "on")])
}

fn snapshot(name: &str, txg: u64, clones: &[&str]) -> ZfsSnapshot {
    ZfsSnapshot {
        name: name.into(),
        guid: txg,
        createtxg: txg,
        creation_seconds: 1_000_000_000,
        clones: clones.iter().map(|c| (*c).into()).collect(),
        holds: Vec::new(),
    }
}

fn survey(root: Vec<Dataset>, past: Vec<Dataset>, snapshots: Vec<ZfsSnapshot>) -> Survey {
    let mut past_roots = Vec::new();
    if !past.is_empty() {
        past_roots.push(dataset("p/past-roots", 15));
        past_roots.extend(past);
    }
    Survey {
        pool: Pool {
            name: "p".into(),
            guid: 1,
            is_read_only: false,
            bootfs: None,
        },
        root,
        past_roots,
        snapshots,
        blank_has_init: Some(false),
    }
}

/// As installed: root with its blank, nothing else.
fn installed() -> Survey {
    let blank = snapshot("p/root@blank", 11, &[]);
    survey(vec![dataset("p/root", 10)], vec![], vec![blank])
}

/// After one reset.
fn in_use() -> Survey {
    survey(
        vec![dataset("p/root", 20)],
        vec![retired(clone_of("p/root@blank", "p/past-roots/a", 10))],
        vec![snapshot("p/root@blank", 11, &["p/past-roots/a"])],
    )
}

fn ask(retire: &str, source: Option<&str>) -> Reset {
    Reset {
        retire: match retire {
            "" => Retire::GiveUp,
            name => Retire::Keep(name.parse().unwrap()),
        },
        source: source.map(|source| match source {
            "" => Source::Blank,
            name => Source::Past(name.parse().unwrap()),
        }),
        needs_init: false,
    }
}

fn text(plan: Result<Plan<Step>>) -> Vec<String> {
    plan.unwrap().steps.iter().map(Step::to_string).collect()
}

fn reset(survey: &Survey, retire: &str, source: Option<&str>) -> Vec<String> {
    text(zfs().plan_reset(survey, &ask(retire, source)))
}

fn refused(plan: Result<Plan<Step>>) -> Refusal {
    match plan {
        Err(state_api::Error::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn the_first_reset_makes_the_place_for_past_roots() {
    assert_eq!(
        reset(&installed(), "b", Some("")),
        [
            "create p/past-roots",
            "rename p/root to p/past-roots/b",
            "clone p/past-roots/b@blank to p/root",
            "promote p/root",
            "set canmount=noauto, readonly=on of p/past-roots/b",
        ]
    );
}

#[test]
fn a_clone_gets_what_was_set_on_root_and_names_its_way_back() {
    let mut survey = installed();
    survey.root = vec![with(dataset("p/root", 10), &[("a:b", "c d")])];
    let plan = zfs().plan_reset(&survey, &ask("b", Some(""))).unwrap();
    let undo = state_zfs::Undo {
        root: "p/root".into(),
        outgoing: "p/past-roots/b".into(),
        guid: 10,
    };
    assert_eq!(
        plan.steps[2],
        Step::Clone {
            snapshot: "p/past-roots/b@blank".into(),
            to: "p/root".into(),
            properties: vec![
                Property::new("a:b", "c d"),
                Property::new("mountpoint", "legacy"),
            ],
            undo: Some(undo),
        }
    );
}

#[test]
fn bootfs_is_set_back() {
    let mut survey = in_use();
    survey.pool.bootfs = Some("p/root".into());
    assert_eq!(
        reset(&survey, "b", Some("")),
        [
            "rename p/root to p/past-roots/b",
            "clone p/past-roots/b@blank to p/root",
            "boot p from p/root",
            "promote p/root",
            "set canmount=noauto, readonly=on of p/past-roots/b",
        ]
    );
    survey.pool.bootfs = Some("p/other".into());
    assert_eq!(reset(&survey, "b", Some("")).len(), 4);
}

#[test]
fn a_root_that_mounts_itself_is_finished_before_it_may() {
    let mut survey = in_use();
    survey.root[0].properties = vec![Property::new("mountpoint", "/")];
    assert_eq!(
        reset(&survey, "b", Some("")),
        [
            "rename p/root to p/past-roots/b",
            "clone p/past-roots/b@blank to p/root",
            "promote p/root",
            "set canmount=noauto, readonly=on of p/past-roots/b",
            "set canmount=on of p/root",
            "remove org.state:pending-canmount of p/root",
        ]
    );
}

#[test]
fn skipping_does_nothing_when_nothing_is_left_over() {
    let nothing: [&str; 0] = [];
    assert_eq!(reset(&in_use(), "b", None), nothing);
    // Not even a reason to refuse stands against doing nothing.
    let mut mounted = in_use();
    mounted.root[0].mounted_at = vec!["/".into()];
    assert_eq!(reset(&mounted, "b", None), nothing);
}

#[test]
fn renamed_but_not_cloned_is_completed() {
    let mut survey = survey(
        vec![],
        vec![dataset("p/past-roots/a", 20)],
        vec![snapshot("p/past-roots/a@blank", 11, &[])],
    );
    survey.pool.bootfs = Some("p/past-roots/a".into());
    let facts = zfs().facts(&survey);
    assert!(!facts.exists);
    let outgoing = Leftover::Outgoing {
        name: "p/past-roots/a".into(),
    };
    assert_eq!(facts.leftovers, [outgoing]);
    assert_eq!(facts.blank.unwrap().name, "p/past-roots/a@blank");
    for (retire, source) in [("b", Some("")), ("", Some("")), ("b", None)] {
        assert_eq!(
            reset(&survey, retire, source),
            [
                "clone p/past-roots/a@blank to p/root",
                "boot p from p/root",
                "promote p/root",
                "set canmount=noauto, readonly=on of p/past-roots/a",
            ],
            "{retire} {source:?}"
        );
    }
}

#[test]
fn cloned_but_not_promoted_is_completed_and_put_away_if_blank_is_asked_for() {
    let origin = "p/past-roots/a@blank";
    let survey = survey(
        vec![clone_of(origin, "p/root", 30)],
        vec![dataset("p/past-roots/a", 20)],
        vec![snapshot(origin, 11, &["p/root"])],
    );
    let rest = [
        "promote p/root",
        "set canmount=noauto, readonly=on of p/past-roots/a",
    ];
    assert_eq!(
        reset(&survey, "b", Some("")),
        [
            &rest[..],
            &[
                "rename p/root to p/past-roots/b",
                "clone p/past-roots/b@blank to p/root",
                "promote p/root",
                "set canmount=noauto, readonly=on of p/past-roots/b",
            ]
        ]
        .concat()
    );
    assert_eq!(
        reset(&survey, "", Some("")),
        [&rest[..], &["roll back to p/root@blank"]].concat()
    );
    assert_eq!(reset(&survey, "b", None), rest);
}

#[test]
fn promoted_but_not_put_away_is_completed() {
    let mut survey = in_use();
    survey.past_roots[1] = clone_of("p/root@blank", "p/past-roots/a", 10);
    survey.root = vec![with(
        dataset("p/root", 20),
        &[("org.state:pending-refreservation", "512")],
    )];
    assert_eq!(
        reset(&survey, "b", None),
        [
            "set canmount=noauto, readonly=on of p/past-roots/a",
            "set refreservation=512 of p/root",
            "remove org.state:pending-refreservation of p/root",
        ]
    );
}

#[test]
fn giving_up_names_each_newer_snapshot_and_bookmark() {
    let mut survey = in_use();
    survey.snapshots.extend([
        snapshot("p/root@user", 25, &[]),
        snapshot("p/root#mark", 26, &[]),
        snapshot("p/root@older", 9, &[]),
    ]);
    assert_eq!(
        reset(&survey, "", Some("")),
        [
            "destroy p/root#mark",
            "destroy p/root@user",
            "roll back to p/root@blank",
        ]
    );
    for (clones, holds) in [(&["p/x"][..], &[][..]), (&[], &["keep"])] {
        let user = survey
            .snapshots
            .iter_mut()
            .find(|s| s.name == "p/root@user");
        let user = user.unwrap();
        user.clones = clones.iter().map(|c| (*c).into()).collect();
        user.holds = holds.iter().map(|h| (*h).into()).collect();
        assert_eq!(
            refused(zfs().plan_reset(&survey, &ask("", Some("")))),
            Refusal::Held {
                snapshot: "p/root@user".into(),
                by: [clones, holds]
                    .concat()
                    .iter()
                    .map(|b| (*b).into())
                    .collect(),
            }
        );
        // Root that is kept keeps its snapshots.
        assert_eq!(reset(&survey, "b", Some("")).len(), 4);
    }
}

/// Root with a child that has a blank of its own.
fn with_child() -> Survey {
    survey(
        vec![dataset("p/root", 20), dataset("p/root/var", 21)],
        vec![],
        vec![
            snapshot("p/root@blank", 30, &[]),
            snapshot("p/root/var@blank", 30, &[]),
        ],
    )
}

#[test]
fn children_go_with_root_and_come_back_blank() {
    assert_eq!(
        reset(&with_child(), "b", Some("")),
        [
            "create p/past-roots",
            "rename p/root to p/past-roots/b",
            "clone p/past-roots/b@blank to p/root",
            "clone p/past-roots/b/var@blank to p/root/var",
            "promote p/root",
            "promote p/root/var",
            "set canmount=noauto, readonly=on of p/past-roots/b",
            "set canmount=noauto, readonly=on of p/past-roots/b/var",
        ]
    );
    assert_eq!(
        reset(&with_child(), "", Some("")),
        ["roll back to p/root/var@blank", "roll back to p/root@blank"]
    );
}

#[test]
fn a_store_inside_root_is_refused_though_it_has_a_blank() {
    let mut survey = with_child();
    survey.root[1].properties = vec![Property::new("mountpoint", "/persist")];
    let expected = Refusal::InsideRoot {
        what: "p/root/var".into(),
        root: "p/root".into(),
    };
    for engine in [
        zfs().protecting(Path::new("/persist")),
        zfs().protecting_dataset("p/root/var"),
    ] {
        for retire in ["b", ""] {
            let plan = engine.plan_reset(&survey, &ask(retire, Some("")));
            assert_eq!(refused(plan), expected);
        }
    }
}

#[test]
fn a_child_cut_off_is_cloned_too() {
    let survey = survey(
        vec![clone_of("p/past-roots/a@blank", "p/root", 40)],
        vec![
            dataset("p/past-roots/a", 20),
            dataset("p/past-roots/a/var", 21),
        ],
        vec![
            snapshot("p/past-roots/a@blank", 30, &["p/root"]),
            snapshot("p/past-roots/a/var@blank", 30, &[]),
        ],
    );
    assert_eq!(
        reset(&survey, "b", None),
        [
            "clone p/past-roots/a/var@blank to p/root/var",
            "promote p/root",
            "promote p/root/var",
            "set canmount=noauto, readonly=on of p/past-roots/a",
            "set canmount=noauto, readonly=on of p/past-roots/a/var",
        ]
    );
}

#[test]
fn a_past_root_can_be_booted_and_stays() {
    let survey = in_use();
    assert_eq!(
        reset(&survey, "b", Some("a")),
        [
            "snapshot p/past-roots/a@state-source",
            "rename p/root to p/past-roots/b",
            "clone p/past-roots/a@state-source to p/root",
            "set canmount=noauto, readonly=on of p/past-roots/b",
        ]
    );
    assert!(matches!(
        zfs().plan_reset(&survey, &ask("b", Some("nobody"))),
        Err(state_api::Error::Missing { .. })
    ));
}

/// A past root was booted: blank stayed with the root that made room for it.
fn past_root_booted() -> Survey {
    let source = "p/past-roots/a@state-source";
    survey(
        vec![clone_of(source, "p/root", 40)],
        vec![
            retired(clone_of("p/past-roots/b@blank", "p/past-roots/a", 10)),
            retired(dataset("p/past-roots/b", 20)),
        ],
        vec![
            snapshot("p/past-roots/b@blank", 11, &["p/past-roots/a"]),
            snapshot(source, 35, &["p/root"]),
        ],
    )
}

#[test]
fn after_a_past_root_was_booted_blank_comes_back() {
    let survey = past_root_booted();
    assert_eq!(zfs().facts(&survey).leftovers, []);
    assert_eq!(zfs().facts(&survey).refusals, []);
    assert_eq!(
        reset(&survey, "c", Some("")),
        [
            "rename p/root to p/past-roots/c",
            "clone p/past-roots/b@blank to p/root",
            "promote p/root",
            "set canmount=noauto, readonly=on of p/past-roots/c",
        ]
    );
    // There is nothing to roll back to: it is kept, under the time it was made at.
    assert_eq!(
        reset(&survey, "", Some(""))[0],
        "rename p/root to p/past-roots/20010909T014640Z-00000000"
    );
}

#[test]
fn what_speaks_against_a_reset_refuses_it() {
    type Change = fn(&mut Survey);
    let cases: [(Change, Refusal); 8] = [
        (
            |s| s.pool.is_read_only = true,
            Refusal::ReadOnly {
                what: "pool p".into(),
            },
        ),
        (
            |s| s.root[0].mounted_at = vec!["/sysroot".into()],
            Refusal::RootMounted {
                root: "p/root".into(),
                at: "/sysroot".into(),
            },
        ),
        (
            |s| s.snapshots.clear(),
            Refusal::NoBlank {
                blank: "p/root@blank".into(),
                root_exists: true,
            },
        ),
        (
            |s| {
                s.snapshots.clear();
                s.root.clear();
            },
            Refusal::NoBlank {
                blank: "p/root@blank".into(),
                root_exists: false,
            },
        ),
        (
            |s| s.root.push(dataset("p/root/nix", 12)),
            Refusal::ChildWithoutBlank {
                child: "p/root/nix".into(),
            },
        ),
        (
            |s| {
                s.root.push(Dataset {
                    kind: DatasetKind::Volume,
                    ..dataset("p/root/swap", 12)
                });
            },
            Refusal::InsideRoot {
                what: "p/root/swap".into(),
                root: "p/root".into(),
            },
        ),
        (
            |s| s.root[0].kind = DatasetKind::Volume,
            Refusal::NotWhatItClaims {
                name: "p/root".into(),
                expected: "a filesystem".into(),
            },
        ),
        (
            |s| {
                s.past_roots[1].properties.clear();
                s.past_roots[1].mounted_at = vec![PathBuf::from("/mnt")];
            },
            Refusal::InUse {
                what: "p/past-roots/a".into(),
                by: "a mount at /mnt".into(),
            },
        ),
    ];
    for (change, refusal) in cases {
        let mut survey = in_use();
        change(&mut survey);
        for retire in ["b", ""] {
            let plan = zfs().plan_reset(&survey, &ask(retire, Some("")));
            assert_eq!(refused(plan), refusal);
        }
        assert_eq!(zfs().facts(&survey).refusals, [refusal]);
    }
    let taken = refused(zfs().plan_reset(&in_use(), &ask("a", Some(""))));
    assert_eq!(taken.to_string(), "p/past-roots/a exists already");
    let mut own_key = in_use();
    own_key.root[0].encryption_root = Some("p/root".into());
    assert_eq!(
        refused(zfs().plan_reset(&own_key, &ask("b", Some("")))).to_string(),
        "p/root has a key of its own, which its successor would lose"
    );
    assert_eq!(reset(&own_key, "", Some("")), ["roll back to p/root@blank"]);
    // Before the key is loaded there is nothing to lose.
    own_key.root[0].has_loaded_key = false;
    assert_eq!(reset(&own_key, "b", Some("")).len(), 4);
    own_key.root[0].has_loaded_key = true;
    own_key.root[0].encryption_root = Some("p".into());
    assert_eq!(reset(&own_key, "b", Some("")).len(), 4);
    let mut init = ask("b", Some(""));
    init.needs_init = true;
    assert_eq!(
        refused(zfs().plan_reset(&in_use(), &init)),
        Refusal::BlankWithoutInit {
            blank: "p/root@blank".into()
        }
    );
}

fn delete(survey: &Survey, past: &str) -> Result<Plan<Step>> {
    zfs().plan_delete(survey, &past.parse().unwrap())
}

#[test]
fn a_past_root_goes_alone() {
    let mut survey = in_use();
    survey
        .snapshots
        .push(snapshot("p/past-roots/a@user", 14, &[]));
    survey
        .past_roots
        .push(retired(dataset("p/past-roots/a/var", 12)));
    assert_eq!(
        text(delete(&survey, "a")),
        [
            "destroy p/past-roots/a@user",
            "destroy p/past-roots/a/var",
            "destroy p/past-roots/a",
        ]
    );
}

#[test]
fn what_others_need_goes_over_to_them() {
    let survey = past_root_booted();
    assert_eq!(
        text(delete(&survey, "a")),
        ["promote p/root", "destroy p/past-roots/a"]
    );
    assert_eq!(
        text(delete(&survey, "b")),
        ["promote p/past-roots/a", "destroy p/past-roots/b"]
    );
}

#[test]
fn a_past_root_that_is_needed_is_not_deleted() {
    let mut pinned = in_use();
    pinned.past_roots[1] = with(pinned.past_roots[1].clone(), &[("org.state:pinned", "on")]);
    let mut unfinished = in_use();
    unfinished.past_roots[1].properties.clear();
    let mut mounted = in_use();
    mounted.past_roots[1].mounted_at = vec!["/mnt".into()];
    let mut held = in_use();
    held.snapshots.push(ZfsSnapshot {
        holds: vec!["keep".into()],
        ..snapshot("p/past-roots/a@user", 14, &[])
    });
    let mut cloned = in_use();
    cloned
        .snapshots
        .push(snapshot("p/past-roots/a@user", 14, &["p/foreign"]));
    let mut only_blank = in_use();
    only_blank.root[0].origin = None;
    only_blank.snapshots = vec![snapshot("p/past-roots/a@blank", 11, &[])];
    for (survey, fact) in [
        (pinned, "past root a is pinned"),
        (
            unfinished,
            "an interrupted reset has not put a away to the end",
        ),
        (mounted, "p/past-roots/a is in use by a mount at /mnt"),
        (held, "p/past-roots/a@user is held by keep"),
        (cloned, "p/past-roots/a@user is held by p/foreign"),
        (
            only_blank,
            "p/past-roots/a@blank is the only blank there is",
        ),
    ] {
        assert_eq!(refused(delete(&survey, "a")).to_string(), fact);
    }
    assert!(matches!(
        delete(&in_use(), "z"),
        Err(state_api::Error::Missing { .. })
    ));
}

#[test]
fn the_first_blank_is_taken() {
    let survey = survey(vec![dataset("p/root", 20)], vec![], vec![]);
    assert_eq!(
        text(zfs().plan_take_blank(&survey)),
        [
            "snapshot p/root@blank-next",
            "rename p/root@blank-next to p/root@blank",
        ]
    );
}

#[test]
fn a_new_blank_keeps_one_previous_and_what_past_roots_need() {
    let mut survey = in_use();
    // A running root: its blank can be renewed.
    survey.root[0].mounted_at = vec!["/".into()];
    assert_eq!(
        text(zfs().plan_take_blank(&survey)),
        [
            "snapshot p/root@blank-next",
            "rename p/root@blank to p/root@blank-previous",
            "rename p/root@blank-next to p/root@blank",
        ]
    );
    survey.snapshots = vec![
        snapshot("p/root@blank-previous-2", 5, &[]),
        snapshot("p/root@blank-previous", 11, &["p/past-roots/a"]),
        snapshot("p/root@blank", 25, &[]),
    ];
    assert_eq!(
        text(zfs().plan_take_blank(&survey)),
        [
            "snapshot p/root@blank-next",
            "rename p/root@blank-previous to p/root@blank-previous-3",
            "rename p/root@blank to p/root@blank-previous",
            "rename p/root@blank-next to p/root@blank",
            "destroy p/root@blank-previous-2",
        ]
    );
    survey.snapshots[1].clones.clear();
    assert_eq!(
        text(zfs().plan_take_blank(&survey)).last().unwrap(),
        "destroy p/root@blank-previous-3"
    );
}

#[test]
fn a_blank_half_taken_is_finished_or_dropped() {
    let mut survey = in_use();
    survey.snapshots = vec![
        snapshot("p/root@blank-previous", 11, &["p/past-roots/a"]),
        snapshot("p/root@blank-next", 25, &[]),
    ];
    assert_eq!(
        reset(&survey, "b", None),
        ["rename p/root@blank-next to p/root@blank"]
    );
    assert_eq!(
        reset(&survey, "b", Some(""))[..3],
        [
            "rename p/root@blank-next to p/root@blank",
            "rename p/root to p/past-roots/b",
            "clone p/past-roots/b@blank to p/root",
        ]
    );
    survey.snapshots[0].name = "p/root@blank".into();
    let staged = Leftover::Staged {
        name: "p/root@blank-next".into(),
    };
    assert_eq!(zfs().facts(&survey).leftovers, [staged]);
    assert_eq!(reset(&survey, "b", None), ["destroy p/root@blank-next"]);
}

#[test]
fn a_child_without_a_blank_refuses_a_new_one() {
    let mut survey = in_use();
    survey.root.push(dataset("p/root/nix", 12));
    assert_eq!(
        refused(zfs().plan_take_blank(&survey)).to_string(),
        "p/root/nix is a child of root without a blank snapshot of its own"
    );
    survey.root.clear();
    assert_eq!(
        refused(zfs().plan_take_blank(&survey)).to_string(),
        "p/root is not a dataset that exists"
    );
}

#[test]
fn plans_are_serialisable() {
    let plan = zfs().plan_reset(&installed(), &ask("b", Some(""))).unwrap();
    assert_eq!(
        serde_json::to_value(&plan.steps[1]).unwrap(),
        serde_json::json!({
            "step": "rename", "from": "p/root", "to": "p/past-roots/b", "guid": 10
        })
    );
}
