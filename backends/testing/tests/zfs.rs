//! The ZFS engine on the simulated pool: every situation, every cut, every fault.

use state_api::{Error, RootBackend, RootFacts};
use state_testing::rig::Rig;
use state_testing::suite::{self, root::RootFixture};
use state_testing::sweep::{Ask, Start, Sweep, request};
use state_testing::zfs::{Layout, SimZfs};
use state_zfs::Zfs;

const ROOT: &str = "rpool/local/root";
const PAST: &str = "rpool/local/past-roots";

fn engine(sim: &SimZfs) -> Zfs<SimZfs> {
    let layout = sim.layout();
    Zfs::new(sim.clone(), &layout.root, &layout.blank).expect("valid names")
}

fn machine() -> SimZfs {
    SimZfs::machine(Layout::default())
}

fn facts(sim: &SimZfs) -> RootFacts {
    let engine = engine(sim);
    let survey = engine.survey().expect("the simulator can be read");
    engine.facts(&survey)
}

/// A machine after `resets` ordinary resets, each root lived in.
fn after(resets: usize) -> SimZfs {
    let mut sim = machine();
    for n in 0..resets {
        let mut engine = engine(&sim);
        let survey = engine.survey().unwrap();
        let ask = state_testing::sweep::request(&engine.facts(&survey), Ask::Keep).unwrap();
        let plan = engine.plan_reset(&survey, &ask).unwrap();
        state_api::execute(&mut engine, &plan, &state_api::Never, |_| ()).unwrap();
        assert!(sim.live(&format!("boot {n}")));
    }
    sim.rewound()
}

fn start(name: &str, change: &dyn Fn(&SimZfs)) -> Start<SimZfs> {
    let sim = machine();
    change(&sim);
    Start::new(name, sim)
}

/// Situations in which a reset goes through.
fn starts() -> Vec<Start<SimZfs>> {
    let mut starts = vec![
        start("an ordinary machine", &|_| ()),
        Start::new("after one reset", after(1)),
        Start::new("after three resets", after(3)),
        Start::new(
            "a root directly below the pool",
            SimZfs::machine(Layout {
                root: "tank/root".into(),
                blank: "clean one".into(),
            }),
        ),
        Start::new(
            "a root with a space and a colon in its name",
            SimZfs::machine(Layout {
                root: "rpool/a b/my: root".into(),
                blank: "blank".into(),
            }),
        ),
        start("somebody used the past-roots dataset already", &|sim| {
            sim.dataset(PAST, &["canmount=off"]);
            sim.dataset(&format!("{PAST}/mine"), &["canmount=noauto", "readonly=on"]);
            sim.put(&format!("{PAST}/mine"), "kept", "kept");
        }),
        start("the name of the next past root is taken", &|sim| {
            sim.dataset(PAST, &["canmount=off"]);
            let name = format!("{PAST}/19700101T000007Z-6d3f20c1");
            sim.dataset(&name, &["canmount=noauto", "readonly=on"]);
            sim.put(&name, "older", "older");
        }),
        start("a pinned past root", &|sim| {
            let name = format!("{PAST}/20200101T000000Z-aaaaaaaa");
            let local = ["canmount=noauto", "readonly=on", "org.state:pinned=on"];
            sim.dataset(&name, &local);
            sim.put(&name, "pinned", "pinned");
        }),
        start("snapshots older than blank and newer ones", &|sim| {
            sim.snapshot_of(&format!("{ROOT}@by hand"));
            sim.snapshot_of(&format!("{ROOT}@autosnap_1"));
            sim.snapshot_of(&format!("{ROOT}@autosnap_2"));
        }),
        start("a newer bookmark", &|sim| {
            sim.snapshot_of(&format!("{ROOT}@sent"));
            sim.bookmark_of(&format!("{ROOT}@sent"), "sent");
        }),
        start("bootfs is another dataset", &|sim| {
            sim.boots("rpool/local/nix")
        }),
        start("an encrypted pool", &|sim| sim.encrypt("rpool")),
        start("encrypted below local", &|sim| sim.encrypt("rpool/local")),
        start("a held blank", &|sim| {
            sim.hold(&format!("{ROOT}@blank"), "keep")
        }),
        start("blank has another clone", &|sim| {
            sim.clone_of(&format!("{ROOT}@blank"), "rpool/local/experiment");
            sim.set_property("rpool/local/experiment", "canmount", "noauto");
            sim.put("rpool/local/experiment", "x", "x");
        }),
        start("a dataset like a leftover, somebody else's", &|sim| {
            sim.dataset("rpool/local/rootfs", &[]);
            sim.put("rpool/local/rootfs", "x", "x");
        }),
        start("a previous blank", &|sim| {
            sim.renamed(&format!("{ROOT}@blank"), "rpool/local/root@blank-previous");
            sim.put(ROOT, "upgraded", "2");
            sim.snapshot_of(&format!("{ROOT}@blank"));
            sim.put(ROOT, "lived in more", "more");
        }),
    ];
    starts.extend(interrupted());
    starts
}

/// Situations with children of root, each with a blank.
fn with_children() -> Vec<Start<SimZfs>> {
    vec![
        start("a child with a blank of its own", &|sim| {
            let child = format!("{ROOT}/var");
            sim.dataset(&child, &["mountpoint=legacy", "quota=1073741824"]);
            sim.snapshot_of(&format!("{child}@blank"));
            sim.put(&child, "log", "outgoing log");
        }),
        start("children two deep, each with a blank", &|sim| {
            for child in ["var", "var/log", "srv"] {
                let child = format!("{ROOT}/{child}");
                sim.dataset(&child, &["mountpoint=legacy"]);
                sim.snapshot_of(&format!("{child}@blank"));
                sim.put(&child, "file", "outgoing");
            }
        }),
    ]
}

/// What an interrupted reset, or a person, left.
fn interrupted() -> Vec<Start<SimZfs>> {
    let standing = machine().world().standing;
    let outgoing = machine().world().root.expect("it has a root");
    let old = format!("{PAST}/19700101T000003Z-11111111");
    let left = |name: &str, change: &dyn Fn(&SimZfs)| {
        let sim = machine();
        sim.dataset(PAST, &["canmount=off", "mountpoint=none"]);
        sim.renamed(ROOT, &old);
        change(&sim);
        Start::new(name, sim)
            .with_outgoing(outgoing.clone())
            .standing(standing.clone())
    };
    let local = |sim: &SimZfs| {
        for (name, value) in [
            ("mountpoint", "legacy"),
            ("compression", "zstd"),
            ("org.example:note", "two words"),
        ] {
            sim.set_property(ROOT, name, value);
        }
    };
    vec![
        left("renamed, not cloned", &|_| ()),
        left("cloned, not promoted", &|sim| {
            sim.clone_of(&format!("{old}@blank"), ROOT);
            local(sim);
        }),
        left("promoted, bootfs and properties not yet set", &|sim| {
            sim.clone_of(&format!("{old}@blank"), ROOT);
            local(sim);
            sim.promoted(ROOT);
        }),
        left("cloned, not promoted, and then used", &|sim| {
            sim.clone_of(&format!("{old}@blank"), ROOT);
            local(sim);
            sim.put(ROOT, "used meanwhile", "precious too");
        }),
    ]
}

#[test]
fn resets_survive_every_cut_and_fault() {
    Sweep::assert_resets_survive(&engine, starts());
}

#[test]
fn a_root_with_a_key_of_its_own_is_rolled_back_only() {
    let sim = machine();
    sim.encrypt(ROOT);
    let engine = engine(&sim);
    let survey = engine.survey().unwrap();
    let facts = engine.facts(&survey);
    let plan = |ask| engine.plan_reset(&survey, &request(&facts, ask).unwrap());
    assert!(matches!(plan(Ask::Keep), Err(Error::Refused(_))));
    assert!(plan(Ask::GiveUp).is_ok());
}

#[test]
fn resets_with_children_survive_every_cut_and_fault() {
    let mut sweep = Sweep::new(&engine);
    let kept = [Ask::Keep, Ask::Past, Ask::Skip];
    for start in with_children() {
        for first in kept {
            sweep.reset(&start, first, &kept);
        }
    }
    // Datasets are rolled back one by one.
    for start in with_children().into_iter().map(Start::piecemeal) {
        for first in Ask::ALL {
            sweep.reset(&start, first, &[Ask::GiveUp]);
        }
        sweep.reset(&start, Ask::GiveUp, &Ask::ALL);
    }
    sweep.assert_nothing_found();
}

#[test]
fn new_blanks_survive_every_cut_and_fault() {
    let mut sweep = Sweep::new(&engine);
    let starts = starts().into_iter().chain(with_children());
    for start in &starts.filter(|s| s.outgoing.is_empty()).collect::<Vec<_>>() {
        if facts(&start.rig).refusals.is_empty() {
            sweep.take_blank(start);
        }
    }
    sweep.assert_nothing_found();
}

#[test]
fn deletions_survive_every_cut_and_fault() {
    let mut sweep = Sweep::new(&engine);
    for start in starts() {
        for past in facts(&start.rig).past_roots.iter().filter(|p| !p.is_pinned) {
            if start.outgoing.is_empty() {
                sweep.delete(&start, past.name.as_str());
            }
        }
    }
    sweep.assert_nothing_found();
}

/// The suite's machine: a root with a blank of one file.
struct Fixture(SimZfs);

impl RootFixture for Fixture {
    type Backend = Zfs<SimZfs>;

    fn backend(&self) -> Self::Backend {
        engine(&self.0)
    }
    fn write(&mut self, path: &str, text: &str) {
        self.0.put(ROOT, path, text);
    }
    fn nest(&mut self, _: &str) -> bool {
        false // children are datasets with a blank of their own
    }
    fn mount_root(&mut self) {
        self.0.mount(ROOT, "/mnt");
    }
    fn unmount_root(&mut self) {
        self.0.unmount_all();
    }
    fn reboot(&mut self) {
        self.0.rewind();
    }
    fn spoil_blank(&mut self) -> bool {
        false // a snapshot cannot be written to
    }
    fn remove_blank(&mut self) {
        self.0.destroyed(&self.0.layout().blank_name());
    }
}

#[test]
fn the_engine_does_what_every_root_engine_must() {
    suite::run(&suite::root::cases(), || {
        let sim = SimZfs::default();
        sim.dataset(ROOT, &["mountpoint=legacy"]);
        sim.put(ROOT, "etc/conf", "as shipped");
        sim.snapshot_of(&sim.layout().blank_name());
        Fixture(sim)
    });
}

#[test]
fn what_would_lose_something_is_refused() {
    type Case<'a> = (&'a str, &'a dyn Fn(&SimZfs), Ask, &'a str);
    let newer = |sim: &SimZfs| sim.snapshot_of(&format!("{ROOT}@newer"));
    let cases: [Case<'_>; 8] = [
        (
            "no blank",
            &|sim| sim.destroyed(&format!("{ROOT}@blank")),
            Ask::Keep,
            "rpool/local/root@blank does not exist",
        ),
        (
            "root is mounted",
            &|sim| sim.mount(ROOT, "/sysroot"),
            Ask::Keep,
            "rpool/local/root is mounted at /sysroot",
        ),
        (
            "root is mounted, to be rolled back",
            &|sim| sim.mount(ROOT, "/sysroot"),
            Ask::GiveUp,
            "rpool/local/root is mounted at /sysroot",
        ),
        (
            "a child without a blank",
            &|sim| sim.dataset(&format!("{ROOT}/var"), &[]),
            Ask::Keep,
            "rpool/local/root/var is a child of root without a blank snapshot of its own",
        ),
        (
            "a child is mounted",
            &|sim| {
                sim.dataset(&format!("{ROOT}/var"), &[]);
                sim.snapshot_of(&format!("{ROOT}/var@blank"));
                sim.mount(&format!("{ROOT}/var"), "/var");
            },
            Ask::Keep,
            "rpool/local/root/var is mounted at /var",
        ),
        (
            "a newer snapshot is held",
            &|sim| {
                newer(sim);
                sim.hold(&format!("{ROOT}@newer"), "backup tool");
            },
            Ask::GiveUp,
            "rpool/local/root@newer is held by backup tool",
        ),
        (
            "a newer snapshot has a clone",
            &|sim| {
                newer(sim);
                sim.clone_of(&format!("{ROOT}@newer"), "rpool/local/experiment");
            },
            Ask::GiveUp,
            "rpool/local/root@newer is held by rpool/local/experiment",
        ),
        (
            "the pool is read-only",
            &|sim| sim.import_read_only(true),
            Ask::Keep,
            "pool rpool is read-only",
        ),
    ];
    for (name, change, ask, message) in cases {
        let sim = machine();
        change(&sim);
        // Not `Start::new` with it: that would unmount.
        let mut started = Start::new(name, machine());
        started.rig = sim;
        started.rig.fail(None); // counts acts anew
        Sweep::new(&engine).assert_refused(&started, ask, message);
    }
}
