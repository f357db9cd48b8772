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
pub(super) struct Machine {
    dir: tempfile::TempDir,
    filesystem: &'static str,
    /// What is mounted of the device, if not all.
    subvolume: Option<&'static str>,
    /// Where, below the root directory.
    mounted_at: &'static str,
}

/// Where the store is.
const STORE: &str = "root/persist";

/// A store that is mounted.
pub(super) struct Mounted<'a> {
    machine: &'a Machine,
    _store: Guard,
}

impl Machine {
    pub(super) fn new(filesystem: &'static str, subvolume: Option<&'static str>) -> Self {
        namespace::own_mounts().expect("this needs root");
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let machine = Self {
            dir,
            filesystem,
            subvolume,
            mounted_at: STORE,
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

    /// One whose store is a directory of what is mounted.
    pub(super) fn within(filesystem: &'static str) -> Self {
        Self {
            mounted_at: "root",
            ..Self::new(filesystem, None)
        }
    }

    pub(super) fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    pub(super) fn mount(&self, device: &Path) -> Mounted<'_> {
        let at = self.at(self.mounted_at);
        Mounted {
            machine: self,
            _store: disk::mounted(self.filesystem, device, self.subvolume, &at),
        }
    }

    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_state"));
        command.arg("--root").arg(self.at("root"));
        command.arg("--config").arg(self.at("state.toml"));
        command.arg("--yes").args(args).stdin(Stdio::null());
        command
    }

    /// What it says.
    pub(super) fn state(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Mounted<'_> {
    pub(super) fn put(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.machine.at(STORE).join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(super) fn state(&self, args: &[&str]) -> String {
        self.machine.state(args)
    }

    /// Everything but what is ours.
    pub(super) fn store(&self) -> Inventory {
        let view = View::live(File::open(self.machine.at(STORE)).unwrap().into());
        inventory::take(&view, &|path| path == Path::new(".state"), &Never).unwrap()
    }
}

/// With all that `state mount` has put in place.
impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        disk::unmount_all(&self.machine.at("root"));
    }
}

/// Makes the subvolume that the store is to be, if it is one.
pub(super) fn prepare(machine: &Machine, device: &Path) {
    if let Some(subvolume) = machine.subvolume {
        let whole = Machine::new(machine.filesystem, None);
        let mounted = whole.mount(device);
        disk::subvolume(&whole.at(STORE).join(subvolume));
        drop(mounted);
    }
}

/// When the store is exchanged.
#[derive(Clone, Copy, PartialEq)]
enum When {
    /// By the restore itself.
    Now,
    /// By the boot after it.
    AtBoot,
}

fn sweep(machine: &Machine, when: When) {
    let image = disk::image(machine.filesystem, 160);
    let before = {
        let device = Loop::attach(image.path(), false).expect("this needs loop devices");
        prepare(machine, device.path());
        let mounted = machine.mount(device.path());
        mounted.put("var/lib/app/data", "archived");
        mounted.put("var/lib/app/deep/er/more", "more ".repeat(20_000));
        mounted.put("orphan", "nobody declared this");
        mounted.state(&["backup"]);
        mounted.put("var/lib/app/data", "present");
        mounted.put("var/lib/app/new", "present");
        if when == When::AtBoot {
            let mut user = Command::new("sleep");
            let user = user.arg("600").current_dir(machine.at(STORE)).spawn();
            let mut user = user.unwrap();
            let said = mounted.state(&["restore", "--allow-unsigned"]);
            user.kill().unwrap();
            user.wait().unwrap();
            assert!(said.contains("waits for the next boot"), "{said}");
        }
        mounted.store()
    };
    let mut restored = None;
    let recording = write_log::record(image.path(), |device| {
        let mounted = machine.mount(device);
        match when {
            When::Now => mounted.state(&["restore", "--allow-unsigned"]),
            When::AtBoot => mounted.state(&["mount"]),
        };
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
    // A boot that was cut is finished by the next one.
    let expected = [when == When::Now, true];
    assert_eq!(found.map(|times| times > 0), expected, "{found:?}");
    // What was reported as done is durable.
    let image = recording.image(&recording.at_the_end()).unwrap();
    let disk = Loop::attach(image.path(), false).unwrap();
    let mounted = machine.mount(disk.path());
    assert_eq!(mounted.store().differences(&restored), [""; 0]);
}

fn every_shape(when: When) {
    sweep(&Machine::new("ext4", None), when);
    sweep(&Machine::within("ext4"), when);
    sweep(&Machine::new("btrfs", Some("persist")), when);
}

#[test]
#[ignore = "needs root, a loop device and qemu-storage-daemon"]
fn loop_write_log_every_cut_in_a_restore_leaves_one_whole_tree() {
    every_shape(When::Now);
}

#[test]
#[ignore = "needs root, a loop device and qemu-storage-daemon"]
fn loop_write_log_every_cut_in_a_boot_that_exchanges_is_finished_by_the_next() {
    every_shape(When::AtBoot);
}
