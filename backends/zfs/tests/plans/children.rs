//! Resets of a root with children.

use crate::scene::*;
use state_api::{Refusal, RootBackend};
use state_zfs::{Property, Survey};
use std::path::Path;

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
