use super::super::sim::{After, Machine, class};
use super::*;
use crate::ops::reset;
use crate::settings::PastRoots;
use state_testing::rig::Rig as _;

/// Four past roots, of the 21st, 22nd and 23rd of November and the 5th of December.
fn machine() -> Machine {
    let mut machine = Machine::new();
    for days in [0, 1, 1, 12] {
        machine.boots_again(days, "lived");
        reset::tests::run(&machine, &machine.cx()).unwrap();
    }
    machine.past_roots = PastRoots { last: 1, days: 10 };
    machine
}

fn list(machine: &Machine) -> List {
    list_on(&machine.cx(), &machine.engine(), &machine.settings()).unwrap()
}

fn gc(machine: &Machine, cx: &Context) -> anyhow::Result<Gc> {
    gc_on(cx, &mut machine.engine(), &machine.settings())
}

/// The months and days of the past roots that are there.
fn left(machine: &Machine) -> Vec<String> {
    let past = machine.pool.world().past;
    past.into_keys().map(|n| n[4..8].to_owned()).collect()
}

/// `day: reasons` for each.
fn shown<'a>(
    all: impl Iterator<Item = (&'a PastRootName, &'a Vec<retention::Reason>)>,
) -> Vec<String> {
    all.map(|(name, kept_by)| {
        let reasons: Vec<_> = kept_by.iter().map(ToString::to_string).collect();
        format!("{}: {}", &name.as_str()[4..8], reasons.join(", "))
    })
    .collect()
}

#[test]
fn a_list_says_what_the_next_collection_will_do_and_the_collection_does_it() {
    let machine = machine();
    let wanted: Wanted = "20261122".parse().unwrap();
    let pinned = pin_on(&machine.cx(), &mut machine.engine(), &wanted, true).unwrap();
    assert_eq!((pinned.outcome, pinned.is_pinned), (Outcome::Made, true));
    let again = pin_on(&machine.cx(), &mut machine.engine(), &wanted, true).unwrap();
    assert_eq!(again.outcome, Outcome::AlreadySo);

    let expected = [
        "1121: ",
        "1122: pinned",
        "1123: ",
        "1205: newest, last, days",
    ];
    let list = list(&machine);
    assert_eq!(
        shown(list.past_roots.iter().map(|l| (&l.root.name, &l.kept_by))),
        expected
    );

    let before = machine.pool.world();
    let dry = gc(&machine, &machine.dry()).unwrap();
    assert_eq!(machine.pool.world(), before);
    let wet = gc(&machine, &machine.cx()).unwrap();
    for report in [&dry, &wet] {
        assert_eq!(
            shown(report.past_roots.iter().map(|c| (&c.name, &c.kept_by))),
            expected
        );
        assert_eq!(report.failures(), 0);
    }
    assert_eq!(left(&machine), ["1122", "1205"]);
    let again = gc(&machine, &machine.cx()).unwrap();
    assert!(
        again.past_roots.iter().all(|one| one.plan.is_empty()),
        "nothing is left to do"
    );
}

#[test]
fn what_cannot_be_deleted_is_reported_and_does_not_stop_the_rest() {
    let machine = machine();
    let first = list(&machine).past_roots[0].root.name.clone();
    let dataset = format!("rpool/local/past-roots/{first}");
    machine.pool.snapshot_of(&format!("{dataset}@somebody"));
    machine.pool.hold(&format!("{dataset}@somebody"), "backup");
    let report = gc(&machine, &machine.cx()).unwrap();
    assert_eq!(report.failures(), 1);
    assert!(report.past_roots[0].failure.is_some(), "{report:?}");
    assert_eq!(left(&machine), ["1121", "1205"]);
}

#[test]
fn an_interrupted_collection_stops_between_two() {
    let machine = machine();
    let after = After::asked(0);
    let cx = Context {
        interrupt: &after,
        ..machine.cx()
    };
    let error = gc(&machine, &cx).unwrap_err();
    assert_eq!(class(&error), "Interrupted");
    assert_eq!(machine.pool.world().past.len(), 4);
}

#[test]
fn with_the_clock_at_1970_nothing_is_collected() {
    let mut machine = machine();
    machine.now = chrono::DateTime::from_timestamp(60, 0).unwrap();
    gc(&machine, &machine.cx()).unwrap();
    assert_eq!(machine.pool.world().past.len(), 4);
}
