//! Bad input: a clear message, the promised exit code, and nothing lost.

use super::machine::{Machine, exit, note};
use state::archive::frame::SeekTable;
use state::ops::{archives, restore};
use state::progress::Silent;
use state_api::Never;
use std::fs;
use std::os::unix::fs::FileExt;

#[test]
fn an_incomplete_archive_is_never_the_latest() {
    let machine = Machine::new();
    let whole = machine.backup().unwrap();
    machine.configure("users.ghost.directories = [\"Documents\"]\n");
    let partial = machine.backup().unwrap();
    assert!(partial.executed && partial.is_partial());
    assert_eq!(partial.incomplete[0].path.0, b"Documents");
    let list = machine.list();
    let complete: Vec<_> = list.archives.iter().map(|a| a.is_complete).collect();
    assert_eq!(complete, [true, false]);
    assert_eq!(Some(machine.restore().unwrap().id), whole.id);
    let named = machine.restore_with(&Never, |options| {
        options.archive = partial.id.clone();
        options.forget_replaced = true;
    });
    let named = named.unwrap();
    assert_eq!((Some(named.id), named.is_complete), (partial.id, false));
}

#[test]
fn a_second_restore_does_not_quietly_give_up_the_original() {
    let machine = Machine::new();
    machine.backup().unwrap();
    machine.restore().unwrap();
    let the_same = "and keeps the tree that it replaced";
    let another = "still keeps the tree that an earlier restore replaced";
    for kept in [the_same, another] {
        let refused = machine.restore().unwrap_err();
        assert_eq!(exit(&refused), 4);
        assert!(refused.to_string().ends_with(kept), "{refused}");
        machine.write("root/persist/var/lib/app/data", "later");
        machine.backup().unwrap();
    }
    let given_up = machine.restore_with(&Never, |options| options.forget_replaced = true);
    assert!(given_up.unwrap().executed);
}

#[test]
fn an_unsigned_archive_wants_a_word() {
    let machine = Machine::new();
    machine.backup().unwrap();
    let error = machine
        .restore_with(&Never, |options| options.allow_unsigned = false)
        .unwrap_err();
    assert_eq!(exit(&error), 12);
}

#[test]
fn a_damaged_archive_is_refused_and_the_store_stays() {
    let machine = Machine::new();
    let id = machine.backup().unwrap().id.unwrap();
    machine.write("root/persist/var/lib/app/data", "present");
    let before = note(&machine.store());
    let path = machine.data(&id);
    let whole = fs::read(&path).unwrap();
    let damage = |change: &dyn Fn(&fs::File)| {
        fs::write(&path, &whole).unwrap();
        change(&fs::OpenOptions::new().write(true).open(&path).unwrap());
        let verified = archives::verify(
            &machine.context(&Never),
            &archives::Which::default(),
            None,
            false,
            &Silent,
        );
        assert!(verified.unwrap().archives[0].damage.is_some());
        let error = machine.restore().unwrap_err();
        assert_eq!(exit(&error), 13, "{error:#}");
        assert_eq!(
            before.differences(&note(&machine.store())),
            Vec::<String>::new()
        );
    };
    damage(&|file| file.set_len(whole.len() as u64 - 1).unwrap());
    damage(&|file| file.set_len(0).unwrap());
    // In the middle of the content: the frame behind the one of machine.json.
    let length = whole.len() as u64;
    let table = length - SeekTable::length_at_end(&whole, length).unwrap();
    let table = SeekTable::decode(&whole[table as usize..], length).unwrap();
    let content = table.frames()[1];
    let middle = content.at + u64::from(content.packed) / 2;
    damage(&|file| {
        file.write_all_at(&[whole[middle as usize] ^ 1], middle)
            .unwrap()
    });
    damage(&|file| file.write_all_at(b"x", whole.len() as u64).unwrap());

    fs::write(&path, &whole).unwrap();
    machine.restore().unwrap();
}

#[test]
fn a_newer_format_is_named_and_never_passed_over() {
    let machine = Machine::new();
    machine.backup().unwrap();
    let newer = "usb/blitzar/20370101T000000Z-00000000";
    machine.write(&format!("{newer}.txt"), "state archive 2\nunheard: of\n");
    machine.write(&format!("{newer}.tar.zst"), "");
    let wanted = "blitzar/20370101T000000Z-00000000.txt has format 2; this version of state reads \
                  format 1";
    let error = machine.restore().unwrap_err();
    assert_eq!((exit(&error), error.to_string().as_str()), (4, wanted));
    assert_eq!(machine.list().odd[0].why, wanted);
    // The next archive is newer still, although the clock says otherwise.
    let saved = machine.backup().unwrap();
    assert!(
        saved.id.as_ref().unwrap().starts_with("20370101T000001Z-"),
        "{saved:?}"
    );
    assert_eq!(
        saved.notes,
        ["the clock stands before the newest archive's time"]
    );
    assert_eq!(Some(machine.restore().unwrap().id), saved.id);
}

#[test]
fn a_clock_at_1970_loses_no_order() {
    let machine = Machine::new();
    machine.now.set(0);
    let first = machine.backup().unwrap().id.unwrap();
    machine.now.set(-3600);
    let second = machine.backup().unwrap().id.unwrap();
    assert!(
        first.starts_with("19700101T000100Z-") && second > first,
        "{first} {second}"
    );
    assert_eq!(machine.restore().unwrap().id, second);
}

#[test]
fn one_run_at_a_time() {
    let machine = Machine::new();
    machine.backup().unwrap();
    let cx = machine.context(&Never);
    let lock = cx.lock().unwrap();
    assert_eq!(exit(&machine.backup().unwrap_err()), 11);
    assert_eq!(exit(&machine.restore().unwrap_err()), 11);
    assert_eq!(
        exit(&restore::undo(&cx, Some(&machine.store()), false).unwrap_err()),
        11
    );
    drop(lock);
    machine.backup().unwrap();
}

#[test]
fn a_target_that_fails_does_not_keep_the_archive_from_another() {
    let machine = Machine::new();
    machine.configure("[target.gone]\nurl = \"file:///nonexistent/disk\"\n");
    let report = machine.backup().unwrap();
    assert!(report.is_partial());
    let published: Vec<_> = (report.targets.iter())
        .map(|target| (target.target.as_str(), target.is_published))
        .collect();
    assert_eq!(published, [("gone", false), ("usb", true)]);
    // A restore does not need it either.
    machine.restore().unwrap();
    fs::remove_dir_all(machine.path("usb")).unwrap();
    let error = machine.backup().unwrap_err();
    assert_eq!(exit(&error), 1, "{error:#}");
}

#[test]
fn odd_names_of_machines_and_objects_are_refused() {
    let machine = Machine::new();
    let which = |machine: &str| archives::Which {
        from: None,
        machine: Some(machine.into()),
        ..Default::default()
    };
    for name in ["../x", "", ".", "a/b", "-x", "a b"] {
        let list = archives::list(&machine.context(&Never), &which(name));
        assert_eq!(exit(&list.unwrap_err()), 2, "{name:?}");
    }
    machine.write("usb/blitzar/what is this", "");
    machine.write("usb/blitzar/.hidden", "");
    machine.write("usb/file", "");
    assert_eq!(machine.list().odd, []);
}

#[test]
fn a_store_that_is_not_mounted_is_not_archived() {
    let machine = Machine::new();
    machine.configure("[root]\nbackend = \"tmpfs\"\n");
    let error = machine.backup().unwrap_err();
    assert_eq!(exit(&error), 4, "{error:#}");
    assert!(machine.list().archives.is_empty());
}
