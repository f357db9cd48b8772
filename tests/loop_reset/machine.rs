//! The machine of these tests, and what its runs answer.

use serde_json::Value;
use state_linux::{mount, mountinfo};
use state_testing::disk::{Disk, subvolume};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A machine with a btrfs on a loop device: root, its blank, and a directory as the initrd's `/`.
///
/// Mounts are in a namespace of the test's thread and the image has no name, so nothing is left
/// behind, whatever happens.
pub(crate) struct Machine {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) disk: Disk,
}

impl Machine {
    pub(crate) fn new(mib: u64) -> Self {
        let disk = Disk::new("btrfs", mib);
        let machine = Self {
            dir: tempfile::tempdir().unwrap(),
            disk,
        };
        let initrd = machine.dir.path().join("initrd/etc/state");
        fs::create_dir_all(&initrd).unwrap();
        let config = format!(
            "[root]\nbackend = \"btrfs\"\ndevice = \"{}\"\nsubvolume = \"root\"\n\
             past-roots = {{ last = 1, days = 0 }}\n",
            machine.disk.device().display()
        );
        fs::write(initrd.join("state.toml"), config).unwrap();
        // It ends with the machine.
        std::mem::forget(machine.disk.mount(Some("/"), &machine.top()));
        subvolume(&machine.root());
        fs::create_dir_all(machine.root().join("usr/sbin")).unwrap();
        fs::write(machine.root().join("usr/sbin/init"), "init").unwrap();
        std::os::unix::fs::symlink("usr/sbin", machine.root().join("sbin")).unwrap();
        let taken = machine.state(&["blank", "take", "--yes"]);
        assert!(taken.status.success(), "{taken:?}");
        machine
    }

    pub(crate) fn top(&self) -> PathBuf {
        self.dir.path().join("top")
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.top().join("root")
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_state"));
        command
            .arg("--root")
            .arg(self.dir.path().join("initrd"))
            .args(args);
        command
    }

    pub(crate) fn state(&self, args: &[&str]) -> Output {
        self.command(args).stdin(Stdio::null()).output().unwrap()
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let output = self.state(&[args, &["--json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
    }

    pub(crate) fn record(&self) -> Value {
        let path = self.dir.path().join("initrd/run/state/reset.json");
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    pub(crate) fn past_roots(&self) -> Vec<PathBuf> {
        let Ok(names) = fs::read_dir(self.top().join("past-roots")) else {
            return vec![];
        };
        let mut paths: Vec<_> = names.map(|name| name.unwrap().path()).collect();
        paths.retain(|path| path.file_name().unwrap() != ".pinned");
        paths.sort();
        paths
    }

    /// Whether a file is in root or a past root.
    pub(crate) fn is_somewhere(&self, file: &str) -> bool {
        let mut places = self.past_roots();
        places.extend([self.root(), self.top().join("root.new")]);
        places.iter().any(|place| place.join(file).exists())
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

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
