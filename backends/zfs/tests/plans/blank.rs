//! Blanks that are taken.

use crate::scene::*;
use state_api::{Leftover, RootBackend};

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
