//! A machine of its own for each test: a root and stores on tmpfs, in private user and mount
//! namespaces, so that tests mount as they like and leave nothing behind, as root and as an
//! ordinary user.

use serde_json::Value;
use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Says to the re-executed test where its directory is.
const INSIDE: &str = "STATE_NS_TEST_DIR";

/// Makes a test that gets a [`Machine`], inside namespaces of its own.
macro_rules! ns {
    ($(fn $name:ident($machine:ident) $body:block)+) => {$(
        #[test]
        #[ignore = "needs user and mount namespaces"]
        fn $name() {
            let path = concat!(module_path!(), "::", stringify!($name));
            if let Some($machine) = $crate::harness::enter(path) {
                $body
            }
        }
    )+};
}
pub(crate) use ns;

/// Runs the test called `path` again inside namespaces and passes its verdict on; inside, gives
/// the machine.
pub(crate) fn enter(path: &str) -> Option<Machine> {
    if let Some(dir) = std::env::var_os(INSIDE) {
        return Some(Machine::new(Path::new(&dir)));
    }
    let dir = tempfile::Builder::new()
        .prefix("state-ns-")
        .tempdir()
        .unwrap();
    let (_, test) = path
        .split_once("::")
        .expect("a path begins with the crate's name");
    let mut unshare = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    let status = unshare
        .args(["--mount", "--propagation", "private", "--"])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            test,
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(INSIDE, dir.path())
        .status()
        .expect("unshare(1) is part of util-linux");
    assert!(status.success(), "{test} failed inside its namespaces");
    None
}

/// A machine below a directory.
#[derive(Debug)]
pub(crate) struct Machine {
    dir: PathBuf,
    config: RefCell<PathBuf>,
}

/// What one run of `state` said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Machine {
    fn new(dir: &Path) -> Self {
        let machine = Self {
            dir: dir.to_owned(),
            config: dir.join("state.toml").into(),
        };
        fs::create_dir(machine.root()).unwrap();
        machine.mount_tmpfs("/");
        machine
    }

    /// The machine's root directory.
    pub(crate) fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// Where a path of the machine is.
    pub(crate) fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root().join(path.strip_prefix("/").unwrap_or(path))
    }

    /// A user other than root, where the namespace knows one: root itself where it does not.
    pub(crate) fn other_id(&self) -> u32 {
        let probe = self.dir.join("probe");
        fs::write(&probe, "").unwrap();
        let is_known = std::os::unix::fs::chown(&probe, Some(1000), Some(1000)).is_ok();
        if is_known { 1000 } else { 0 }
    }

    pub(crate) fn mount_tmpfs(&self, at: &str) {
        fs::create_dir_all(self.at(at)).unwrap();
        let options = [("mode", Some(OsStr::new("0755")))];
        let attributes = state_linux::mount::Attributes::empty();
        let tmpfs = state_linux::mount::tmpfs(&options, attributes).unwrap();
        state_linux::mount::attach(tmpfs, rustix::fs::CWD, &self.at(at)).unwrap();
    }

    /// The configuration's file.
    pub(crate) fn config(&self) -> PathBuf {
        self.config.borrow().clone()
    }

    /// From now on the file at this path of the machine is the configuration.
    pub(crate) fn use_config(&self, path: &str) {
        self.config.replace(self.at(path));
    }

    /// Mounts a tmpfs that holds no more than so many bytes.
    pub(crate) fn mount_small_tmpfs(&self, at: &str, bytes: u64) {
        fs::create_dir_all(self.at(at)).unwrap();
        let bytes = bytes.to_string();
        let options = [
            ("mode", Some(OsStr::new("0755"))),
            ("size", Some(OsStr::new(&bytes))),
        ];
        let attributes = state_linux::mount::Attributes::empty();
        let tmpfs = state_linux::mount::tmpfs(&options, attributes).unwrap();
        state_linux::mount::attach(tmpfs, rustix::fs::CWD, &self.at(at)).unwrap();
    }

    /// Writes the configuration, and mounts a tmpfs at each of `stores`.
    pub(crate) fn configure(&self, stores: &[&str], text: &str) {
        for store in stores {
            self.mount_tmpfs(store);
        }
        fs::write(self.dir.join("state.toml"), text).unwrap();
    }

    /// Makes a file with its parents.
    pub(crate) fn write(&self, path: &str, content: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap_or_else(|error| format!("{path}: {error}"))
    }

    /// What the store holds in quarantine of the file at `path`.
    pub(crate) fn quarantined(&self, path: &str) -> Vec<String> {
        let Ok(batches) = fs::read_dir(self.at("/persist/.state/quarantine")) else {
            return Vec::new();
        };
        let content = |batch: fs::DirEntry| batch.path().join(format!("content{path}"));
        let mut found: Vec<String> = batches
            .filter_map(|batch| fs::read_to_string(content(batch.unwrap())).ok())
            .collect();
        found.sort();
        found
    }

    /// Makes a directory of this mode, with its parents.
    pub(crate) fn directory(&self, path: &str, mode: u32) {
        fs::create_dir_all(self.at(path)).unwrap();
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// `uid:gid mode` of a path.
    pub(crate) fn ownership(&self, path: &str) -> String {
        match fs::symlink_metadata(self.at(path)) {
            Ok(is) => format!("{}:{} {:04o}", is.uid(), is.gid(), is.mode() & 0o7777),
            Err(error) => error.to_string(),
        }
    }

    /// Whether both paths are one inode.
    pub(crate) fn is_same(&self, a: impl AsRef<Path>, b: impl AsRef<Path>) -> bool {
        let id = |path: &Path| {
            fs::metadata(self.at(path))
                .map(|is| (is.dev(), is.ino()))
                .ok()
        };
        id(a.as_ref()).is_some() && id(a.as_ref()) == id(b.as_ref())
    }

    /// Everything below the root, mounts included, as `path kind mode`.
    pub(crate) fn everything(&self) -> Vec<String> {
        fn walk(dir: &Path, found: &mut Vec<String>) {
            let mut entries: Vec<_> = fs::read_dir(dir).unwrap().map(Result::unwrap).collect();
            entries.sort_by_key(fs::DirEntry::file_name);
            for entry in entries {
                let is = entry.metadata().unwrap();
                found.push(format!(
                    "{} {:o} {}",
                    entry.path().display(),
                    is.mode(),
                    is.ino()
                ));
                if is.is_dir() {
                    walk(&entry.path(), found);
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.root(), &mut found);
        found
    }

    /// How many mounts there are below the root.
    pub(crate) fn mounts(&self) -> usize {
        let mounts = state_linux::mountinfo::read().unwrap();
        mounts
            .iter()
            .filter(|mount| mount.at.starts_with(self.root()))
            .count()
    }

    /// Runs `state` with these arguments.
    pub(crate) fn state<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Said {
        self.said(self.command(arguments).output().unwrap())
    }

    /// `state` with these arguments, to be run.
    pub(crate) fn command<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_state"));
        command
            .arg("--root")
            .arg(self.root())
            .arg("--config")
            .arg(self.config())
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// What a program said.
    pub(crate) fn said(&self, output: Output) -> Said {
        let text = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).expect("what is printed is UTF-8");
            text.replace(self.root().to_str().unwrap(), "")
        };
        Said {
            code: output.status.code().expect("it was not killed"),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    /// `state mount` with these arguments: its exit code, and `path: status` of each entry but
    /// the configuration's, failures with their error.
    pub(crate) fn mount(&self, arguments: &[&str]) -> (i32, Vec<String>) {
        let said = self.state(["mount", "--json"].iter().chain(arguments));
        let report: Value =
            serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"));
        let tell = |entry: &Value| {
            let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
            let more = [text("error"), text("why")].concat();
            let more = if more.is_empty() {
                more
            } else {
                format!(": {more}")
            };
            format!("{}: {}{more}", text("path"), text("status"))
        };
        let Some(entries) = report["entries"].as_array() else {
            return (said.code, vec![said.err]);
        };
        let told = entries
            .iter()
            .filter(|entry| entry["path"] != "/etc/state/state.toml");
        (said.code, told.map(tell).collect())
    }
}
