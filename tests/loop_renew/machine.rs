//! A machine without a boot, and what programs say of it.

use serde_json::Value;
use state_linux::mount::Guard;
use state_testing::disk::{Disk, subvolume};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A machine that does not run: root with a shell in it, its blank, and a store with an entry of
/// every method, below a directory.
pub(crate) struct Machine {
    // Unmounted in this order, before the directory goes.
    _mounts: [Guard; 3],
    pub(crate) dir: tempfile::TempDir,
    _disk: Disk,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let disk = Disk::new("btrfs", 256);
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        let top = disk.mount(Some("/"), &at("top"));
        subvolume(&at("top/root"));
        subvolume(&at("top/persist"));
        let root = disk.mount(Some("root"), &at("root"));
        let store = disk.mount(Some("persist"), &at("root/persist"));
        let machine = Self {
            _mounts: [store, root, top],
            dir,
            _disk: disk,
        };
        for dir in [
            "dev",
            "proc",
            "sys",
            "run",
            "tmp",
            "boot",
            "usr/sbin",
            "etc/state",
            "var/lib/thing",
        ] {
            fs::create_dir_all(machine.root(dir)).unwrap();
        }
        machine.install("/bin/sh");
        symlink("sh", machine.root("usr/sbin/init")).unwrap();
        symlink("usr/sbin", machine.root("sbin")).unwrap();
        fs::write(machine.root("usr/sbin/invoke-rc.d"), "").unwrap();
        fs::write(machine.root("etc/resolv.conf"), "nameserver 192.0.2.1\n").unwrap();
        fs::write(machine.root("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
        fs::write(machine.root("etc/id"), "").unwrap();
        fs::create_dir_all(machine.root("persist/etc")).unwrap();
        fs::copy(
            machine.root("etc/passwd"),
            machine.root("persist/etc/passwd"),
        )
        .unwrap();
        machine.configure("/persist");
        machine.done(&["blank", "take"]);
        machine
    }

    pub(crate) fn configure(&self, store: &str) {
        let device = self._disk.device().display();
        let config = format!(
            "[root]\nbackend = \"btrfs\"\ndevice = \"{device}\"\nsubvolume = \"root\"\n\
             [persist.\"{store}\"]\n\
             directories = [\"/var/lib/thing\", {{ path = \"/var/lib/linked\", method = \"symlink\" }}]\n\
             files = [\"/etc/id\", {{ path = \"/etc/passwd\", method = \"copy\" }}]\n"
        );
        fs::write(self.root("etc/state/state.toml"), config).unwrap();
    }

    /// A program with the libraries it needs.
    pub(crate) fn install(&self, program: &str) {
        self.install_libraries(program);
        self.copy(program);
    }

    fn copy(&self, file: &str) {
        let to = self.root(file.trim_start_matches('/'));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(file, to).unwrap();
    }

    /// The libraries that a program needs.
    pub(crate) fn install_libraries(&self, program: &str) {
        let needs = Command::new("ldd").arg(program).output().unwrap();
        let needs = String::from_utf8(needs.stdout).unwrap();
        let libraries = needs
            .split_whitespace()
            .filter(|word| word.starts_with('/'));
        libraries.for_each(|file| self.copy(file));
    }

    pub(crate) fn root(&self, path: &str) -> PathBuf {
        self.dir.path().join("root").join(path)
    }

    pub(crate) fn top(&self, path: &str) -> PathBuf {
        self.dir.path().join("top").join(path)
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.top(path)).unwrap_or_else(|error| format!("{path}: {error}"))
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_state"));
        command
            .arg("--root")
            .arg(self.dir.path().join("root"))
            .args(args)
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn state(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    pub(crate) fn done(&self, args: &[&str]) -> String {
        let output = self.state(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn run(&self, script: &str) -> Output {
        self.state(&["blank", "run", "--", "sh", "-c", script])
    }

    /// Blank and the previous one, as they are told.
    pub(crate) fn blanks(&self) -> Value {
        serde_json::from_str(&self.done(&["blank", "show", "--json"])).unwrap()
    }

    /// The subvolumes beside root.
    pub(crate) fn volumes(&self) -> Vec<String> {
        let names = fs::read_dir(self.top("")).unwrap();
        let mut names: Vec<String> = names
            .map(|name| name.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("root"))
            .collect();
        names.sort();
        names
    }
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
