//! A store on a btrfs subvolume of its own: what goes with its tree, and what stays with the machine.

use super::filesystems::{Disk, run};
use super::live::boots;
use super::machine::{Machine, exit};
use state::ops::restore::{How, undo};
use state_api::Never;
use state_linux::loopback::Loop;
use state_linux::mount::{Attributes, Guard, detached};
use state_linux::namespace;
use std::ffi::OsStr;
use std::fs;

/// The store on a subvolume of its own, empty.
fn on_subvolume(machine: &Machine) -> (Guard, Disk) {
    let top = machine.path("top");
    let disk = Disk::new(machine, "btrfs", &top);
    let subvolume = top.join("persist");
    run(
        "btrfs",
        &["-q", "subvolume", "create", subvolume.to_str().unwrap()],
    );
    let source = Some(disk.1.path().as_os_str());
    let options = [("source", source), ("subvol", Some(OsStr::new("persist")))];
    let mount = detached("btrfs", &options, Attributes::empty()).unwrap();
    (Guard::attach(mount, &machine.store()).unwrap(), disk)
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_what_only_unmounting_shows_to_be_in_use_goes_back_by_the_boot() {
    namespace::own_mounts().expect("this needs root");
    let machine = Machine::new();
    machine.backup().unwrap();
    let (store, _disk) = on_subvolume(&machine);
    machine.write("root/persist/var/lib/app/data", "mine");
    machine.restore().unwrap();
    // No process has it open: the kernel does.
    let image = machine.store().join("image");
    fs::File::create(&image).unwrap().set_len(1 << 20).unwrap();
    let device = Loop::attach(&image, false).unwrap();
    let mut undone = undo(&machine.context(&Never), None, false).unwrap();
    let how = undone.stores.remove(0).how;
    assert!(matches!(how, How::AtBoot { .. }), "{how:?}");
    assert_eq!(machine.read("root/persist/var/lib/app/data"), "data");
    drop(device);
    boots(&machine);
    assert_eq!(machine.read("root/persist/var/lib/app/data"), "mine");
    drop(store);
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_what_is_the_machines_goes_from_subvolume_to_subvolume() {
    namespace::own_mounts().expect("this needs root");
    let machine = Machine::new();
    machine.backup().unwrap();
    let (store, _disk) = on_subvolume(&machine);
    let ours = ["drill.key", "past-roots/a/etc"].map(|name| format!("root/persist/.state/{name}"));
    for name in &ours {
        machine.write(name, "ours");
    }
    for forget in [false, true] {
        machine
            .restore_with(&Never, |options| options.forget_replaced = forget)
            .unwrap();
        assert_eq!(machine.read("root/persist/var/lib/app/data"), "data");
        for name in &ours {
            assert_eq!(machine.read(name), "ours", "{name} {forget}");
        }
        assert!(!machine.store().join(".state/bringing").exists());
    }
    // What cannot be brought stays where it was, and is told.
    let orphans = machine.store().join(".state/quarantine");
    run(
        "btrfs",
        &["-q", "subvolume", "create", orphans.to_str().unwrap()],
    );
    machine.write("root/persist/.state/quarantine/orphan", "ours");
    let report = machine.restore_with(&Never, |options| options.forget_replaced = true);
    let notes = report.unwrap().notes;
    let is_told = |note: &String| note.contains(".state/quarantine holds a volume of its own");
    assert!(notes.iter().any(is_told), "{notes:?}");
    assert!(!orphans.exists());
    let refused = machine.restore_with(&Never, |options| options.forget_replaced = true);
    assert_eq!(exit(&refused.unwrap_err()), 4);
    undo(&machine.context(&Never), None, true).unwrap();
    assert_eq!(
        machine.read("root/persist/.state/quarantine/orphan"),
        "ours"
    );
    assert_eq!(machine.read(&ours[0]), "ours");
    drop(store);
}
