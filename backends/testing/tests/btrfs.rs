//! The btrfs engine where it is least expected to hold: odd machines, swept; and the suite on the
//! simulator. The ordinary situations are swept in `backends/btrfs/tests/simulated.rs`.

use state_api::{
    Apply, Outcome, PastRootName, Plan, Reset, Result, RootBackend, RootCapabilities, RootFacts,
    Source, View,
};
use state_btrfs::{Btrfs, Step, Survey};
use state_testing::btrfs::{Layout, SimBtrfs};
use state_testing::rig::Rig;
use state_testing::suite::{self, root::RootFixture};
use state_testing::sweep::{Ask, Start, Sweep};
use std::path::PathBuf;

fn engine(sim: &SimBtrfs) -> Btrfs<SimBtrfs> {
    let layout = sim.layout();
    Btrfs::new(sim.clone(), &layout.root, Some(&layout.blank)).expect("valid names")
}

fn machine() -> SimBtrfs {
    SimBtrfs::machine(Layout::default())
}

fn start(name: &str, change: impl FnOnce(&SimBtrfs)) -> Start<SimBtrfs> {
    let sim = machine();
    change(&sim);
    Start::new(name, sim)
}

fn odd() -> Vec<Start<SimBtrfs>> {
    vec![
        Start::new(
            "every act is on the disk at once",
            machine().committing_by_itself(),
        ),
        start("past-roots is a subvolume", |sim| {
            sim.move_to("past-roots", "empty directory");
            sim.volume("past-roots");
        }),
        start("the reserved directory is a subvolume", |sim| {
            sim.volume(".state");
        }),
        start("nested volumes three deep, all read-only", |sim| {
            let mut at = PathBuf::from("root");
            let mut all = Vec::new();
            for name in ["one", "two of them", "three\n"] {
                at.push(name);
                sim.volume(&at);
                all.push(at.clone());
            }
            all.iter().rev().for_each(|at| sim.set_flag(at, true));
        }),
        start("blank holds what was a nested volume", |sim| {
            sim.remove("root-blank");
            sim.snapshot_of("root", "root-blank", true);
            sim.put("root/more", "more");
        }),
        start("a past root that is read-only", |sim| {
            sim.snapshot_of("root-blank", "past-roots/20200101T000000Z-aaaaaaaa", true);
        }),
        start("a past root is the default subvolume", |sim| {
            sim.volume("past-roots/20200101T000000Z-aaaaaaaa");
            sim.make_default("past-roots/20200101T000000Z-aaaaaaaa");
        }),
    ]
}

#[test]
fn resets_of_odd_machines_survive_every_cut_and_fault() {
    Sweep::assert_resets_survive(&engine, odd());
}

#[test]
fn new_blanks_of_odd_machines_survive_every_cut_and_fault() {
    let mut sweep = Sweep::new(&engine);
    for start in odd() {
        sweep.take_blank(&start);
    }
    sweep.assert_nothing_found();
}

#[test]
fn renewals_of_odd_machines_survive_every_cut_and_fault() {
    let mut sweep = Sweep::new(&engine);
    for start in odd() {
        sweep.renew_blank(&start);
    }
    sweep.assert_nothing_found();
}

#[test]
fn a_root_that_cannot_be_deleted_is_kept_or_refused() {
    let mut sweep = Sweep::new(&engine);
    let start = start("the default subvolume lies inside root", |sim| {
        sim.make_default("root/var/lib/machines");
    });
    for first in [Ask::Keep, Ask::Skip] {
        sweep.reset(&start, first, &[Ask::Keep, Ask::Past, Ask::Skip]);
    }
    sweep.assert_nothing_found();
    sweep.assert_refused(
        &start,
        Ask::GiveUp,
        "root/var/lib/machines is the default subvolume and lies inside root",
    );
}

/// The suite's machine: a root with a blank of one file.
struct Fixture(SimBtrfs);

impl Fixture {
    fn at(&self, path: &str) -> PathBuf {
        self.0.layout().root.join(path)
    }

    fn with_parents(&self, path: &str) -> PathBuf {
        let at = self.at(path);
        self.0.directory(at.parent().expect("below root"));
        at
    }
}

impl RootFixture for Fixture {
    type Backend = Btrfs<SimBtrfs>;

    fn backend(&self) -> Self::Backend {
        engine(&self.0)
    }
    fn write(&mut self, path: &str, text: &str) {
        self.0.put(self.with_parents(path), text);
    }
    fn nest(&mut self, path: &str) -> bool {
        self.0.volume(self.with_parents(path));
        true
    }
    fn mount_root(&mut self) {
        self.0.mount(self.0.layout().root, "", "/mnt");
    }
    fn unmount_root(&mut self) {
        self.0.unmount_all();
    }
    fn reboot(&mut self) {
        self.0.rewind();
    }
    fn spoil_blank(&mut self) -> bool {
        let blank = self.0.layout().blank;
        self.0.set_flag(&blank, false);
        self.0.put(blank.join("spoilt"), "x");
        self.0.set_flag(&blank, true);
        true
    }
    fn remove_blank(&mut self) {
        self.0.remove(self.0.layout().blank);
    }
}

#[test]
fn the_engine_does_what_every_root_engine_must() {
    for (root, blank, inside_volume) in [
        ("root", "root-blank", false),
        ("@/my root\n", "@/snaps of it/clean one", false),
        ("@/root", "@/blank", true),
    ] {
        suite::run(&suite::root::cases(), || {
            let sim = SimBtrfs::new(Layout {
                root: root.into(),
                blank: blank.into(),
            });
            if inside_volume {
                sim.volume("@");
            }
            let layout = sim.layout();
            for path in [&layout.root, &layout.blank] {
                sim.directory(path.parent().expect("not the top level"));
            }
            sim.volume(&layout.root);
            sim.directory(layout.root.join("etc"));
            sim.put(layout.root.join("etc/conf"), "as shipped");
            sim.snapshot_of(&layout.root, &layout.blank, true);
            Fixture(sim)
        });
    }
}

/// The engine with its plans changed: what the sweep must notice.
struct Mutant {
    engine: Btrfs<SimBtrfs>,
    change: fn(&mut Vec<Step>),
}

impl Apply for Mutant {
    type Step = Step;
    fn apply(&mut self, step: &Step) -> Result<Outcome> {
        self.engine.apply(step)
    }
}

impl RootBackend for Mutant {
    const NAME: &'static str = "mutant";
    type Survey = Survey;

    fn capabilities(&self) -> RootCapabilities {
        self.engine.capabilities()
    }
    fn survey(&self) -> Result<Survey> {
        self.engine.survey()
    }
    fn facts(&self, survey: &Survey) -> RootFacts {
        self.engine.facts(survey)
    }
    fn plan_reset(&self, survey: &Survey, reset: &Reset) -> Result<Plan<Step>> {
        let mut plan = self.engine.plan_reset(survey, reset)?;
        (self.change)(&mut plan.steps);
        Ok(plan)
    }
    fn plan_delete(&self, survey: &Survey, past: &PastRootName) -> Result<Plan<Step>> {
        self.engine.plan_delete(survey, past)
    }
    fn plan_take_blank(&self, survey: &Survey) -> Result<Plan<Step>> {
        self.engine.plan_take_blank(survey)
    }
    fn recheck(&self, survey: &Survey) -> Result<()> {
        self.engine.recheck(survey)
    }
    fn pin(&mut self, past: &PastRootName, pinned: bool) -> Result<Outcome> {
        self.engine.pin(past, pinned)
    }
    fn open_root(&self) -> Result<View> {
        self.engine.open_root()
    }
    fn open(&self, source: &Source) -> Result<View> {
        self.engine.open(source)
    }
}

/// How a mutant changes plans, and what the sweep then finds.
type Mutation = (&'static str, fn(&mut Vec<Step>), &'static str);

#[test]
fn the_sweep_notices_what_is_wrong() {
    let mutations: [Mutation; 5] = [
        ("as it is", |_| (), ""),
        (
            "never commits",
            |steps| steps.retain(|step| *step != Step::Commit),
            "said to be done, but a power cut would undo it",
        ),
        (
            "does not put the outgoing root away",
            |steps| {
                let away = |step: &Step| matches!(step, Step::Rename { to, .. } if to.starts_with("past-roots"));
                steps.retain(|step| !away(step));
            },
            "left behind",
        ),
        (
            "deletes the outgoing root's subvolume first",
            |steps| {
                if steps
                    .iter()
                    .any(|step| matches!(step, Step::Exchange { .. }))
                {
                    let nested = "root/a name with space".into();
                    steps.insert(
                        0,
                        Step::Delete {
                            at: nested,
                            id: Some(266),
                        },
                    );
                }
            },
            "a root that was lived in is nowhere",
        ),
        (
            "moves root away before there is a new one",
            |steps| {
                let exchange = |step: &Step| matches!(step, Step::Exchange { .. });
                if let Some(at) = steps.iter().position(exchange) {
                    let rename = |from: &str, to: &str| Step::Rename {
                        from: from.into(),
                        to: to.into(),
                        id: None,
                    };
                    // Nothing says any more which of the two is the outgoing root.
                    let away = [rename("root", "aside"), rename("root.new", "root")];
                    steps.splice(at..=at, away);
                    steps.truncate(at + 2);
                }
            },
            "a root that was lived in was not kept",
        ),
    ];
    for (name, change, expected) in mutations {
        let open = |sim: &SimBtrfs| Mutant {
            engine: engine(sim),
            change,
        };
        let mut sweep = Sweep::new(&open);
        sweep.reset(&start(name, |_| ()), Ask::Keep, &[Ask::Keep]);
        let found = sweep
            .failures
            .iter()
            .any(|failure| failure.contains(expected));
        assert_eq!(found, !expected.is_empty(), "{name}: {:#?}", sweep.failures);
        assert_eq!(sweep.failures.is_empty(), expected.is_empty(), "{name}");
    }
}
