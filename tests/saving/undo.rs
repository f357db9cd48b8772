//! What a restore replaced comes back.

use super::machine::{Machine, exit, note};
use state::context::Context;
use state::ops::restore;
use state_api::Never;
use std::fs;
use std::path::PathBuf;

fn undo(machine: &Machine) -> anyhow::Result<Vec<PathBuf>> {
    let undone = restore::undo(&machine.context(&Never), None, false)?;
    let now = |undo: &restore::Undo| undo.how == restore::How::Now;
    assert!(undone.stores.iter().all(now));
    Ok(undone.stores.into_iter().map(|undo| undo.path).collect())
}

fn restore_path(machine: &Machine, path: &str) -> restore::Report {
    let path = Some(path.into());
    let report = machine.restore_with(&Never, |options| options.path = path);
    report.unwrap()
}

#[test]
fn a_path_that_was_replaced_is_put_back_and_again() {
    let machine = Machine::new();
    machine.backup().unwrap();
    let data = "root/persist/var/lib/app/data";
    machine.write(data, "mine");
    let mine = note(&machine.store());
    restore_path(&machine, "/var/lib/app/data");
    assert_eq!(machine.read(data), "data");
    let dry = Context {
        dry_run: true,
        ..machine.context(&Never)
    };
    let plan = restore::undo(&dry, None, false).unwrap();
    let place = machine.path(data);
    assert_eq!((&plan.stores[0].path, plan.executed), (&place, false));
    assert_eq!(undo(&machine).unwrap(), std::slice::from_ref(&place));
    assert_eq!(
        note(&machine.store()).differences(&mine),
        ["var/lib/app: modified"],
        "its directory has been written to"
    );
    // Undoing twice changes nothing.
    undo(&machine).unwrap();
    assert_eq!(machine.read(data), "data");
    // Nothing in its place: it is put there.
    fs::remove_file(&place).unwrap();
    undo(&machine).unwrap();
    assert_eq!(machine.read(data), "mine");
    // The last restore counts: here of a directory.
    machine.write("root/persist/var/lib/app/sub/own", "own");
    restore_path(&machine, "/var/lib/app/sub");
    assert!(!machine.path("root/persist/var/lib/app/sub/own").exists());
    let sub = machine.path("root/persist/var/lib/app/sub");
    assert_eq!(undo(&machine).unwrap(), [sub]);
    assert_eq!(machine.read("root/persist/var/lib/app/sub/own"), "own");
}

#[test]
fn a_path_that_was_not_there_leaves_nothing_to_undo() {
    let machine = Machine::new();
    machine.backup().unwrap();
    fs::remove_dir_all(machine.store().join("var/lib/app/sub")).unwrap();
    restore_path(&machine, "/var/lib/app/sub");
    assert_eq!(exit(&undo(&machine).unwrap_err()), 4);
    assert_eq!(machine.reserved(), [""; 0]);
}

#[test]
fn the_tree_is_put_back_when_it_was_replaced_last() {
    let machine = Machine::new();
    machine.backup().unwrap();
    machine.write("root/persist/var/lib/app/data", "mine");
    restore_path(&machine, "/var/lib/app/data");
    machine.write("root/persist/orphan", "also mine");
    let whole = note(&machine.store());
    machine.restore().unwrap();
    assert_eq!(undo(&machine).unwrap(), [machine.store()]);
    assert_eq!(
        note(&machine.store()).differences(&whole),
        Vec::<String>::new()
    );
}

#[test]
fn a_note_that_leads_elsewhere_is_none() {
    let machine = Machine::new();
    machine.backup().unwrap();
    machine.write("root/persist/var/lib/app/data", "mine");
    restore_path(&machine, "/var/lib/app/data");
    let reserved = machine.store().join(".state");
    let mut kept = fs::read_dir(&reserved)
        .unwrap()
        .map(|kept| kept.unwrap().path());
    let kept = kept.find(|path| path.join(".state").is_dir()).unwrap();
    let file = kept.join(".state/replaced.json");
    let text = fs::read_to_string(&file).unwrap();
    for path in ["../../../usb", "", "/etc", "var/../..", ".."] {
        fs::write(&file, text.replace("var/lib/app/data", path)).unwrap();
        assert_eq!(exit(&undo(&machine).unwrap_err()), 4, "{path}");
    }
    fs::write(&file, text).unwrap();
    undo(&machine).unwrap();
    assert_eq!(machine.read("root/persist/var/lib/app/data"), "mine");
}
