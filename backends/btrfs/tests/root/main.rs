//! The engine on a real filesystem.

#[path = "../common/mod.rs"]
mod common;
mod held;

use common::{Disk, hostile, path_of, read, subvolume, swap_off, swap_on, write};
use rustix::io::Errno;
use state_api::{
    Apply, Done, Error, Failed, Never, PastRootName, Refusal, Reset, Retire, RootBackend, Source,
    execute,
};
use state_btrfs::{Btrfs, Kernel, Live, Node, Step};
use state_linux::mount::Guard;
use state_testing::suite::{self, root::RootFixture};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A disk with root, blank and a bystander; `at` is where root is.
struct Machine {
    disk: Disk,
    root: PathBuf,
    mounted: Option<Guard>,
}

impl Machine {
    fn new(root: &Path) -> Self {
        let disk = Disk::new();
        let mut live = disk.live();
        if let Some(parent) = root.parent().filter(|p| !p.as_os_str().is_empty()) {
            live.make_directory(parent).unwrap();
        }
        live.create(root).unwrap();
        write(&live, root.join("etc/conf"), "blank");
        live.create(Path::new("persist")).unwrap();
        write(&live, "persist/key", "key");
        let machine = Self {
            disk,
            root: root.to_owned(),
            mounted: None,
        };
        live.snapshot(root, &machine.blank(), true).unwrap();
        live.commit().unwrap();
        machine
    }

    fn blank(&self) -> PathBuf {
        let mut name = self.root.clone().into_os_string();
        name.push("-blank");
        name.into()
    }

    fn engine(&self) -> Btrfs<Live> {
        Btrfs::new(self.disk.live(), &self.root, None).unwrap()
    }

    fn reset(&self, name: &str) -> Ran {
        let mut engine = self.engine();
        let survey = engine.survey().unwrap();
        let plan = engine
            .plan_reset(&survey, &to_blank(name))
            .expect("planning");
        execute(&mut engine, &plan, &Never, |_| ())
    }
}

type Ran = Result<Vec<Done<Step>>, Box<Failed<Step>>>;

fn to_blank(name: &str) -> Reset {
    Reset {
        retire: Retire::Keep(name.parse().unwrap()),
        source: Some(Source::Blank),
        needs_init: false,
    }
}

fn name(text: &str) -> PastRootName {
    text.parse().unwrap()
}

fn delete(engine: &mut Btrfs<Live>, past: &str) -> Result<(), Error> {
    let survey = engine.survey().unwrap();
    let plan = engine.plan_delete(&survey, &name(past))?;
    match execute(engine, &plan, &Never, |_| ()) {
        Ok(_) => Ok(()),
        Err(failed) => Err(failed.error),
    }
}

impl RootFixture for Machine {
    type Backend = Btrfs<Live>;

    fn backend(&self) -> Btrfs<Live> {
        self.engine()
    }
    fn write(&mut self, path: &str, text: &str) {
        write(&self.disk.live(), self.root.join(path), text);
    }
    fn nest(&mut self, path: &str) -> bool {
        let mut live = self.disk.live();
        let at = self.root.join(path);
        let top = live.open(Path::new("")).unwrap();
        fs::create_dir_all(path_of(&top).join(at.parent().unwrap())).unwrap();
        live.create(&at).unwrap();
        true
    }
    fn mount_root(&mut self) {
        let at = self.disk.outside("mounted");
        let root = self.root.to_str().unwrap();
        self.mounted = Some(self.disk.mount(root, &at));
    }
    fn unmount_root(&mut self) {
        self.mounted.take().unwrap().unmount().unwrap();
    }
    fn reboot(&mut self) {}
    fn spoil_blank(&mut self) -> bool {
        let mut live = self.disk.live();
        let blank = subvolume(&live, self.blank()).id;
        live.set_read_only(blank, false).unwrap();
        write(&live, self.blank().join("spoilt"), "x");
        live.set_read_only(blank, true).unwrap();
        true
    }
    fn remove_blank(&mut self) {
        let mut live = self.disk.live();
        let blank = subvolume(&live, self.blank()).id;
        live.delete(blank).unwrap();
    }
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_the_engine_does_what_every_root_engine_must() {
    suite::run(&suite::root::cases(), || Machine::new(Path::new("root")));
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_resets_work_under_any_name() {
    for hostile in hostile() {
        let root = Path::new("a dir").join(hostile);
        let machine = Machine::new(&root);
        let live = machine.disk.live();
        write(&live, root.join("clutter"), "x");
        write(
            &live,
            Path::new("past-roots").join(hostile).join("mine"),
            "x",
        );
        drop(live);
        machine.reset("one").expect("resetting");
        let live = machine.disk.live();
        assert_eq!(read(&live, root.join("clutter")), None);
        assert_eq!(read(&live, "past-roots/one/clutter").unwrap(), "x");
        let mine = Path::new("past-roots").join(hostile).join("mine");
        assert_eq!(read(&live, mine).unwrap(), "x");
        let engine = machine.engine();
        let survey = engine.survey().unwrap();
        let facts = engine.facts(&survey);
        assert_eq!(facts.past_roots.len(), 1);
        assert!(facts.root.is_ascii() && !facts.root.contains('\n'));
    }
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_the_default_subvolume_follows_root() {
    let machine = Machine::new(Path::new("root"));
    let mut live = machine.disk.live();
    let outgoing = subvolume(&live, "root").id;
    live.set_default(outgoing).unwrap();
    drop(live);
    machine.reset("one").expect("resetting");
    let live = machine.disk.live();
    let root = subvolume(&live, "root").id;
    assert_ne!(root, outgoing);
    assert_eq!(live.filesystem().unwrap().default_subvolume, root);
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_full_disk_loses_nothing() {
    let disk = Disk::with_size(120 << 20);
    let mut live = disk.live();
    let p = Path::new;
    live.create(p("root")).unwrap();
    live.snapshot(p("root"), p("root-blank"), true).unwrap();
    write(&live, "root/precious", "x");
    let view = live.open(p("root")).unwrap();
    // Many small files fill metadata as well as data.
    let filler = vec![b'x'; 3000];
    let full =
        (0..200_000).find(|n| fs::write(path_of(&view).join(format!("f{n}")), &filler).is_err());
    assert!(full.is_some(), "it cannot be filled");
    drop(view);
    live.commit().ok();
    drop(live);
    let mut failures = Vec::new();
    for round in 0.. {
        let mut engine = Btrfs::new(disk.live(), p("root"), None).unwrap();
        let survey = engine.survey().unwrap();
        let plan = engine.plan_reset(&survey, &to_blank("one")).unwrap();
        let ran = execute(&mut engine, &plan, &Never, |_| ());
        let live = engine.kernel();
        let places = ["root", "root.new", "past-roots/one"];
        let kept = places.map(|at| read(live, p(at).join("precious")).is_some());
        assert!(matches!(live.node(p("root")).unwrap(), Node::Subvolume(_)));
        match ran {
            Ok(_) => {
                assert_eq!(kept, [false, false, true]);
                break;
            }
            Err(failed) => {
                assert_eq!(kept.iter().filter(|kept| **kept).count(), 1, "{failed:?}");
                let errno = common::errno(Err::<(), _>(failed.error));
                assert_eq!(errno, Errno::NOSPC);
                failures.push(failed.step);
            }
        }
        // A little room for each next try.
        let outgoing = places[kept.iter().position(|kept| *kept).unwrap()];
        let view = live.open(p(outgoing)).unwrap();
        for n in round * 40..(round + 1) * 40 {
            fs::remove_file(path_of(&view).join(format!("f{n}"))).unwrap();
        }
    }
    assert!(!failures.is_empty(), "the disk was not full");
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_blank_has_directories_that_can_be_used() {
    let mut machine = Machine::new(Path::new("root"));
    assert!(machine.nest("var/lib/machines") && machine.nest("var/lib/machines/one"));
    let live = machine.disk.live();
    let view = live.open(Path::new("root/var/lib/machines")).unwrap();
    rustix::fs::fchmod(&view.dir, 0o750.into()).unwrap();
    rustix::fs::fchown(&view.dir, None, Some(rustix::fs::Gid::from_raw(7))).unwrap();
    drop(view);
    let mut engine = machine.engine();
    let survey = engine.survey().unwrap();
    let take = engine.plan_take_blank(&survey).unwrap();
    execute(&mut engine, &take, &Never, |_| ()).unwrap();
    machine.reset("one").unwrap();
    write(&live, "root/var/lib/machines/one", "x");
    let view = live.open(Path::new("root/var/lib/machines")).unwrap();
    let made = fs::metadata(path_of(&view)).unwrap();
    assert_eq!((made.mode() & 0o7777, made.gid()), (0o750, 7));
    assert_eq!(live.names(Path::new(".state")).unwrap(), [""; 0]);
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_an_interrupted_reset_is_finished_whatever_came_between() {
    let machine = Machine::new(Path::new("root"));
    write(&machine.disk.live(), "root/first", "1");
    let mut engine = machine.engine();
    let survey = engine.survey().unwrap();
    let plan = engine.plan_reset(&survey, &to_blank("one")).unwrap();
    // Up to the exchange; then the machine is used, and blank renewed.
    for step in &plan.steps[..2] {
        engine.apply(step).unwrap();
    }
    drop(engine);
    write(&machine.disk.live(), "root/second", "2");
    let mut engine = machine.engine();
    let survey = engine.survey().unwrap();
    let take = engine.plan_take_blank(&survey).unwrap();
    execute(&mut engine, &take, &Never, |_| ()).unwrap();
    drop(engine);
    machine.reset("two").unwrap();
    let live = machine.disk.live();
    assert_eq!(read(&live, "past-roots/two-2/first").unwrap(), "1");
    assert_eq!(read(&live, "past-roots/two/second").unwrap(), "2");
    assert_eq!(
        read(&live, "root/second").unwrap(),
        "2",
        "it is in blank now"
    );
    assert_eq!(read(&live, "root/first"), None);
    let mut names = live.names(Path::new("")).unwrap();
    names.retain(|name| name != "persist");
    assert_eq!(
        names,
        ["past-roots", "root", "root-blank", "root-blank-previous"]
    );
}
