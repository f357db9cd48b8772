//! The machine that loses its power, and what must be so when it comes back.

use crate::machine::{Machine, give_up, keep, run, zfs};
use state_api::{Reset, Retire};

pub(crate) const ROOT: &str = "rpool/local/root";
const CHILD: &str = "rpool/local/root/var";
const PERSIST: &str = "rpool/safe/persist";

/// What the reset in question does with the outgoing root, by the word that the script uses.
pub(crate) fn ask(word: &str) -> Reset {
    match word {
        "keep" => keep("a"),
        "give-up" => give_up(),
        other => panic!("neither keep nor give-up: {other}"),
    }
}

/// A root with a child, both lived in, and a persist tree, on the first partition of the first disk.
pub(crate) fn installed() -> Machine {
    run("sh", &["-c", "echo ,, | sfdisk -q /dev/vda"]);
    let machine = Machine::on("/dev/vda1", ROOT);
    for dataset in [ROOT, CHILD, PERSIST] {
        zfs(&["create", "-p", "-o", "mountpoint=legacy", dataset]);
    }
    for dataset in [ROOT, CHILD] {
        machine.write(dataset, "blank", dataset);
        zfs(&["snapshot", &format!("{dataset}@blank")]);
        machine.write(dataset, "clutter", dataset);
    }
    machine.write(PERSIST, "kept", "as it is");
    run("zpool", &["set", &format!("bootfs={ROOT}"), "rpool"]);
    run("zpool", &["sync"]);
    machine
}

fn blank(dataset: &str) -> Vec<String> {
    vec![format!("blank={dataset}")]
}

fn lived_in(dataset: &str) -> Vec<String> {
    vec![format!("blank={dataset}"), format!("clutter={dataset}")]
}

/// Checks the invariants of docs/testing.md on a pool that came back from a cut in the middle of
/// this reset, lets the next run finish, and says whether root was put away by then.
pub(crate) fn check(machine: &Machine, reset: &Reset) -> bool {
    let trees = || [ROOT, CHILD].map(|dataset| machine.files(dataset));
    let is_given_up = reset.retire == Retire::GiveUp;
    let (fresh, untouched) = ([ROOT, CHILD].map(blank), [ROOT, CHILD].map(lived_in));
    // Whoever boots this root finds all of it, whatever it is. It is rolled back last.
    if machine.exists(ROOT) {
        let found = trees();
        let is_half = is_given_up && found == [lived_in(ROOT), blank(CHILD)];
        assert!(found == fresh || found == untouched || is_half, "{found:?}");
    }
    let skip = Reset {
        source: None,
        ..keep("none")
    };
    machine.reset(&skip).unwrap();
    let facts = machine.facts();
    assert_eq!((facts.leftovers, facts.refusals), (vec![], vec![]));
    assert_eq!(
        machine.reset(&skip).unwrap(),
        [],
        "there is nothing left to do"
    );
    let is_put_away = !facts.past_roots.is_empty();
    if is_put_away {
        assert_eq!(trees(), fresh);
        let past = machine.past("a");
        let kept = [past.clone(), format!("{past}/var")].map(|dataset| machine.files(&dataset));
        assert_eq!(kept, untouched);
    } else if !is_given_up {
        assert_eq!(trees(), untouched);
    }
    let bootfs = run("zpool", &["get", "-Hp", "-o", "value", "bootfs", "rpool"]);
    assert_eq!(bootfs.trim_end(), ROOT);
    machine.reset(&keep("b")).unwrap();
    assert_eq!(trees(), fresh);
    assert_eq!(machine.files(PERSIST), ["kept=as it is"]);
    is_put_away
}
