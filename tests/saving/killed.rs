//! A restore of two stores that is killed before each act of its exchange, once per act: `strace` ends it there.

use super::live::boots;
use super::machine::{Machine, note};
use state::inventory::Inventory;
use std::process::{Command, Output};

const STATE: &str = env!("CARGO_BIN_EXE_state");
/// What gives or takes a name.
const ACTS: [&str; 4] = ["rename", "renameat", "renameat2", "unlink"];

fn state(machine: &Machine, words: &[&str]) -> Output {
    let mut state = Command::new(STATE);
    let state = state.arg("--root").arg(machine.path("root"));
    state
        .args(["--yes", "--no-progress"])
        .args(words)
        .output()
        .unwrap()
}

/// Runs it until right before the act of that number among those of its kind; whether it was killed there.
fn killed_at(machine: &Machine, (kind, n): (&str, u32), words: &[&str]) -> bool {
    let run = Command::new("strace")
        .args(["-qq", "-f", "-o", "/dev/null", "-e"])
        .arg(format!("inject={kind}:signal=KILL:when={n}"))
        .arg(STATE)
        .arg("--root")
        .arg(machine.path("root"))
        .args(["--yes", "--no-progress"])
        .args(words)
        .output()
        .unwrap();
    let is_done = run.status.success();
    assert!(is_done || run.status.code().is_none(), "{run:?}");
    !is_done
}

/// Two stores, what is archived of them, and what is in them.
fn two_stores() -> (Machine, [Inventory; 2], [Inventory; 2]) {
    let machine = Machine::new();
    machine.configure("[persist.\"/second\"]\ndirectories = [\"/srv\"]\n");
    machine.write("root/second/srv/file", "archived");
    std::fs::remove_file(machine.path("root/persist/orphan")).unwrap();
    machine.backup().unwrap();
    let archived = stores(&machine);
    machine.write("root/persist/var/lib/app/data", "mine");
    machine.write("root/second/srv/file", "mine");
    let mine = stores(&machine);
    (machine, archived, mine)
}

fn stores(machine: &Machine) -> [Inventory; 2] {
    ["persist", "second"].map(|name| note(&machine.path(&format!("root/{name}"))))
}

fn are(these: &[Inventory; 2], those: &[Inventory; 2]) -> bool {
    (these.iter().zip(those)).all(|(this, that)| this.differences(that).is_empty())
}

const RESTORE: [&str; 2] = ["restore", "--allow-unsigned"];

#[test]
#[ignore = "needs strace"]
fn loop_of_two_stores_both_are_restored_or_none_wherever_it_is_killed() {
    let (mut ends, mut acts) = ([0; 2], ACTS.iter());
    let mut act = (*acts.next().expect("there is one"), 1);
    loop {
        let (machine, archived, mine) = two_stores();
        if !killed_at(&machine, act, &RESTORE) {
            match acts.next() {
                Some(kind) => act = (kind, 1),
                None => break,
            }
            continue;
        }
        // A boot comes first: all of it, or nothing.
        let boot = boots(&machine);
        let found = stores(&machine);
        let is_new = are(&found, &archived);
        assert!(
            is_new || are(&found, &mine),
            "{act:?}: a part of each\n{boot:?}"
        );
        ends[usize::from(is_new)] += 1;
        // The same command comes first: it goes on, or it was done. What it replaced is there.
        let (machine, archived, mine) = two_stores();
        assert!(killed_at(&machine, act, &RESTORE));
        let again = state(&machine, &RESTORE);
        let said = String::from_utf8_lossy(&again.stderr);
        let was_done = said.contains("has got this archive already, at ");
        // Not even the note of what waits is there any more.
        let is_left = said.contains("the next boot does it; `state undo` calls it off");
        assert!(
            again.status.success() || was_done || is_left,
            "{act:?}: {again:?}"
        );
        assert!(
            is_left || are(&stores(&machine), &archived),
            "{act:?}: {again:?}"
        );
        let undone = state(&machine, &["undo"]);
        assert!(undone.status.success(), "{act:?}: {undone:?}");
        assert!(are(&stores(&machine), &mine), "{act:?}: {undone:?}");
        act.1 += 1;
    }
    let [none, all] = ends;
    assert!(none > 5 && all > 5, "{ends:?}");
}
