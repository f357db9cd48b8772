//! The drill recipient: a machine with public keys only proves its restores by itself.

use super::drill::{drill, drill_until};
use super::machine::{After, Machine, exit};
use super::sealed::{ANN, encrypting};
use state::ops::backup;
use state::progress::Silent;
use state_api::Never;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::AtomicU64;

const KEY: &str = "root/persist/.state/drill.key";

fn machine() -> Machine {
    let machine = encrypting(&[ANN[1]]);
    machine.configure(&format!(
        "[archive]\nencrypt-to = [\"{}\"]\n[drill]\nrecipient = true\n",
        ANN[1]
    ));
    machine
}

/// The recipients in the file, the newest first.
fn keys(machine: &Machine) -> Vec<String> {
    let text = machine.read(KEY);
    let keys = text
        .lines()
        .filter_map(|line| line.strip_prefix("# public key: "));
    keys.map(str::to_owned).collect()
}

#[test]
fn without_a_key_there_is_no_drill_and_with_its_own_there_is() {
    let locked = encrypting(&[ANN[1]]);
    locked.backup().unwrap();
    let error = drill(&locked).unwrap_err();
    assert_eq!(exit(&error), 12, "{error:#}");
    assert_eq!(locked.reserved(), [""; 0]);

    let machine = machine();
    let full = machine.backup().unwrap();
    let [first] = &keys(&machine)[..] else {
        panic!("{:?}", keys(&machine));
    };
    assert_eq!(full.encrypted_to, [ANN[1], first]);
    let mode = std::fs::metadata(machine.path(KEY)).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    assert!(drill(&machine).unwrap().drills[0].proof().is_some());

    // What continues the chain has the same key; the next full archive another.
    machine.write("root/persist/var/lib/app/data", "changed");
    let next = machine.backup_next();
    assert_eq!(
        (next.parent, next.encrypted_to),
        (full.id, full.encrypted_to)
    );
    assert!(drill(&machine).unwrap().drills[0].proof().is_some());
    assert_eq!(machine.backup_next().unchanged_since, next.id);
    let other = machine.backup().unwrap();
    let [second] = &keys(&machine)[..] else {
        panic!("{:?}", keys(&machine));
    };
    assert_ne!(first, second);
    assert_eq!(other.encrypted_to, [ANN[1], second]);
    // The key of a chain opens no other: the older archive stays closed.
    let error = drill_until(&machine, &Never, |options| options.archive = next.id).unwrap_err();
    assert_eq!(exit(&error), 12, "{error:#}");
}

#[test]
fn a_full_archive_that_comes_to_nothing_leaves_the_last_chain_as_it_was() {
    let machine = machine();
    let full = machine.backup().unwrap().id;
    let first = keys(&machine);
    for questions in [4, 7, 10] {
        let after = After(AtomicU64::new(questions));
        machine.backup_until(&after).unwrap_err();
    }
    assert!(keys(&machine).len() > 1, "some died after a key was made");
    assert!(drill(&machine).unwrap().drills[0].proof().is_some());
    machine.write("root/persist/var/lib/app/data", "changed");
    assert_eq!(machine.backup_next().parent, full);
    assert!(keys(&machine).contains(&first[0]));
    // Switched off, it is in no archive any more.
    machine.configure(&format!("[archive]\nencrypt-to = [\"{}\"]\n", ANN[1]));
    let plain = backup::run(
        &machine.context(&Never),
        &backup::Options::default(),
        &Silent,
    );
    let plain = plain.unwrap();
    assert_eq!(
        (plain.parent, plain.encrypted_to),
        (None, vec![ANN[1].into()])
    );
}
