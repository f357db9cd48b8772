//! A machine with a btrfs on a loop device, and what can be wrong with it after a reset.

use state::inventory::{self, Inventory};
use state_api::{Never, RootBackend, View};
use state_btrfs::{Btrfs, Live};
use state_linux::loopback::Loop;
use state_linux::mount::{self, Attributes};
use state_linux::{btrfs, namespace};
use state_testing::tree::{self, Tree};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub(crate) const ROOT_NOT_BLANK: &str = "root is not blank";
pub(crate) const BLANK_INSIDE: &str = "there is a blank inside root";
pub(crate) const NO_ROOT: &str = "there is no root";
pub(crate) const OUTGOING_GONE: &str = "the outgoing root is gone";
pub(crate) const STORE_CHANGED: &str = "the persist tree changed";

/// Nothing is.
pub(crate) const FINE: &[&str] = &[];

/// Who resets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Actor {
    /// `published-reset.sh delete`
    Delete,
    /// `published-reset.sh move`
    Move,
    /// `state reset`, and `state roots gc` as after boot.
    State,
}

/// A btrfs with root, blank and a store. Mounts are in a namespace of the test's thread, so that
/// nothing is left behind.
pub(crate) struct Machine {
    pub(crate) device: PathBuf,
    pub(crate) dir: tempfile::TempDir,
    _loop: Option<Loop>,
}

/// A directory of a test.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/var/tmp").unwrap()
}

impl Machine {
    /// A new one, with a root that was lived in. Its image is `image` in its directory.
    pub(crate) fn new() -> Self {
        namespace::own_mounts().expect("this needs root");
        let dir = directory();
        let image = dir.path().join("image");
        File::create(&image).unwrap().set_len(256 << 20).unwrap();
        let mut mkfs = Command::new("mkfs.btrfs");
        let made = mkfs.arg("-q").arg(&image).output();
        let made = made.expect("this needs btrfs-progs");
        assert!(made.status.success(), "{made:?}");
        let machine = Self::on_image(&image, dir);
        for name in ["root", "persist"] {
            machine.nest(name);
        }
        machine.put("persist/key", "key");
        machine.put("root/etc/conf", "as shipped");
        machine.put("root/sbin/init", "init");
        let top = || File::open(machine.top()).unwrap();
        let root = File::open(machine.at("root")).unwrap();
        btrfs::snapshot(root, top(), OsStr::new("root-blank"), true).unwrap();
        machine.put("root/lived in", "outgoing");
        machine
    }

    /// The one that is on an image already.
    pub(crate) fn of(image: &Path) -> Self {
        Self::on_image(image, directory())
    }

    fn on_image(image: &Path, dir: tempfile::TempDir) -> Self {
        let disk = Loop::attach(image, false).expect("this needs loop devices");
        let device = disk.path().to_owned();
        Self::mounted(device, dir, Some(disk))
    }

    /// The one that is on somebody else's device.
    pub(crate) fn on_device(device: &Path) -> Self {
        Self::mounted(device.to_owned(), directory(), None)
    }

    fn mounted(device: PathBuf, dir: tempfile::TempDir, disk: Option<Loop>) -> Self {
        let machine = Self {
            device,
            dir,
            _loop: disk,
        };
        fs::create_dir_all(machine.top()).unwrap();
        let options = [
            ("source", Some(machine.device.as_os_str())),
            ("subvolid", Some(OsStr::new("5"))),
        ];
        let top = mount::detached("btrfs", &options, Attributes::empty()).unwrap();
        mount::attach(top, rustix::fs::CWD, &machine.top()).unwrap();
        let config = machine.dir.path().join("initrd/etc/state");
        fs::create_dir_all(&config).unwrap();
        let text = format!(
            "[root]\nbackend = \"btrfs\"\ndevice = \"{}\"\nsubvolume = \"root\"\n\
             past-roots = {{ last = 1, days = 30 }}\n",
            machine.device.display()
        );
        fs::write(config.join("state.toml"), text).unwrap();
        machine
    }

    /// The engine by itself.
    pub(crate) fn engine(&self) -> Btrfs<Live> {
        let live = Live::open(&self.device).unwrap();
        Btrfs::new(live, Path::new("root"), None).unwrap()
    }

    /// Whether a run finds something to finish.
    pub(crate) fn has_leftovers(&self) -> bool {
        let engine = self.engine();
        let survey = engine.survey().unwrap();
        !engine.plan_tidy(&survey).unwrap().is_nothing()
    }

    /// Everything about the store.
    pub(crate) fn store(&self) -> Option<Inventory> {
        let dir = File::open(self.at("persist")).ok()?;
        Some(inventory::take(&View::live(dir.into()), &|_| false, &Never).unwrap())
    }

    pub(crate) fn top(&self) -> PathBuf {
        self.dir.path().join("top")
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.top().join(path)
    }

    pub(crate) fn nest(&self, path: &str) {
        let at = self.at(path);
        let parent = at.parent().unwrap();
        fs::create_dir_all(parent).unwrap();
        btrfs::create(File::open(parent).unwrap(), at.file_name().unwrap()).unwrap();
    }

    pub(crate) fn put(&self, path: &str, text: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), text).unwrap();
    }

    pub(crate) fn tree(&self, path: impl AsRef<Path>) -> Option<Tree> {
        let dir = File::open(self.top().join(path)).ok()?;
        Some(tree::read(&View::live(dir.into())).unwrap())
    }

    /// Resets; true if that is what the exit status says. `path` goes before `$PATH`.
    pub(crate) fn reset(&self, actor: Actor, path: Option<&Path>) -> bool {
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/control/published-reset.sh"
        );
        let way = match actor {
            Actor::Delete => "delete",
            Actor::Move => "move",
            Actor::State => return self.state(&["reset"]) && self.state(&["roots", "gc"]),
        };
        let mut command = Command::new(script);
        command.arg(way).arg(self.top());
        if let Some(path) = path {
            let mut all = path.as_os_str().to_owned();
            all.push(":");
            all.push(std::env::var_os("PATH").unwrap_or_default());
            command.env("PATH", all);
        }
        succeeded(&mut command)
    }

    pub(crate) fn state(&self, args: &[&str]) -> bool {
        let initrd = self.dir.path().join("initrd");
        let mut command = Command::new(env!("CARGO_BIN_EXE_state"));
        let command = command.arg("--root").arg(initrd).arg("--yes");
        let output: Output = command.args(args).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        true
    }

    /// Whether a root is there in full, under any name.
    pub(crate) fn is_somewhere(&self, root: &Tree) -> bool {
        let names = |dir: &str| {
            let names = fs::read_dir(self.at(dir)).into_iter().flatten();
            names.map(|name| name.unwrap().path()).collect::<Vec<_>>()
        };
        let mut places = [names("past-roots"), names("old-roots")].concat();
        places.extend([self.at("root.new"), self.at("root")]);
        places
            .into_iter()
            .any(|path| self.tree(&path).as_ref() == Some(root))
    }

    /// Everything wrong with the machine after a reset of a root that held `outgoing`.
    pub(crate) fn findings(
        &self,
        outgoing: &Tree,
        store: &Inventory,
        keeps: bool,
    ) -> Vec<&'static str> {
        let mut found = Vec::new();
        match self.tree("root") {
            None => found.push(NO_ROOT),
            Some(root) if Some(&root) != self.tree("root-blank").as_ref() => {
                found.push(ROOT_NOT_BLANK);
                if root.contains_key(Path::new("root-blank")) {
                    found.push(BLANK_INSIDE);
                }
            }
            Some(_) => (),
        }
        if keeps && !self.is_somewhere(outgoing) {
            found.push(OUTGOING_GONE);
        }
        if self.store().as_ref() != Some(store) {
            found.push(STORE_CHANGED);
        }
        found
    }
}

/// Before the directory goes, the mount on it does.
impl Drop for Machine {
    fn drop(&mut self) {
        let top = self.top();
        if let Err(error) = rustix::mount::unmount(&top, rustix::mount::UnmountFlags::DETACH)
            && !std::thread::panicking()
        {
            panic!("unmounting {}: {error}", top.display());
        }
    }
}

fn succeeded(command: &mut Command) -> bool {
    let output = command.stdin(Stdio::null()).output().unwrap();
    output.status.success()
}
