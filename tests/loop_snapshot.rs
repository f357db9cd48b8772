//! `state snapshot` on a real btrfs, through the program.

use serde_json::Value;
use state_linux::mount::Guard;
use state_testing::disk::{Disk, subvolume};
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A machine whose store is a subvolume.
struct Machine {
    _mounts: Vec<Guard>,
    dir: tempfile::TempDir,
    _disk: Disk,
}

impl Machine {
    fn new() -> Self {
        let disk = Disk::new("btrfs", 256);
        let dir = tempfile::tempdir().unwrap();
        let top = disk.mount(Some("/"), &dir.path().join("top"));
        subvolume(&dir.path().join("top/the store"));
        let store = disk.mount(Some("/the store"), &dir.path().join("persist"));
        let machine = Self {
            _mounts: vec![top, store],
            dir,
            _disk: disk,
        };
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
    for how in ["--yes", "--dry-run"] {
        let refused = machine.state(&["snapshot", "rollback", "first", how]);
        assert_eq!(refused.status.code(), Some(4), "{refused:?}");
        assert_eq!(machine.read(), "two");
    }
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
