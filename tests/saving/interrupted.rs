//! Interrupted at every question: nothing partial is published or swapped in, and the next run
//! finishes.

use super::machine::{After, Machine, exit, note};
use std::fs;
use std::sync::atomic::AtomicU64;

#[test]
fn an_interrupted_backup_publishes_nothing() {
    let machine = Machine::new();
    let mut interrupted = 0;
    for questions in 0.. {
        let before = machine.objects();
        let after = After(AtomicU64::new(questions));
        match machine.backup_until(&after) {
            Ok(report) => {
                assert!(report.executed);
                break;
            }
            Err(error) => {
                assert_eq!(exit(&error), 130, "{error:#}");
                let names = machine.objects();
                assert_eq!(machine.list().archives, [], "after {questions}");
                // Data without a label may be there, when it was being read back.
                assert!(names.len() <= before.len() + 1, "{names:?}");
                assert!(
                    names.iter().all(|name| name.ends_with(".tar.zst")),
                    "{names:?}"
                );
                interrupted += 1;
            }
        }
    }
    assert!(interrupted > 10, "{interrupted}");
    // The run that finished swept what the others left.
    assert_eq!(machine.objects().len(), 2, "{:?}", machine.objects());
    machine.restore().unwrap();
}

#[test]
fn an_interrupted_restore_changes_nothing_and_goes_on() {
    let machine = Machine::new();
    machine.backup().unwrap();
    machine.write("root/persist/var/lib/app/data", "present");
    let before = note(&machine.store());
    let (mut interrupted, mut resumed) = (0, 0);
    for questions in 0.. {
        let after = After(AtomicU64::new(questions));
        match machine.restore_with(&after, |_| {}) {
            Ok(report) => {
                assert!(report.stores[0].is_swapped);
                break;
            }
            Err(error) => {
                assert_eq!(exit(&error), 130, "{error:#}");
                let now = note(&machine.store());
                assert_eq!(before.differences(&now), Vec::<String>::new());
                interrupted += 1;
            }
        }
        if interrupted == 20 {
            // What is staged is adopted only if it is right.
            let staged = machine.path("root/.persist.state-staged/var/lib/app/data");
            fs::write(staged, "DATA").unwrap();
            resumed += 1;
        }
    }
    assert!(interrupted > 20 && resumed == 1, "{interrupted}");
    assert_eq!(machine.read("root/persist/var/lib/app/data"), "data");
    assert_eq!(
        machine.read("root/persist/var/lib/app/sub/more").len(),
        500_000
    );
    assert!(!machine.path("root/.persist.state-staged").exists());
}

#[test]
fn another_archives_staging_is_not_adopted() {
    let machine = Machine::new();
    machine.backup().unwrap();
    let after = After(AtomicU64::new(20));
    machine.restore_with(&after, |_| {}).unwrap_err();
    machine.write("root/persist/var/lib/app/data", "newer");
    fs::remove_dir_all(machine.path("root/persist/var/lib/app/sub")).unwrap();
    machine.backup().unwrap();
    let report = machine.restore().unwrap();
    assert!(!report.stores[0].is_resumed);
    assert_eq!(machine.read("root/persist/var/lib/app/data"), "newer");
    assert!(!machine.path("root/persist/var/lib/app/sub").exists());
}
