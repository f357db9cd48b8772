use super::*;
use proptest::prelude::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// A past root named by its time, or with a name of its own.
fn root(sequence: u64, name: &str) -> PastRoot {
    let name: PastRootName = name.parse().unwrap();
    PastRoot {
        rotated_at: name.rotated_at(),
        name,
        sequence,
        is_pinned: false,
        needed_by: Vec::new(),
    }
}

fn pinned(root: PastRoot) -> PastRoot {
    PastRoot {
        is_pinned: true,
        ..root
    }
}

/// `name: reason, reason` for each, `name: goes` for what goes.
fn shown<N: fmt::Display>(verdicts: &[Verdict<N>]) -> Vec<String> {
    let one = |v: &Verdict<N>| {
        let reasons: Vec<_> = v.kept_by.iter().map(Reason::to_string).collect();
        let reasons = if v.is_kept() {
            reasons.join(", ")
        } else {
            "goes".into()
        };
        format!("{}: {reasons}", v.name)
    };
    verdicts.iter().map(one).collect()
}

const NOW: &str = "2026-11-21T12:00:00Z";

#[test]
fn past_roots_are_kept_by_number_and_by_age() {
    let roots = [
        root(1, "20260901T000000Z-a"),
        pinned(root(2, "20260902T000000Z-b")),
        root(3, "20261001T000000Z-c"),
        root(4, "20261030T000000Z-d"),
        root(5, "20261119T000000Z-e"),
        root(6, "20261120T000000Z-f"),
    ];
    let policy = PastRoots { last: 2, days: 30 };
    assert_eq!(
        shown(&past_roots(&roots, policy, at(NOW))),
        [
            "20260901T000000Z-a: goes",
            "20260902T000000Z-b: pinned",
            "20261001T000000Z-c: goes",
            "20261030T000000Z-d: days",
            "20261119T000000Z-e: last, days",
            "20261120T000000Z-f: newest, last, days",
        ]
    );
}

#[test]
fn the_order_given_does_not_matter_and_the_newest_is_the_last_made() {
    let roots = [root(9, "20260301T000000Z-z"), root(3, "20260201T000000Z-y")];
    let policy = PastRoots { last: 1, days: 0 };
    assert_eq!(
        shown(&past_roots(&roots, policy, at(NOW))),
        [
            "20260201T000000Z-y: goes",
            "20260301T000000Z-z: newest, last"
        ]
    );
}

#[test]
fn zero_keeps_none_but_the_pinned_and_the_foreign() {
    let roots = [
        root(1, "20260901T000000Z-a"),
        root(2, "before-the-move"),
        pinned(root(3, "20261119T000000Z-b")),
        root(4, "20261120T000000Z-c"),
    ];
    let policy = PastRoots { last: 0, days: 30 };
    assert_eq!(
        shown(&past_roots(&roots, policy, at(NOW))),
        [
            "20260901T000000Z-a: goes",
            "before-the-move: named by hand",
            "20261119T000000Z-b: pinned",
            "20261120T000000Z-c: goes",
        ]
    );
}

#[test]
fn names_of_other_makers_are_never_touched_and_count_for_nothing() {
    let roots = [
        root(1, "20260101T000000Z-a"),
        root(2, "20260102T000000Z-b"),
        root(3, "by-hand"),
    ];
    let policy = PastRoots { last: 1, days: 1 };
    assert_eq!(
        shown(&past_roots(&roots, policy, at(NOW))),
        [
            "20260101T000000Z-a: goes",
            "20260102T000000Z-b: newest, last",
            "by-hand: named by hand",
        ]
    );
}

#[test]
fn nothing_goes_while_the_clock_is_behind() {
    let roots = [
        root(1, "20260101T000000Z-a"),
        root(2, "20260601T000000Z-b"),
        root(3, "20261120T000000Z-c"),
    ];
    let policy = PastRoots { last: 1, days: 1 };
    for now in ["2026-11-18T00:00:00Z", "1970-01-01T00:00:07Z"] {
        let verdicts = past_roots(&roots, policy, at(now));
        assert!(verdicts.iter().all(Verdict::is_kept), "{now}: {verdicts:?}");
        assert_eq!(
            verdicts[0].kept_by.last(),
            Some(&Reason::ClockWrong),
            "{now}"
        );
    }
    // A few hours are a time zone, not a clock that stands wrong; ages only come out smaller.
    let verdicts = past_roots(&roots, policy, at("2026-11-19T14:00:00Z"));
    assert_eq!(
        shown(&verdicts),
        [
            "20260101T000000Z-a: goes",
            "20260601T000000Z-b: goes",
            "20261120T000000Z-c: newest, last, days",
        ]
    );
}

#[test]
fn a_root_rotated_with_the_clock_at_1970_is_as_young_as_it_can_be() {
    let policy = PastRoots { last: 1, days: 30 };
    // Rotated yesterday for all we know: after it comes one of yesterday.
    let roots = [
        root(1, "20260101T000000Z-a"),
        root(2, "19700101T000007Z-b"),
        root(3, "20261120T000000Z-c"),
    ];
    assert_eq!(
        shown(&past_roots(&roots, policy, at(NOW))),
        [
            "20260101T000000Z-a: goes",
            "19700101T000007Z-b: days",
            "20261120T000000Z-c: newest, last, days",
        ]
    );
    // Later, the root after it says how old it is at least.
    let verdicts = past_roots(&roots, policy, at("2027-01-01T00:00:00Z"));
    assert_eq!(shown(&verdicts)[1], "19700101T000007Z-b: goes");
    // Nothing after it can be believed: its age is not known, and it stays.
    let roots = [
        root(1, "20260101T000000Z-a"),
        root(2, "19700101T000007Z-b"),
        root(3, "19700101T000007Z-b-2"),
    ];
    assert_eq!(
        shown(&past_roots(&roots, policy, at(NOW))),
        [
            "20260101T000000Z-a: goes",
            "19700101T000007Z-b: age unknown",
            "19700101T000007Z-b-2: newest, last, age unknown",
        ]
    );
}

#[test]
fn a_time_that_the_order_contradicts_is_not_believed() {
    let roots = [
        root(1, "20261110T000000Z-a"),
        root(2, "20260101T000000Z-clock-was-behind"),
        root(3, "20261112T000000Z-c"),
    ];
    let policy = PastRoots { last: 1, days: 30 };
    assert_eq!(
        shown(&past_roots(&roots, policy, at(NOW)))[1],
        "20260101T000000Z-clock-was-behind: days"
    );
}

#[test]
fn absurd_policies_keep() {
    let roots = [root(1, "20260101T000000Z-a"), root(2, "20260102T000000Z-b")];
    for policy in [
        PastRoots {
            last: u32::MAX,
            days: 0,
        },
        PastRoots {
            last: 1,
            days: u32::MAX,
        },
    ] {
        let verdicts = past_roots(&roots, policy, at(NOW));
        assert!(verdicts.iter().all(Verdict::is_kept), "{policy:?}");
    }
}

fn item(sequence: u64, time: &str) -> Item<String> {
    Item {
        name: time.to_owned(),
        at: time.parse().ok(),
        sequence,
    }
}

/// `[last, hourly, daily, weekly, monthly, yearly]`
fn rules_of(n: [u32; 6]) -> Keep {
    Keep {
        last: n[0],
        hourly: n[1],
        daily: n[2],
        weekly: n[3],
        monthly: n[4],
        yearly: n[5],
    }
}

#[test]
fn each_rule_keeps_the_newest_of_its_periods() {
    let items = [
        item(1, "2026-12-27T23:59:59Z"), // Sunday of ISO week 52
        item(2, "2027-01-01T00:00:00Z"), // Friday of ISO week 53 of 2026
        item(3, "2027-11-01T08:00:00Z"),
        item(4, "2027-11-19T09:10:00Z"),
        item(5, "2027-11-20T09:10:00Z"),
        item(6, "2027-11-21T10:10:00Z"),
        item(7, "2027-11-21T11:10:00Z"),
        item(8, "2027-11-21T11:50:00Z"),
    ];
    let table: [([u32; 6], &[u64]); 7] = [
        ([2, 0, 0, 0, 0, 0], &[7, 8]),
        ([0, 2, 0, 0, 0, 0], &[6, 8]),
        ([0, 0, 3, 0, 0, 0], &[4, 5, 8]),
        ([0, 0, 0, 4, 0, 0], &[1, 2, 3, 8]),
        ([0, 0, 0, 0, 3, 0], &[1, 2, 8]),
        ([0, 0, 0, 0, 0, 9], &[1, 8]),
        ([1, 0, 0, 0, 1, 0], &[8]),
    ];
    for (rules, expected) in table {
        let verdicts = keep(&items, &rules_of(rules), at("2027-11-21T12:00:00Z"));
        let kept = items.iter().zip(&verdicts).filter(|(_, v)| v.is_kept());
        let kept: Vec<u64> = kept.map(|(item, _)| item.sequence).collect();
        assert_eq!(kept, expected, "{rules:?}");
    }
}

#[test]
fn reasons_are_given_and_hand_made_names_stay() {
    let items = [
        item(1, "2026-11-20T09:10:00Z"),
        item(2, "2026-11-21T11:10:00Z"),
        item(3, "before the upgrade"),
        item(4, "2026-11-21T11:50:00Z"),
    ];
    let policy = Keep {
        last: 1,
        daily: 2,
        ..Keep::default()
    };
    assert_eq!(
        shown(&keep(&items, &policy, at(NOW))),
        [
            "2026-11-20T09:10:00Z: daily",
            "2026-11-21T11:10:00Z: goes",
            "before the upgrade: named by hand",
            "2026-11-21T11:50:00Z: newest, last, daily",
        ]
    );
}

#[test]
fn without_a_rule_and_with_a_wrong_clock_everything_stays() {
    let items = [
        item(1, "2026-01-01T00:00:00Z"),
        item(2, "2026-11-21T11:50:00Z"),
    ];
    let only_last = Keep {
        last: 1,
        ..Keep::default()
    };
    for (policy, now) in [
        (Keep::default(), NOW),
        (only_last, "2026-11-20T00:00:00Z"),
        (only_last, "1970-01-01T00:00:00Z"),
    ] {
        let verdicts = keep(&items, &policy, at(now));
        assert!(verdicts.iter().all(Verdict::is_kept), "{now}: {verdicts:?}");
    }
    let verdicts = keep(&items, &only_last, at(NOW));
    assert!(!verdicts[0].is_kept(), "the same without either does go");
}

prop_compose! {
    fn a_past_root()(days in -400i64..400, named in any::<bool>(), is_pinned in any::<bool>()) -> (i64, bool, bool) {
        (days, named, is_pinned)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_there_is_the_rules_of_past_roots_hold(
        made in prop::collection::vec(a_past_root(), 0..12),
        last in 1u32..6,
        days in 0u32..60,
    ) {
        let now = at(NOW);
        let roots: Vec<PastRoot> = made.iter().enumerate().map(|(n, (days, ours, is_pinned))| {
            let time = (now + TimeDelta::days(*days)).format("%Y%m%dT%H%M%SZ");
            let name = if *ours { format!("{time}-{n}") } else { format!("x{n}") };
            PastRoot { is_pinned: *is_pinned, ..root(n as u64, &name) }
        }).collect();
        let policy = PastRoots { last, days };
        let verdicts = past_roots(&roots, policy, now);
        prop_assert_eq!(verdicts.len(), roots.len());
        let behind = roots.iter().any(|r| r.rotated_at.is_some_and(|t| t > now + SLACK));
        let ours: Vec<_> = roots.iter().filter(|r| r.rotated_at.is_some()).collect();
        for (n, root) in ours.iter().rev().enumerate() {
            let verdict = verdicts.iter().find(|v| v.name == root.name).unwrap();
            let young = root.rotated_at.is_some_and(|t| t > now - TimeDelta::days(days.into()));
            if n < last as usize || young || root.is_pinned || behind {
                prop_assert!(verdict.is_kept(), "{:?} of {:?}", verdict, roots);
            }
        }
        for root in roots.iter().filter(|r| r.rotated_at.is_none()) {
            let verdict = verdicts.iter().find(|v| v.name == root.name).unwrap();
            prop_assert!(verdict.is_kept());
        }
        // What goes is gone for good: deciding again about the rest lets nothing more go. (Only
        // while times are in order: one that is not is dated by its neighbours, and they may go.)
        if roots.is_sorted_by_key(|root| root.rotated_at) {
            let rest: Vec<PastRoot> = roots.iter()
                .filter(|r| verdicts.iter().any(|v| v.name == r.name && v.is_kept()))
                .cloned().collect();
            let again = past_roots(&rest, policy, now);
            prop_assert!(again.iter().all(Verdict::is_kept), "{:?} then {:?}", verdicts, again);
        }
    }

    #[test]
    fn a_snapshot_that_a_policy_keeps_is_kept_by_every_wider_one(
        hours in prop::collection::vec(0i64..20_000, 1..40),
        narrow in [0u32..4, 0u32..4, 0u32..4, 0u32..4, 0u32..4, 0u32..4],
        wider in [0u32..4, 0u32..4, 0u32..4, 0u32..4, 0u32..4, 0u32..4],
    ) {
        let now = at(NOW);
        let mut hours = hours;
        hours.sort_unstable_by(|a, b| b.cmp(a));
        let items: Vec<Item<usize>> = hours.iter().enumerate().map(|(n, h)| {
            Item { name: n, at: Some(now - TimeDelta::hours(*h)), sequence: n as u64 }
        }).collect();
        let wide = rules_of(std::array::from_fn(|i| narrow[i] + wider[i]));
        let narrow = rules_of(narrow);
        prop_assume!(narrow != Keep::default());
        let (few, many) = (keep(&items, &narrow, now), keep(&items, &wide, now));
        for (a, b) in few.iter().zip(&many) {
            prop_assert!(!a.is_kept() || b.is_kept(), "{:?} {:?}", narrow, wide);
        }
        prop_assert!(few.last().unwrap().is_kept(), "the newest");
    }
}
