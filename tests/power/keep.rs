//! Power cuts in `state keep`, root and store on one real btrfs: what is being kept is whole where
//! it was or whole in the store, and the next run finishes.

use state::inventory::{self, Inventory};
use state_api::{Never, View};
use state_linux::loopback::Loop;
use state_linux::mount::Guard;
use state_linux::namespace;
use state_testing::{disk, write_log};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const KEPT: &str = "var/lib/app";
const CONFIG: &str = "persist/etc/state/state.toml";

/// A machine on a device. Mounts are in a namespace of the test's thread.
struct Machine {
    /// Root with all that is mounted in it, first.
    _mounts: [Guard; 2],
    dir: tempfile::TempDir,
}

impl Machine {
    fn on(device: &Path) -> Self {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let mount =
            |subvolume, at| disk::mounted("btrfs", device, Some(subvolume), &dir.path().join(at));
        Self {
            _mounts: [mount("root", ""), mount("persist", "persist")],
            dir,
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn keep(&self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_state"));
        command.arg("--root").arg(self.at("")).arg("--config");
        command.arg(self.at(CONFIG)).args(["keep", "/var/lib/app"]);
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    fn note(&self, path: &str) -> Option<Inventory> {
        let view = View::live(File::open(self.at(path)).ok()?.into());
        Some(inventory::take(&view, &|_| false, &Never).unwrap())
    }

    fn is_declared(&self) -> bool {
        let config = fs::read_to_string(self.at(CONFIG)).unwrap();
        match config.as_str() {
            "[persist.\"/persist\"]\n" => false,
            _ => {
                assert!(config.contains("\"/var/lib/app\""), "{config}");
                true
            }
        }
    }
}

#[test]
#[ignore = "needs root, a loop device and qemu-storage-daemon"]
fn loop_write_log_every_cut_in_a_keep_leaves_what_is_kept() {
    namespace::own_mounts().expect("this needs root");
    let image = disk::image("btrfs", 160);
    let whole = {
        let device = Loop::attach(image.path(), false).expect("this needs loop devices");
        let top = tempfile::tempdir_in("/var/tmp").unwrap();
        let mounted = disk::mounted("btrfs", device.path(), None, top.path());
        for name in ["root", "persist"] {
            disk::subvolume(&top.path().join(name));
        }
        fs::create_dir(top.path().join("root/persist")).unwrap();
        mounted.unmount().unwrap();
        let machine = Machine::on(device.path());
        for path in [
            &machine.at(KEPT).join("deep"),
            &machine.at("persist/etc/state"),
        ] {
            fs::create_dir_all(path).unwrap();
        }
        fs::write(machine.at(CONFIG), "[persist.\"/persist\"]\n").unwrap();
        fs::write(machine.at(KEPT).join("data"), "data").unwrap();
        fs::hard_link(
            machine.at(KEPT).join("data"),
            machine.at(KEPT).join("deep/link"),
        )
        .unwrap();
        fs::write(machine.at(KEPT).join("deep/more"), "more ".repeat(20_000)).unwrap();
        machine.note(KEPT).unwrap()
    };
    let recording = write_log::record(image.path(), |device| {
        let machine = Machine::on(device);
        machine.keep();
        machine
    });
    let (writes, flushes) = recording.counts();
    assert!(
        writes > 20 && flushes >= 4,
        "{writes} writes, {flushes} flushes"
    );
    let is_whole = |found: Option<Inventory>| found.as_ref() == Some(&whole);
    for cut in recording.all() {
        let image = recording.image(&cut).unwrap();
        let disk = Loop::attach(image.path(), false).unwrap();
        let machine = Machine::on(disk.path());
        let is_in_store = is_whole(machine.note("persist/var/lib/app"));
        assert!(is_in_store || is_whole(machine.note(KEPT)), "{cut:?}");
        // Nobody mounts an entry over what is still to be moved.
        assert!(is_in_store || !machine.is_declared(), "{cut:?}");
        machine.keep();
        assert!(
            is_whole(machine.note("persist/var/lib/app")),
            "the next run after {cut:?}"
        );
        assert!(is_whole(machine.note(KEPT)), "the next run after {cut:?}");
        assert!(machine.is_declared(), "the next run after {cut:?}");
    }
    // What was reported as done is durable.
    let image = recording.image(&recording.at_the_end()).unwrap();
    let disk = Loop::attach(image.path(), false).unwrap();
    let machine = Machine::on(disk.path());
    assert!(is_whole(machine.note("persist/var/lib/app")) && machine.is_declared());
}
