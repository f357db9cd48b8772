//! Interrupted at every question: nothing partial is published or swapped in, and the next run
//! finishes.

use super::machine::{After, Machine, exit, note};
use state::ops::restore;
use state_api::Never;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
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

/// What an exchange is in the middle of, made of one that is over: both trees have other names, and the journal tells.
fn in_an_exchange(machine: &Machine, is_exchanged: bool) {
    let live = machine.store();
    let [replaced, staged, journal] = ["replaced", "staged", "journal"]
        .map(|what| machine.path(&format!("root/.persist.state-{what}")));
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    let (new, old): (u64, u64) = (inode(&live), inode(&replaced));
    fs::write(journal, format!("exchange 1 {new} {old}\n")).unwrap();
    fs::rename(&replaced, &staged).unwrap();
    if !is_exchanged {
        let aside = machine.path("root/aside");
        fs::rename(&live, &aside).unwrap();
        fs::rename(&staged, &live).unwrap();
        fs::rename(&aside, &staged).unwrap();
    }
}

#[test]
fn an_interrupted_exchange_is_finished_and_what_was_there_is_kept() {
    for (is_exchanged, forget, is_noted) in [
        (false, false, true),
        (true, false, true),
        (false, true, true),
        (true, true, true),
        (true, true, false),
    ] {
        let machine = Machine::new();
        machine.backup().unwrap();
        machine.write("root/persist/var/lib/app/data", "mine");
        let mine = note(&machine.store());
        machine.restore().unwrap();
        let noted = machine.path("root/persist/.state/restored.json");
        assert!(noted.exists());
        if !is_noted {
            fs::remove_file(noted).unwrap();
        }
        in_an_exchange(&machine, is_exchanged);
        // The same command as before, which gave up a tree older than these.
        let again = machine.restore_with(&Never, |options| options.forget_replaced = forget);
        match again {
            Ok(report) => assert!(is_noted && report.is_done()),
            Err(error) => {
                assert!(!is_noted, "{error:#}");
                assert_eq!(exit(&error), 4);
            }
        }
        assert_eq!(machine.read("root/persist/var/lib/app/data"), "data");
        restore::undo(&machine.context(&Never), None, false).unwrap();
        assert_eq!(note(&machine.store()).differences(&mine), [""; 0]);
    }
}

#[test]
fn of_two_stores_both_are_restored_or_none() {
    let machine = Machine::new();
    machine.configure("[persist.\"/second\"]\ndirectories = [\"/srv\"]\n");
    machine.write("root/second/srv/file", "archived");
    machine.backup().unwrap();
    machine.write("root/persist/var/lib/app/data", "mine");
    machine.write("root/second/srv/file", "mine");
    let trees = || ["persist", "second"].map(|name| note(&machine.path(&format!("root/{name}"))));
    let mine = trees();
    // The second one's journal cannot be written.
    let obstacle = machine.path("root/.second.state-journal.new");
    fs::create_dir(&obstacle).unwrap();
    let error = machine.restore().unwrap_err();
    assert!(error.to_string().contains("second"), "{error:#}");
    for (was, is) in mine.iter().zip(trees()) {
        assert_eq!(was.differences(&is), [""; 0]);
    }
    fs::remove_dir(&obstacle).unwrap();
    let report = machine.restore().unwrap();
    let resumed: Vec<_> = report.stores.iter().map(|store| store.is_resumed).collect();
    assert_eq!(resumed, [true, true]);
    assert_eq!(machine.read("root/persist/var/lib/app/data"), "data");
    assert_eq!(machine.read("root/second/srv/file"), "archived");
    // As if the power had been cut between the two.
    let [new, old] =
        ["second", ".second.state-replaced"].map(|name| machine.path(&format!("root/{name}")));
    let waits = machine.path("root/.second.state-waiting");
    fs::rename(&new, &waits).unwrap();
    fs::rename(&old, &new).unwrap();
    let mark = fs::read(waits.join(".state/restored.json")).unwrap();
    let mark: serde_json::Value = serde_json::from_slice(&mark).unwrap();
    let note = serde_json::json!({
        "version": 1,
        "at": "2027-01-15T08:00:00Z",
        "boot-id": "",
        "what": {
            "kind": "restore",
            "archive": mark["of"]["archive"],
            "manifest-sha256": mark["of"]["manifest-sha256"],
        },
    });
    fs::create_dir_all(new.join(".state")).unwrap();
    fs::write(new.join(".state/waiting.json"), note.to_string()).unwrap();
    let report = machine.restore().unwrap();
    let is_earlier = |store: &restore::Restored| store.earlier.is_some();
    let earlier: Vec<_> = report.stores.iter().map(is_earlier).collect();
    assert_eq!(earlier, [true, false]);
    assert_eq!(machine.read("root/second/srv/file"), "archived");
    restore::undo(&machine.context(&Never), None, false).unwrap();
    for (was, is) in mine.iter().zip(trees()) {
        assert_eq!(was.differences(&is), [""; 0]);
    }
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
