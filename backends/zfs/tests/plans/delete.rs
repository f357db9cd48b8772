//! Past roots that are deleted.

use crate::scene::*;
use state_api::{Plan, Result, RootBackend};
use state_zfs::{Step, Survey, ZfsSnapshot};

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
