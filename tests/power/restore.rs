//! Power cuts in a restore, on real ext4 and btrfs stores: what was there is complete in place, or
//! what is restored is, once the boot has put the persist tree in place.

use state::inventory::{self, Inventory};
use state_api::{Never, View};
use state_linux::loopback::Loop;
use state_linux::mount::Guard;
use state_linux::namespace;
use state_testing::{disk, write_log};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A machine whose store is on a device that is named each time. Mounts are in a namespace of the
/// test's thread.
struct Machine {
    dir: tempfile::TempDir,
    filesystem: &'static str,
    /// What is mounted of the device, if not all.
    subvolume: Option<&'static str>,
}

/// A store that is mounted.
struct Mounted<'a> {
    machine: &'a Machine,
    _store: Guard,
}

impl Machine {
    fn new(filesystem: &'static str, subvolume: Option<&'static str>) -> Self {
        namespace::own_mounts().expect("this needs root");
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let machine = Self {
            dir,
            filesystem,
            subvolume,
        };
        for each in ["usb", "root/persist", "root/var/lib/app"] {
            fs::create_dir_all(machine.at(each)).unwrap();
        }
        let config = format!(
            "[machine]\nname = \"blitzar\"\n[target.usb]\nurl = \"file://{}\"\n\
             [persist.\"/persist\"]\ndirectories = [\"/var/lib/app\"]\n",
            machine.at("usb").display()
        );
        fs::write(machine.at("state.toml"), config).unwrap();
        machine
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn mount(&self, device: &Path) -> Mounted<'_> {
        let at = self.at("root/persist");
        Mounted {
            machine: self,
            _store: disk::mounted(self.filesystem, device, self.subvolume, &at),
        }
    }

    fn state(&self, args: &[&str]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_state"));
        let command = command.arg("--root").arg(self.at("root"));
        let command = command
            .arg("--config")
            .arg(self.at("state.toml"))
            .arg("--yes");
        let output = command.args(args).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
    }
}

impl Mounted<'_> {
    fn put(&self, path: &str, text: &str) {
        let path = self.machine.at("root/persist").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn state(&self, args: &[&str]) {
        self.machine.state(args);
    }

    /// Everything but what is ours.
    fn store(&self) -> Inventory {
        let view = View::live(File::open(self.machine.at("root/persist")).unwrap().into());
        inventory::take(&view, &|path| path == Path::new(".state"), &Never).unwrap()
    }
}

/// With all that `state mount` has put in place.
impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        disk::unmount_all(&self.machine.at("root"));
    }
}

fn sweep(filesystem: &'static str, subvolume: Option<&'static str>) {
    let machine = Machine::new(filesystem, subvolume);
    let image = disk::image(filesystem, 160);
    let before = {
        let device = Loop::attach(image.path(), false).expect("this needs loop devices");
        if let Some(subvolume) = subvolume {
            let whole = Machine::new(filesystem, None);
            let mounted = whole.mount(device.path());
            disk::subvolume(&whole.at("root/persist").join(subvolume));
            drop(mounted);
        }
        let mounted = machine.mount(device.path());
        mounted.put("var/lib/app/data", "archived");
        mounted.put("var/lib/app/deep/er/more", &"more ".repeat(20_000));
        mounted.put("orphan", "nobody declared this");
        mounted.state(&["backup"]);
        mounted.put("var/lib/app/data", "present");
        mounted.put("var/lib/app/new", "present");
        mounted.store()
    };
    let mut restored = None;
    let recording = write_log::record(image.path(), |device| {
        let mounted = machine.mount(device);
        mounted.state(&["restore", "--allow-unsigned"]);
        restored = Some(mounted.store());
        mounted
    });
    let restored = restored.unwrap();
    assert_ne!(restored, before);
    let (writes, flushes) = recording.counts();
    assert!(
        writes > 20 && flushes >= 4,
        "{writes} writes, {flushes} flushes"
    );
    let mut found = [0, 0];
    for cut in recording.all() {
        let image = recording.image(&cut).unwrap();
        let disk = Loop::attach(image.path(), false).unwrap();
        let mounted = machine.mount(disk.path());
        mounted.state(&["mount"]);
        let now = mounted.store();
        let which = [&before, &restored].iter().position(|one| **one == now);
        let Some(which) = which else {
            panic!(
                "{cut:?}: neither\n{:#?}\nnor\n{:#?}",
                before.differences(&now),
                restored.differences(&now)
            )
        };
        found[which] += 1;
    }
    assert!(found.iter().all(|times| *times > 0), "{found:?}");
    // What was reported as done is durable.
    let image = recording.image(&recording.at_the_end()).unwrap();
    let disk = Loop::attach(image.path(), false).unwrap();
    let mounted = machine.mount(disk.path());
    assert_eq!(mounted.store().differences(&restored), [""; 0]);
}

#[test]
#[ignore = "needs root, a loop device and qemu-storage-daemon"]
fn loop_write_log_every_cut_in_a_restore_leaves_one_whole_tree() {
    sweep("ext4", None);
    sweep("btrfs", Some("persist"));
}
