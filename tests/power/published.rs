//! The widely copied btrfs script as a negative control: what our checks must find wrong with it,
//! and must not find wrong with `state`, on the same machines.

use super::machine::{Actor, BLANK_INSIDE, FINE, Machine, OUTGOING_GONE, ROOT_NOT_BLANK};
use std::fs::{File, FileTimes};
use std::time::{Duration, SystemTime};

/// How a machine differs from the plain one, and what each actor makes of it: whether it says
/// that it succeeded, and what is wrong afterwards.
type Case = (
    &'static str,
    fn(&Machine),
    [(Actor, bool, &'static [&'static str]); 3],
);

const FAILED_OPEN: &[&str] = &[ROOT_NOT_BLANK, BLANK_INSIDE];

fn cases() -> Vec<Case> {
    use Actor::{Delete, Move, State};
    let good = [
        (Delete, true, FINE),
        (Move, true, FINE),
        (State, true, FINE),
    ];
    let not_erased = [
        (Delete, true, FAILED_OPEN),
        (Move, true, FINE),
        (State, true, FINE),
    ];
    vec![
        ("a plain root", |_| (), good),
        (
            "a nested subvolume",
            |m| m.nest("root/var/lib/machines"),
            good,
        ),
        (
            "a subvolume nested two deep",
            |m| {
                m.nest("root/var/lib/machines");
                m.nest("root/var/lib/machines/debian");
            },
            not_erased,
        ),
        (
            "a space in a subvolume's name",
            |m| m.nest("root/home/my videos"),
            not_erased,
        ),
        (
            "a machine that was up for forty days",
            |m| {
                let then = SystemTime::now() - Duration::from_secs(40 * 24 * 3600);
                let root = File::open(m.at("root")).unwrap();
                root.set_times(FileTimes::new().set_modified(then)).unwrap();
                // What people did meanwhile, deeper down, leaves the top's time alone.
                m.put("root/etc/conf", "changed yesterday");
            },
            [
                (Delete, true, FINE),
                (Move, true, &[OUTGOING_GONE]),
                (State, true, FINE),
            ],
        ),
    ]
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_the_checks_catch_the_published_script_and_not_us() {
    for (name, change, actors) in cases() {
        for (actor, says, expected) in actors {
            let machine = Machine::new();
            change(&machine);
            let outgoing = machine.tree("root").unwrap();
            let store = machine.store().unwrap();
            let said = machine.reset(actor, None);
            let found = machine.findings(&outgoing, &store, actor != Actor::Delete);
            assert_eq!((said, &*found), (says, expected), "{name}, {actor:?}");
        }
    }
}
