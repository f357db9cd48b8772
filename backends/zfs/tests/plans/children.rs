//! Resets of a root with children.

use crate::scene::*;
use state_api::{Leftover, Refusal, RootBackend};
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
            "clone p/root@blank to p/root.state-new",
            "clone p/root/var@blank to p/root.state-new/var",
            "rename p/root to p/past-roots/b",
            "rename p/root.state-new to p/root",
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

/// Cut right before root is renamed, or right after it.
fn staged(is_renamed: bool) -> Survey {
    let mut survey = with_child();
    if is_renamed {
        let past = [
            dataset("p/past-roots/a", 20),
            dataset("p/past-roots/a/var", 21),
        ];
        survey = super::scene::survey(
            vec![],
            past.into(),
            vec![
                snapshot("p/past-roots/a@blank", 30, &["p/root.state-new"]),
                snapshot("p/past-roots/a/var@blank", 30, &["p/root.state-new/var"]),
            ],
        );
    }
    let origin = |at: usize| survey.snapshots[at].name.clone();
    survey.staged = vec![
        clone_of(&origin(0), "p/root.state-new", 40),
        clone_of(&origin(1), "p/root.state-new/var", 41),
    ];
    survey
}

#[test]
fn a_staged_root_is_destroyed_or_put_in_place() {
    let leftover = Leftover::Staged {
        name: "p/root.state-new".into(),
    };
    assert_eq!(zfs().facts(&staged(false)).leftovers, [leftover]);
    assert_eq!(
        reset(&staged(false), "b", None),
        ["destroy p/root.state-new/var", "destroy p/root.state-new"]
    );
    let finished = [
        "rename p/root.state-new to p/root",
        "promote p/root",
        "promote p/root/var",
        "set canmount=noauto, readonly=on of p/past-roots/a",
        "set canmount=noauto, readonly=on of p/past-roots/a/var",
    ];
    for source in [None, Some("")] {
        assert_eq!(reset(&staged(true), "b", source), finished);
    }
    // Not whole, it is made anew: a child is missing, or the properties of one.
    let mut half = staged(true);
    half.staged[1].properties.clear();
    assert_eq!(
        reset(&half, "b", None)[..2],
        ["destroy p/root.state-new/var", "destroy p/root.state-new"]
    );
    half.staged.pop();
    assert_eq!(
        reset(&half, "b", None),
        [
            &[
                "destroy p/root.state-new",
                "clone p/past-roots/a@blank to p/root.state-new",
                "clone p/past-roots/a/var@blank to p/root.state-new/var",
            ],
            &finished[..]
        ]
        .concat()
    );
}

#[test]
fn what_only_has_the_name_of_a_staged_root_stays() {
    let refusal = |change: &dyn Fn(&mut Survey)| {
        let mut survey = staged(false);
        change(&mut survey);
        refused(zfs().plan_reset(&survey, &ask("b", Some("")))).to_string()
    };
    assert_eq!(
        refusal(&|survey| survey.staged[0].origin = None),
        "p/root.state-new exists, and no reset made it"
    );
    assert_eq!(
        refusal(&|survey| survey.staged[1].mounted_at = vec!["/mnt".into()]),
        "p/root.state-new/var is in use by a mount at /mnt"
    );
    assert_eq!(
        refusal(&|survey| survey
            .snapshots
            .push(snapshot("p/root.state-new@x", 50, &["p/y"]))),
        "p/root.state-new@x is held by p/y"
    );
}

/// The pool would not let a clone be renamed away from the dataset whose key it uses.
#[test]
fn children_of_a_root_with_its_own_key_are_cloned_in_place() {
    let mut survey = with_child();
    for d in &mut survey.root {
        d.encryption_root = Some("p/root".into());
        d.has_loaded_key = false;
    }
    assert_eq!(
        reset(&survey, "b", Some(""))[..4],
        [
            "create p/past-roots",
            "rename p/root to p/past-roots/b",
            "clone p/past-roots/b@blank to p/root",
            "clone p/past-roots/b/var@blank to p/root/var",
        ]
    );
}
