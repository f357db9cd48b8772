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

/// The directory that keeps what the last restore of a path replaced.
fn kept(machine: &Machine) -> Option<PathBuf> {
    let mut reserved = machine.reserved().into_iter();
    let name = reserved.find(|name| name.starts_with("before-"))?;
    Some(machine.store().join(".state").join(name))
}

#[test]
fn what_a_power_cut_left_of_a_path_is_put_back_if_it_was_replaced() {
    let machine = Machine::new();
    machine.backup().unwrap();
    let (name, data) = ("var/lib/app/data", "root/persist/var/lib/app/data");
    machine.write(data, "mine");
    restore_path(&machine, "/var/lib/app/data");
    let kept_in = kept(&machine).unwrap();
    let notes = ["replaced.json", "replacing.json"].map(|name| kept_in.join(".state").join(name));
    // Right after the exchange.
    fs::rename(&notes[0], &notes[1]).unwrap();
    undo(&machine).unwrap();
    assert_eq!(machine.read(data), "mine");
    undo(&machine).unwrap();
    assert_eq!(machine.read(data), "data");
    undo(&machine).unwrap();
    // Right before it: what is kept is what comes in.
    fs::rename(&notes[0], &notes[1]).unwrap();
    assert_eq!(fs::read_to_string(kept_in.join(name)).unwrap(), "data");
    assert_eq!(exit(&undo(&machine).unwrap_err()), 4);
    assert_eq!(machine.read(data), "mine");
    // The same where nothing had been, right after it.
    fs::remove_file(kept_in.join(name)).unwrap();
    assert_eq!(exit(&undo(&machine).unwrap_err()), 4);
    // The next restore needs no such thing.
    fs::remove_file(machine.path(data)).unwrap();
    restore_path(&machine, "/var/lib/app/data");
    assert_eq!(kept(&machine), None);
}

#[test]
fn a_note_that_leads_elsewhere_is_none() {
    let machine = Machine::new();
    machine.backup().unwrap();
    machine.write("root/persist/var/lib/app/data", "mine");
    restore_path(&machine, "/var/lib/app/data");
    let file = kept(&machine).unwrap().join(".state/replaced.json");
    let text = fs::read_to_string(&file).unwrap();
    for path in ["../../../usb", "", "/etc", "var/../..", ".."] {
        fs::write(&file, text.replace("var/lib/app/data", path)).unwrap();
        assert_eq!(exit(&undo(&machine).unwrap_err()), 4, "{path}");
    }
    fs::write(&file, text).unwrap();
    undo(&machine).unwrap();
    assert_eq!(machine.read("root/persist/var/lib/app/data"), "mine");
}
