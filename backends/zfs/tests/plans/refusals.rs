//! What refuses a reset.

use crate::scene::*;
use state_api::{Refusal, RootBackend};
use state_zfs::{Dataset, DatasetKind, Survey};
use std::path::PathBuf;

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
