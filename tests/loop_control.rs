//! The widely copied btrfs script as a negative control: what our checks must find wrong with it,
//! and must not find wrong with `state`, on the same machines.

use state_api::View;
use state_linux::loopback::Loop;
use state_linux::mount::{self, Attributes};
use state_linux::{btrfs, namespace};
use state_testing::tree::{self, Tree};
use std::ffi::OsStr;
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

const ROOT_NOT_BLANK: &str = "root is not blank";
const BLANK_INSIDE: &str = "there is a blank inside root";
const NO_ROOT: &str = "there is no root";
const OUTGOING_GONE: &str = "the outgoing root is gone";
const STORE_CHANGED: &str = "the persist tree changed";

/// Who resets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Actor {
    /// `published-reset.sh delete`
    Delete,
    /// `published-reset.sh move`
    Move,
    /// `state reset`, and `state roots gc` as after boot.
    State,
}

/// A btrfs with root, blank and a store. Mounts are in a namespace of the test's thread, so that
/// nothing is left behind.
struct Machine {
    disk: Loop,
    dir: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        namespace::own_mounts().expect("this needs root");
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let image = dir.path().join("image");
        File::create(&image).unwrap().set_len(256 << 20).unwrap();
        let mut mkfs = Command::new("mkfs.btrfs");
        let made = mkfs.arg("-q").arg(&image).output();
        let made = made.expect("this needs btrfs-progs");
        assert!(made.status.success(), "{made:?}");
        let machine = Self::on(&image, dir);
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

    fn on(image: &Path, dir: tempfile::TempDir) -> Self {
        let disk = Loop::attach(image, false).expect("this needs loop devices");
        let machine = Self { disk, dir };
        fs::create_dir_all(machine.top()).unwrap();
        let options = [
            ("source", Some(machine.disk.path().as_os_str())),
            ("subvolid", Some(OsStr::new("5"))),
        ];
        let top = mount::detached("btrfs", &options, Attributes::empty()).unwrap();
        mount::attach(top, rustix::fs::CWD, &machine.top()).unwrap();
        let config = machine.dir.path().join("initrd/etc/state");
        fs::create_dir_all(&config).unwrap();
        let text = format!(
            "[root]\nbackend = \"btrfs\"\ndevice = \"{}\"\nsubvolume = \"root\"\n\
             past-roots = {{ last = 1, days = 30 }}\n",
            machine.disk.path().display()
        );
        fs::write(config.join("state.toml"), text).unwrap();
        machine
    }

    fn top(&self) -> PathBuf {
        self.dir.path().join("top")
    }

    fn at(&self, path: &str) -> PathBuf {
        self.top().join(path)
    }

    fn nest(&self, path: &str) {
        let at = self.at(path);
        let parent = at.parent().unwrap();
        fs::create_dir_all(parent).unwrap();
        btrfs::create(File::open(parent).unwrap(), at.file_name().unwrap()).unwrap();
    }

    fn put(&self, path: &str, text: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), text).unwrap();
    }

    fn tree(&self, path: impl AsRef<Path>) -> Option<Tree> {
        let dir = File::open(self.top().join(path)).ok()?;
        Some(tree::read(&View::live(dir.into())).unwrap())
    }

    /// Resets; true if that is what the exit status says. `path` goes before `$PATH`.
    fn reset(&self, actor: Actor, path: Option<&Path>) -> bool {
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

    fn state(&self, args: &[&str]) -> bool {
        let initrd = self.dir.path().join("initrd");
        let mut command = Command::new(env!("CARGO_BIN_EXE_state"));
        let command = command.arg("--root").arg(initrd).arg("--yes");
        let output: Output = command.args(args).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        true
    }

    /// Everything wrong with the machine after a reset of a root that held `outgoing`.
    fn findings(&self, outgoing: &Tree, store: &Tree, keeps: bool) -> Vec<&'static str> {
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
        let is_outgoing = |path: PathBuf| self.tree(&path).as_ref() == Some(outgoing);
        let names = |dir: &str| {
            let names = fs::read_dir(self.at(dir)).into_iter().flatten();
            names.map(|name| name.unwrap().path()).collect::<Vec<_>>()
        };
        let mut places = [names("past-roots"), names("old-roots")].concat();
        places.extend([self.at("root.new"), self.at("root")]);
        if keeps && !places.into_iter().any(is_outgoing) {
            found.push(OUTGOING_GONE);
        }
        if self.tree("persist").as_ref() != Some(store) {
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

/// How a machine differs from the plain one, and what each actor makes of it: whether it says
/// that it succeeded, and what is wrong afterwards.
type Case = (
    &'static str,
    fn(&Machine),
    [(Actor, bool, &'static [&'static str]); 3],
);

const FINE: &[&str] = &[];
const FAILED_OPEN: &[&str] = &[ROOT_NOT_BLANK, BLANK_INSIDE];

fn cases() -> Vec<Case> {
    use Actor::{Delete, Move, State};
    let good = [
        (Delete, true, FINE),
        (Move, true, FINE),
        (State, true, FINE),
    ];
    let not_erased = [
        (Delete, true, FAILED_OPEN),
        (Move, true, FINE),
        (State, true, FINE),
    ];
    vec![
        ("a plain root", |_| (), good),
        (
            "a nested subvolume",
            |m| m.nest("root/var/lib/machines"),
            good,
        ),
        (
            "a subvolume nested two deep",
            |m| {
                m.nest("root/var/lib/machines");
                m.nest("root/var/lib/machines/debian");
            },
            not_erased,
        ),
        (
            "a space in a subvolume's name",
            |m| m.nest("root/home/my videos"),
            not_erased,
        ),
        (
            "a machine that was up for forty days",
            |m| {
                let then = SystemTime::now() - Duration::from_secs(40 * 24 * 3600);
                let root = File::open(m.at("root")).unwrap();
                root.set_times(FileTimes::new().set_modified(then)).unwrap();
                // What people did meanwhile, deeper down, leaves the top's time alone.
                m.put("root/etc/conf", "changed yesterday");
            },
            [
                (Delete, true, FINE),
                (Move, true, &[OUTGOING_GONE]),
                (State, true, FINE),
            ],
        ),
    ]
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_the_checks_catch_the_published_script_and_not_us() {
    for (name, change, actors) in cases() {
        for (actor, says, expected) in actors {
            let machine = Machine::new();
            change(&machine);
            let outgoing = machine.tree("root").unwrap();
            let store = machine.tree("persist").unwrap();
            let said = machine.reset(actor, None);
            let found = machine.findings(&outgoing, &store, actor != Actor::Delete);
            assert_eq!((said, &*found), (says, expected), "{name}, {actor:?}");
        }
    }
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_cut_in_the_published_script_leaves_no_root() {
    for actor in [Actor::Delete, Actor::Move] {
        let machine = Machine::new();
        let outgoing = machine.tree("root").unwrap();
        let store = machine.tree("persist").unwrap();
        // A btrfs(8) that meets the power cut when asked for the snapshot, once the transaction
        // with the deletion is on the disk (the kernel commits whenever it likes).
        let shim = machine.dir.path().join("bin");
        fs::create_dir(&shim).unwrap();
        let script = "#!/bin/sh\ncase $* in *snapshot*) sync; kill -9 $PPID; exit 1 ;; esac\n\
                      PATH=${PATH#*:}\nexec btrfs \"$@\"\n";
        fs::write(shim.join("btrfs"), script).unwrap();
        fs::set_permissions(shim.join("btrfs"), PermissionsExt::from_mode(0o755)).unwrap();
        assert!(!machine.reset(actor, Some(&shim)));
        let found = machine.findings(&outgoing, &store, actor != Actor::Delete);
        assert_eq!(found, [NO_ROOT], "{actor:?}");
    }
}

/// The disk is copied after every step as a power cut would leave it: without what is only in
/// memory.
#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_cut_anywhere_in_ours_leaves_a_root() {
    use state_api::{Never, PastRootName, Reset, Retire, RootBackend, Source, execute};
    use state_btrfs::{Btrfs, Live};
    let ask = |name: &str| Reset {
        retire: Retire::Keep(name.parse::<PastRootName>().unwrap()),
        source: Some(Source::Blank),
        needs_init: false,
    };
    let open = |machine: &Machine| {
        let live = Live::open(machine.disk.path()).unwrap();
        Btrfs::new(live, Path::new("root"), None).unwrap()
    };
    let machine = Machine::new();
    machine.nest("root/var/lib/my machines");
    machine.nest("root/var/lib/my machines/debian");
    let outgoing = machine.tree("root").unwrap();
    let store = machine.tree("persist").unwrap();
    rustix::fs::syncfs(File::open(machine.top()).unwrap()).unwrap();

    let image = machine.dir.path().join("image");
    let copies = tempfile::tempdir_in("/var/tmp").unwrap();
    let mut cuts: Vec<(String, PathBuf)> = Vec::new();
    let mut copy = |after: String| {
        let to = copies.path().join(format!("{}", cuts.len()));
        fs::copy(&image, &to).unwrap();
        cuts.push((after, to));
    };
    copy("nothing".into());
    let mut engine = open(&machine);
    let survey = engine.survey().unwrap();
    let plan = engine.plan_reset(&survey, &ask("first")).unwrap();
    execute(&mut engine, &plan, &Never, |done| {
        copy(done.step.to_string())
    })
    .unwrap();
    assert!(cuts.len() > 3, "{plan:?}");

    for (after, image) in cuts {
        // The copy has the same UUID: the original must not be mounted in the kernel's eyes.
        let uuid = Command::new("btrfstune")
            .args(["-f", "-m"])
            .arg(&image)
            .output();
        let uuid = uuid.expect("this needs btrfs-progs");
        assert!(uuid.status.success(), "{uuid:?}");
        let cut = Machine::on(&image, tempfile::tempdir_in("/var/tmp").unwrap());
        let root = cut
            .tree("root")
            .unwrap_or_else(|| panic!("no root after: {after}"));
        let is_one = root == outgoing || Some(&root) == cut.tree("root-blank").as_ref();
        assert!(is_one, "root is some of both after: {after}");
        let mut engine = open(&cut);
        let survey = engine.survey().unwrap();
        let plan = engine.plan_reset(&survey, &ask("second")).unwrap();
        execute(&mut engine, &plan, &Never, |_| ()).unwrap();
        assert_eq!(
            cut.findings(&outgoing, &store, true),
            FINE,
            "after: {after}"
        );
        assert!(!cut.at("root.new").exists(), "after: {after}");
    }
}
