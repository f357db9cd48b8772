//! Archives that build on each other, from one backup to the next.

use crate::machine::{Machine, exit};
use state::ops::{archives, backup};
use state::progress::Silent;
use state_api::Never;
use std::fs;

fn machine() -> Machine {
    let machine = Machine::new();
    // What was written within the second of a backup is archived once more: not what is tested.
    std::thread::sleep(std::time::Duration::from_millis(20));
    machine
}

fn verified(machine: &Machine) -> Vec<(String, Option<String>)> {
    let which = archives::Which::default();
    let verified = archives::verify(&machine.context(&Never), &which, None, false, &Silent);
    let verdicts = verified.unwrap().archives.into_iter();
    verdicts
        .map(|verdict| (verdict.archive.id, verdict.damage))
        .collect()
}

#[test]
fn a_backup_builds_on_the_last_and_restores_from_all() {
    let machine = machine();
    let full = machine.backup_next();
    assert_eq!(full.parent, None);
    assert_eq!(
        full.full_because.as_deref(),
        Some("there is no archive that every target has whole")
    );
    let full = full.id.unwrap();
    // Nothing changed: no archive.
    let none = machine.backup_next();
    assert_eq!((none.id, none.unchanged_since), (None, Some(full.clone())));
    assert_eq!(machine.list().archives.len(), 1);

    machine.write("root/persist/var/lib/app/data", "changed");
    fs::remove_dir_all(machine.store().join("var/lib/app/sub")).unwrap();
    let second = machine.backup_next();
    assert_eq!(
        (second.parent.as_deref(), second.totals.files),
        (Some(full.as_str()), 1)
    );
    let second = second.id.unwrap();
    let both = [(full.clone(), None), (second.clone(), None)];
    assert_eq!(verified(&machine), both);

    machine.write("root/persist/var/lib/app/data", "lost");
    machine.restore().unwrap();
    assert_eq!(machine.read("root/persist/var/lib/app/data"), "changed");
    assert!(!machine.store().join("var/lib/app/sub").exists());
    // The moment before.
    machine
        .restore_with(&Never, |options| {
            options.archive = Some(full.clone());
            options.forget_replaced = true;
        })
        .unwrap();
    assert!(machine.store().join("var/lib/app/sub").exists());
}

#[test]
fn a_parent_that_is_missing_or_replaced_is_told_before_anything_is_staged() {
    let machine = machine();
    let full = machine.backup_next().id.unwrap();
    machine.write("root/persist/var/lib/app/data", "changed");
    let second = machine.backup_next().id.unwrap();
    // Another full archive under the parent's name.
    machine.write("root/persist/var/lib/app/data", "other");
    let other = machine.backup().unwrap().id.unwrap();
    let labels = machine.path("usb/blitzar");
    let kept = fs::read_to_string(labels.join(format!("{full}.txt"))).unwrap();
    let fake = fs::read_to_string(labels.join(format!("{other}.txt"))).unwrap();
    let data = fs::read(machine.data(&other)).unwrap();
    let whole = fs::read(machine.data(&full)).unwrap();
    fs::write(
        labels.join(format!("{full}.txt")),
        fake.replace(&other, &full),
    )
    .unwrap();
    fs::write(machine.data(&full), &data).unwrap();
    let restore = || {
        let restored =
            machine.restore_with(&Never, |options| options.archive = Some(second.clone()));
        let error = restored.unwrap_err();
        let said = error.to_string();
        let usb = format!("{}/", machine.path("usb").display());
        (exit(&error), said.replace(&usb, ""))
    };
    let why = format!(
        "blitzar/{second}.tar.zst: it cannot be read: another archive was put in the place of {full}"
    );
    assert_eq!(restore(), (13, why));
    fs::write(labels.join(format!("{full}.txt")), kept).unwrap();
    fs::write(machine.data(&full), &whole[1..]).unwrap();
    let why = format!("blitzar/{second}.tar.zst: {full}, on which it builds, is missing or broken");
    assert_eq!(restore(), (13, why));
    assert_eq!(machine.reserved(), [""; 0]);
    // The next backup does not build on it either.
    machine.write("root/persist/var/lib/app/data", "more");
    let next = machine.backup_next();
    assert_eq!(next.parent, Some(other));
}

#[test]
fn a_lost_manifest_is_read_from_the_target_and_a_changed_one_is_not_believed() {
    let machine = machine();
    let mut last = machine.backup_next().id.unwrap();
    let kept = machine.store().join(".state/archive");
    for round in 0..4 {
        let file = kept.join(format!("{last}.manifest.zst"));
        match round {
            0 => {}
            1 => fs::remove_dir_all(&kept).unwrap(),
            2 => {
                // Its index is whole, and a block is not.
                let mut bytes = fs::read(&file).unwrap();
                let head = zstd::zstd_safe::find_frame_compressed_size(&bytes).unwrap();
                bytes[head + 20] ^= 1;
                fs::write(&file, bytes).unwrap();
            }
            _ => fs::write(&file, zstd::encode_all(&b"{}\n"[..], 1).unwrap()).unwrap(),
        }
        machine.write("root/persist/var/lib/app/data", &format!("round {round}"));
        let next = machine.backup_next();
        assert_eq!(next.parent.as_ref(), Some(&last), "round {round}");
        last = next.id.unwrap();
        assert_eq!(fs::read_dir(&kept).unwrap().count(), 1, "only the newest");
    }
    assert!(
        verified(&machine)
            .iter()
            .all(|(_, damage)| damage.is_none())
    );
}

#[test]
fn a_chain_has_an_end() {
    let machine = machine();
    machine.configure("[archive]\nfull-every = 3\n");
    let mut positions = Vec::new();
    for round in 0..7 {
        machine.write("root/persist/var/lib/app/data", &format!("round {round}"));
        machine.backup_next();
    }
    positions.extend(
        machine
            .list()
            .archives
            .iter()
            .map(|archive| archive.position),
    );
    assert_eq!(positions, [0, 1, 2, 0, 1, 2, 0]);
}

#[test]
fn a_chain_is_consolidated_and_built_on() {
    let machine = machine();
    for round in 0..3 {
        machine.write("root/persist/var/lib/app/data", &format!("round {round}"));
        machine.backup_next();
    }
    let which = archives::Which::default();
    let older = &machine.list().archives[1].id;
    let error = backup::consolidate(&machine.context(&Never), &which, older, &Silent).unwrap_err();
    assert_eq!(exit(&error), 4, "it would become the newest: {error:#}");
    let consolidate = |cx| backup::consolidate(&cx, &which, "latest", &Silent).unwrap();
    let mut dry = machine.context(&Never);
    dry.dry_run = true;
    let planned = consolidate(dry);
    assert_eq!((planned.chain, planned.id), (3, None));
    assert_eq!(machine.list().archives.len(), 3);
    let done = consolidate(machine.context(&Never));
    let positions = || -> Vec<u64> {
        machine
            .list()
            .archives
            .iter()
            .map(|archive| archive.position)
            .collect()
    };
    assert_eq!(positions(), [0, 1, 2, 0]);
    assert_eq!(consolidate(machine.context(&Never)).chain, 1, "it is full");
    // Those it was made of are not needed.
    for archive in machine.list().archives {
        if Some(&archive.id) != done.id.as_ref() {
            fs::remove_file(machine.data(&archive.id)).unwrap();
        }
    }
    machine.write("root/persist/var/lib/app/data", "after");
    let next = machine.backup_next();
    assert_eq!((next.parent, next.totals.files), (done.id, 1));
    machine.write("root/persist/var/lib/app/data", "lost");
    machine.restore().unwrap();
    assert_eq!(machine.read("root/persist/var/lib/app/data"), "after");
}

/// Set after it was asked so many times.
struct After(std::sync::atomic::AtomicU32);

impl state_api::Interrupt for After {
    fn is_set(&self) -> bool {
        use std::sync::atomic::Ordering::Relaxed;
        let next = |left: u32| Some(left.saturating_sub(1));
        self.0.fetch_update(Relaxed, Relaxed, next) <= Ok(1)
    }
}

#[test]
fn an_interrupted_consolidation_leaves_no_archive() {
    let machine = machine();
    for round in 0..2 {
        machine.write("root/persist/var/lib/app/data", &format!("round {round}"));
        machine.backup_next();
    }
    let which = archives::Which::default();
    let mut questions = 1;
    loop {
        let interrupt = After(std::sync::atomic::AtomicU32::new(questions));
        match backup::consolidate(&machine.context(&interrupt), &which, "latest", &Silent) {
            Ok(done) => break assert!(done.id.is_some()),
            Err(error) => assert_eq!(exit(&error), 130, "{error:#}"),
        }
        assert_eq!(machine.list().archives.len(), 2, "after {questions}");
        questions += 1;
    }
    assert!(questions > 3, "{questions}");
}
