//! `state snapshot` on a real btrfs, through the program.

use serde_json::Value;
use state_linux::loopback::Loop;
use state_linux::mount::{self, Attributes};
use state_linux::{btrfs, mountinfo, namespace};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A machine whose store is a subvolume. Mounts end with the test's thread, the image has no name.
struct Machine {
    dir: tempfile::TempDir,
    _disk: Loop,
}

impl Machine {
    fn new() -> Self {
        namespace::own_mounts().expect("this needs root");
        let image = tempfile::tempfile_in("/var/tmp").unwrap();
        image.set_len(256 << 20).unwrap();
        let path = format!("/proc/self/fd/{}", image.as_raw_fd());
        let disk = Loop::attach(Path::new(&path), false).expect("this needs loop devices");
        let mut mkfs = Command::new("mkfs.btrfs");
        let made = mkfs.args(["-q", "-f"]).arg(disk.path()).output();
        assert!(made.expect("this needs btrfs-progs").status.success());
        let dir = tempfile::tempdir().unwrap();
        let machine = Self { dir, _disk: disk };

        let mount = |subvolume: &str, at: &str| {
            let at = machine.at(at);
            fs::create_dir_all(&at).unwrap();
            let source = ("source", Some(machine._disk.path().as_os_str()));
            let options = [source, ("subvol", Some(OsStr::new(subvolume)))];
            let mounted = mount::detached("btrfs", &options, Attributes::empty()).unwrap();
            mount::attach(mounted, rustix::fs::CWD, &at).unwrap();
        };
        mount("/", "top");
        btrfs::create(
            File::open(machine.at("top")).unwrap(),
            OsStr::new("the store"),
        )
        .unwrap();
        mount("/the store", "persist");
        fs::create_dir_all(machine.at("etc/state")).unwrap();
        let config = "[persist.\"/persist\"]\ndirectories = [\"/srv\"]\n\n\
                      [snapshots]\nkeep = { last = 2 }\n";
        fs::write(machine.at("etc/state/state.toml"), config).unwrap();
        machine
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn write(&self, text: &str) {
        fs::create_dir_all(self.at("persist/srv")).unwrap();
        fs::write(self.at("persist/srv/file"), text).unwrap();
    }

    fn read(&self) -> String {
        fs::read_to_string(self.at("persist/srv/file")).unwrap()
    }

    fn state(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_state"));
        let command = command.arg("--root").arg(self.dir.path()).args(args);
        command.stdin(Stdio::null()).output().unwrap()
    }

    fn done(&self, args: &[&str]) -> Value {
        let output = self.state(&[&["snapshot"], args, &["--json"]].concat());
        assert!(output.status.success(), "{args:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let lists = self.done(&["list"]);
        let snapshots = lists[0]["snapshots"].as_array().unwrap();
        snapshots
            .iter()
            .map(|one| one["name"].as_str().unwrap().to_owned())
            .collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Or the directory could not be removed after this.
        let mounts = mountinfo::read().unwrap();
        for mount in mounts
            .iter()
            .rev()
            .filter(|mount| mount.at.starts_with(self.dir.path()))
        {
            mount::unmount_lazily(&mount.at).unwrap();
        }
    }
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_snapshots_are_taken_compared_rolled_back_and_pruned() {
    let machine = Machine::new();
    machine.write("one");
    machine.done(&["create", "first"]);
    machine.write("two");
    fs::write(machine.at("persist/srv/more"), "").unwrap();

    let changes = machine.done(&["diff", "first"])["changes"].clone();
    let words: Vec<String> = (changes.as_array().unwrap().iter())
        .map(|one| {
            format!(
                "{} {}",
                one["what"].as_str().unwrap(),
                one["path"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        words,
        ["changed /persist/srv/file", "created /persist/srv/more"]
    );

    // Somebody uses the store: nothing is exchanged, and nothing is left over.
    let open = File::open(machine.at("persist/srv/file")).unwrap();
    let refused = machine.state(&["snapshot", "rollback", "first", "--yes"]);
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    assert_eq!(machine.read(), "two");
    drop(open);
    let rolled = machine.state(&["snapshot", "rollback", "first", "--yes"]);
    assert_eq!(rolled.status.code(), Some(0), "{rolled:?}");
    assert_eq!(machine.read(), "one");
    assert!(!machine.at("persist/srv/more").exists());
    let undone = machine.state(&["undo", "--yes"]);
    assert_eq!(undone.status.code(), Some(0), "{undone:?}");
    assert_eq!(machine.read(), "two");

    for _ in 0..3 {
        machine.done(&["create"]);
    }
    assert_eq!(machine.names().len(), 4);
    assert_eq!(machine.done(&["prune", "--dry-run"])["executed"], false);
    assert_eq!(machine.names().len(), 4);
    machine.done(&["prune"]);
    let names = machine.names();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names.contains(&"first".to_owned()), "{names:?}");
    machine.done(&["prune", "first"]);
    assert_eq!(machine.names().len(), 2);
    let again = machine.state(&["snapshot", "diff", "first"]);
    assert_eq!(again.status.code(), Some(1), "{again:?}");
}
