//! Resets of a root alone, and of what interrupted ones left.

use crate::scene::*;
use state_api::{Leftover, Refusal, RootBackend};
use state_zfs::{Property, Step};

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

/// The pool makes a clone and sets its properties in two transactions.
#[test]
fn cloned_without_its_properties_gets_those_of_the_outgoing_root() {
    let origin = "p/past-roots/a@blank";
    let mut survey = survey(
        vec![clone_of(origin, "p/root", 30)],
        vec![with(
            dataset("p/past-roots/a", 20),
            &[("a:b", "c d"), ("quota", "512")],
        )],
        vec![snapshot(origin, 11, &["p/root"])],
    );
    survey.root[0].properties.clear();
    let rest = [
        "set a:b=c d, mountpoint=legacy, quota=512 of p/root",
        "promote p/root",
        "set canmount=noauto, readonly=on of p/past-roots/a",
    ];
    assert_eq!(reset(&survey, "b", None), rest);
    // And its successor gets them too.
    let plan = zfs().plan_reset(&survey, &ask("b", Some(""))).unwrap();
    let successor = plan.steps.into_iter().find_map(|step| match step {
        Step::Clone { properties, .. } => Some(properties),
        _ => None,
    });
    let expected = [("a:b", "c d"), ("mountpoint", "legacy"), ("quota", "512")];
    assert_eq!(
        successor.unwrap(),
        expected.map(|(name, value)| Property::new(name, value))
    );
    // One that mounts itself may not until all is done.
    survey.past_roots[1].properties = vec![Property::new("mountpoint", "/")];
    assert_eq!(
        reset(&survey, "b", None),
        [
            "set canmount=noauto, mountpoint=/, org.state:pending-canmount=on of p/root",
            "promote p/root",
            "set canmount=noauto, readonly=on of p/past-roots/a",
            "set canmount=on of p/root",
            "remove org.state:pending-canmount of p/root",
        ]
    );
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
fn plans_are_serialisable() {
    let plan = zfs().plan_reset(&installed(), &ask("b", Some(""))).unwrap();
    assert_eq!(
        serde_json::to_value(&plan.steps[1]).unwrap(),
        serde_json::json!({
            "step": "rename", "from": "p/root", "to": "p/past-roots/b", "guid": 10
        })
    );
}
