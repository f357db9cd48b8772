//! The overlay engine on real layers: an installed system on ext4, and what is written on ext4, xfs
//! and btrfs.

use state_api::{Outcome, RootBackend, Source};
use state_linux::loopback::Loop;
use state_linux::mount::{self, Attributes, Guard};
use state_linux::stat::{Kind, Stat};
use state_overlay::{Live, Overlay};
use state_testing::edits::{Edits, unnamed_but};
use state_testing::suite::{self, root::RootFixture};
use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

const DIRECTORY: &str = "state/layers";

/// A file with a filesystem in it, on a loop device.
fn disk(dir: &Path, filesystem: &str) -> Loop {
    let image = dir.join(filesystem);
    let (megabytes, args): (u64, &[&str]) = match filesystem {
        "xfs" => (320, &["-q"]), // its maker makes none that is smaller
        "btrfs" => (128, &["-q"]),
        _ => (64, &["-q", "-F"]),
    };
    File::create(&image)
        .unwrap()
        .set_len(megabytes << 20)
        .unwrap();
    let made = Command::new(format!("mkfs.{filesystem}"))
        .args(args)
        .arg(&image)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    Loop::attach(&image, false).unwrap()
}

fn mounted(device: &Path, filesystem: &str, at: &Path, attributes: Attributes) -> Guard {
    let source = [("source", Some(device.as_os_str()))];
    let mount = mount::detached(filesystem, &source, attributes).unwrap();
    Guard::attach(mount, at).unwrap()
}

struct Machine {
    lower: Option<Guard>,
    layers: Loop,
    installed: Loop,
    dir: tempfile::TempDir,
}

impl Machine {
    fn new(filesystem: &str) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("state-overlay-")
            .tempdir()
            .unwrap();
        let (sub, at) = (dir.path().join("lower"), dir.path().join("at"));
        for each in [&sub, &at, &dir.path().join("run")] {
            fs::create_dir(each).unwrap();
        }
        let installed = disk(&sub, "ext4");
        let layers = disk(dir.path(), filesystem);
        let writable = mounted(installed.path(), "ext4", &at, Attributes::empty());
        fs::create_dir(at.join("etc")).unwrap();
        fs::write(at.join("etc/conf"), "as shipped").unwrap();
        fs::remove_dir(at.join("lost+found")).unwrap();
        writable.unmount().unwrap();
        let mut machine = Self {
            lower: None,
            layers,
            installed,
            dir,
        };
        machine.boot();
        machine
    }

    fn boot(&mut self) {
        let read_only = Attributes::MOUNT_ATTR_RDONLY;
        self.lower = Some(mounted(
            self.installed.path(),
            "ext4",
            &self.at(),
            read_only,
        ));
        // As systemd has them all.
        rustix::mount::mount_change(self.at(), rustix::mount::MountPropagationFlags::SHARED)
            .unwrap();
    }

    fn at(&self) -> PathBuf {
        self.dir.path().join("at")
    }

    fn run(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    fn engine(&self) -> Overlay<Live> {
        let live = Live::open(
            self.layers.path(),
            Path::new(DIRECTORY),
            &self.at(),
            &self.run(),
        );
        Overlay::new(live.unwrap())
    }

    fn stack(&self) {
        assert_eq!(
            self.engine().kernel().stack().unwrap().outcome,
            Outcome::Made
        );
    }

    fn unstack(&self) {
        for at in [
            self.at(),
            self.run().join("overlay/lower"),
            self.run().join("overlay/upper"),
        ] {
            mount::unmount(&at).unwrap();
        }
    }

    /// What somebody does who lives on the machine.
    fn live<T>(&self, doing: impl FnOnce(&Path) -> T) -> T {
        self.stack();
        let done = doing(&self.at());
        self.unstack();
        done
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for at in [
            self.at(),
            self.run().join("overlay/lower"),
            self.run().join("overlay/upper"),
        ] {
            // Whatever of them a failed test has left.
            mount::unmount_lazily(&at).ok();
        }
    }
}

impl RootFixture for Machine {
    type Backend = Overlay<Live>;

    fn backend(&self) -> Self::Backend {
        self.engine()
    }
    fn write(&mut self, path: &str, text: &str) {
        self.live(|root| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        });
    }
    fn nest(&mut self, _: &str) -> bool {
        false
    }
    fn mount_root(&mut self) {
        self.stack();
    }
    fn unmount_root(&mut self) {
        self.unstack();
    }
    fn reboot(&mut self) {
        self.lower.take().unwrap().unmount().unwrap();
        self.boot();
    }
    fn spoil_blank(&mut self) -> bool {
        false
    }
    fn remove_blank(&mut self) {
        self.lower.take().unwrap().unmount().unwrap();
        // Layers need something below them, but nobody takes this for an installed system.
        let read_only = Attributes::MOUNT_ATTR_RDONLY;
        let nothing = mount::tmpfs(&[("mode", Some("0755".as_ref()))], read_only);
        self.lower = Some(Guard::attach(nothing.unwrap(), &self.at()).unwrap());
    }
}

fn reset(machine: &Machine) -> String {
    let mut engine = machine.engine();
    let survey = engine.survey().unwrap();
    let ask =
        state_testing::sweep::request(&engine.facts(&survey), state_testing::sweep::Ask::Keep);
    let plan = engine.plan_reset(&survey, &ask.unwrap()).unwrap();
    state_api::execute(&mut engine, &plan, &state_api::Never, |_| ()).unwrap();
    let facts = engine.facts(&engine.survey().unwrap());
    facts
        .past_roots
        .last()
        .map(|past| past.name.to_string())
        .unwrap_or_default()
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_the_engine_does_what_every_root_engine_must() {
    suite::run(&suite::root::cases(), || {
        let machine = Machine::new("ext4");
        reset(&machine);
        machine
    });
}

/// What overlayfs keeps in its own ways (deletions, directories that replace others, links,
/// metadata) is gone with a reset, and is seen in the past root.
#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_past_root_shows_what_was_seen() {
    for filesystem in ["ext4", "xfs", "btrfs"] {
        shows_what_was_seen(filesystem);
    }
}

fn shows_what_was_seen(filesystem: &str) {
    let machine = Machine::new(filesystem);
    reset(&machine);
    machine.live(|root| {
        fs::remove_file(root.join("etc/conf")).unwrap();
        fs::remove_dir(root.join("etc")).unwrap();
        fs::create_dir(root.join("etc")).unwrap();
        fs::write(root.join("etc/new"), "new").unwrap();
        fs::hard_link(root.join("etc/new"), root.join("also new")).unwrap();
        symlink("etc/new", root.join("link")).unwrap();
        fs::set_permissions(root.join("etc"), fs::Permissions::from_mode(0o700)).unwrap();
    });
    let name = reset(&machine);
    let engine = machine.engine();
    let past = engine.open(&Source::Past(name.parse().unwrap())).unwrap();
    let tree = state_testing::tree::read(&past).unwrap();
    let shown: Vec<String> = tree.keys().map(|path| path.display().to_string()).collect();
    assert_eq!(shown, ["also new", "etc", "etc/new", "link"]);
    drop(past);
    machine.live(|root| {
        assert_eq!(
            fs::read_to_string(root.join("etc/conf")).unwrap(),
            "as shipped"
        );
        assert_eq!(
            fs::metadata(root.join("etc")).unwrap().mode() & 0o7777,
            0o755
        );
        assert!(!root.join("etc/new").exists() && !root.join("link").exists());
    });
    // The layer itself: what overlayfs.rst says a deletion is.
    let at = machine.dir.path().join("seen");
    fs::create_dir(&at).unwrap();
    let seen = mounted(machine.layers.path(), filesystem, &at, Attributes::empty());
    let upper = at
        .join(DIRECTORY)
        .join("past-roots")
        .join(&name)
        .join("upper");
    assert!(!upper.join("etc/conf").exists());
    let kinds: Vec<bool> = fs::read_dir(&upper)
        .unwrap()
        .map(|entry| entry.unwrap().file_type().unwrap().is_char_device())
        .collect();
    assert_eq!(kinds.len(), 3, "etc is replaced whole, not deleted");
    seen.unmount().unwrap();
}

/// A boot that skips its reset finds a work directory that is not empty.
#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_skipped_reset_stacks_what_there_is() {
    let machine = Machine::new("ext4");
    reset(&machine);
    machine.live(|root| fs::write(root.join("stays"), "x").unwrap());
    machine.live(|root| {
        assert_eq!(fs::read_to_string(root.join("stays")).unwrap(), "x");
        let again = machine.engine().kernel().stack().unwrap();
        assert_eq!(again.outcome, Outcome::AlreadySo);
        assert_eq!(
            fs::read_to_string(again.lower.join("etc/conf")).unwrap(),
            "as shipped"
        );
        fs::write(again.lower.join("etc/conf"), "spoilt").unwrap_err();
    });
    let mut engine = machine.engine();
    let survey = engine.survey().unwrap();
    let plan = engine.plan_tidy(&survey).unwrap();
    assert!(!plan.is_nothing(), "the old work directory");
    state_api::execute(&mut engine, &plan, &state_api::Never, |_| ()).unwrap();
    assert!(
        engine
            .plan_tidy(&engine.survey().unwrap())
            .unwrap()
            .is_nothing()
    );
    machine.live(|root| assert!(root.join("stays").exists()));
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_writable_lower_layer_is_refused() {
    let mut machine = Machine::new("ext4");
    machine.lower.take().unwrap().unmount().unwrap();
    let at = machine.at();
    machine.lower = Some(mounted(
        machine.installed.path(),
        "ext4",
        &at,
        Attributes::empty(),
    ));
    let engine = machine.engine();
    let facts = engine.facts(&engine.survey().unwrap());
    let device = machine.installed.path().display();
    assert_eq!(
        facts
            .refusals
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        [format!("the system on {device} is mounted writable")]
    );
}

/// After random edits no difference is missing from what the layers tell.
#[test]
#[ignore = "needs root and a loop device"]
fn loop_the_layers_tell_every_difference() {
    // Overlayfs numbers the inodes of directories as it comes across them.
    let forget = |stat: &mut Stat| {
        if stat.kind == Kind::Directory {
            stat.id.inode = 0;
        }
    };
    let mut machine = Machine::new("ext4");
    machine.lower.take().unwrap().unmount().unwrap();
    let at = machine.at();
    let installing = mounted(machine.installed.path(), "ext4", &at, Attributes::empty());
    fs::create_dir(at.join("a")).unwrap(); // a name that edits use, too
    let mut edits = Edits::new(1, &at.join("a"));
    edits.run(200);
    edits.close();
    installing.unmount().unwrap();
    machine.boot();
    for seed in 2..12 {
        let past = reset(&machine);
        machine.live(|root| {
            let mut edits = Edits::new(seed, root);
            edits.run(60);
            edits.close();
        });
        let engine = machine.engine();
        let lower = engine.open(&Source::Blank).unwrap();
        let mut roots = vec![None];
        roots.extend((!past.is_empty()).then(|| Some(Source::Past(past.parse().unwrap()))));
        for root in roots {
            let view = match &root {
                None => engine.open_root().unwrap(),
                Some(past) => engine.open(past).unwrap(),
            };
            let changes = engine.changes(&Source::Blank, root.as_ref()).unwrap();
            let changes = changes.expect("nothing was upgraded");
            assert_eq!(
                unnamed_but(&lower, &view, &changes, forget),
                Vec::<PathBuf>::new(),
                "script {seed}, {root:?}"
            );
            assert!(changes.places().count() > 1 || root.is_some());
        }
    }
}
