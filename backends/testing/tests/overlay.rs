//! The overlay engine on simulated layers: every situation, every cut, every fault.

use state_api::{Error, RootBackend};
use state_overlay::Overlay;
use state_testing::overlay::{PAST_ROOTS, SimOverlay};
use state_testing::rig::Rig;
use state_testing::suite::{self, root::RootFixture};
use state_testing::sweep::{Ask, Start, Sweep, request};

fn engine(sim: &SimOverlay) -> Overlay<SimOverlay> {
    Overlay::new(sim.clone())
}

fn start(name: &str, change: &dyn Fn(&SimOverlay)) -> Start<SimOverlay> {
    let sim = SimOverlay::machine();
    change(&sim);
    Start::new(name, sim)
}

/// Situations in which a reset goes through.
fn starts() -> Vec<Start<SimOverlay>> {
    let old = format!("{PAST_ROOTS}/20200101T000000Z-aaaaaaaa");
    let outgoing = SimOverlay::machine().tree("root").expect("it has a root");
    vec![
        start("an ordinary machine", &|_| ()),
        Start::new("never reset", SimOverlay::installed(&[("etc/conf", "x")])),
        start("past roots, one of them pinned", &|sim| {
            sim.root(&old, 0, None);
            sim.put_in(&old, "old", "old");
            sim.stranger(
                &format!("{PAST_ROOTS}/.pinned/20200101T000000Z-aaaaaaaa"),
                false,
            );
        }),
        start("root was begun above a past root", &|sim| {
            sim.root(&old, 0, None);
            sim.put_in(&old, "old", "old");
            sim.root("root", 1, Some("20200101T000000Z-aaaaaaaa"));
            sim.put("lived in", "outgoing");
        }),
        start("the name of the next past root is taken", &|sim| {
            let next = format!("{PAST_ROOTS}/19700101T000007Z-6d3f20c1");
            sim.root(&next, 0, None);
            sim.put_in(&next, "older", "older");
        }),
        start(
            "rubbish among the scratch, under the number of root",
            &|sim| {
                sim.stranger("scratch/1", true);
            },
        ),
        start("a staged root that nobody booted", &|sim| {
            sim.root("root.new", 2, None);
        }),
        start("the outgoing root is not put away", &|sim| {
            sim.root("root.new", 0, None);
            sim.put_in("root.new", "outgoing too", "x");
        })
        .with_outgoing({
            let sim = SimOverlay::machine();
            sim.root("root.new", 0, None);
            sim.put_in("root.new", "outgoing too", "x");
            sim.tree("root.new").expect("made above")
        }),
        Start::new("only a staged name is left", {
            let sim = SimOverlay::installed(&[("etc/conf", "as shipped"), ("sbin/init", "init")]);
            sim.root("root.new", 1, None);
            sim.put_in("root.new", "lived in", "outgoing");
            sim
        })
        .with_outgoing(outgoing),
        start("upgraded since", &|sim| sim.upgrade("etc/conf", "newer")),
    ]
}

#[test]
fn resets_survive_every_cut_and_fault() {
    Sweep::assert_resets_survive(&engine, starts());
}

#[test]
fn deleting_a_past_root_survives_every_cut_and_fault() {
    let old = "20200101T000000Z-aaaaaaaa";
    let mut sweep = Sweep::new(&engine);
    for rubbish in [false, true] {
        let start = start("a past root", &|sim| {
            sim.root(&format!("{PAST_ROOTS}/{old}"), 0, None);
            sim.put_in(&format!("{PAST_ROOTS}/{old}"), "old", "old");
            if rubbish {
                sim.stranger("scratch/0", true);
                sim.stranger("scratch/0/more", true);
            }
        });
        sweep.delete(&start, old);
    }
    sweep.assert_nothing_found();
}

#[test]
fn what_could_lose_something_is_refused() {
    let mut sweep = Sweep::new(&engine);
    for (what, change, message) in [
        (
            "mounted",
            (&|sim: &SimOverlay| sim.mount("root", "/")) as &dyn Fn(&SimOverlay),
            "root is mounted at /",
        ),
        (
            "the staged one is mounted",
            &|sim| {
                sim.root("root.new", 0, None);
                sim.mount("root.new", "/mnt");
            },
            "root.new is mounted at /mnt",
        ),
        (
            "somebody's directory",
            &|sim| sim.stranger("root.new", true),
            "root.new is not a root of ours, with its layers",
        ),
        (
            "past-roots is a file",
            &|sim| sim.stranger(PAST_ROOTS, false),
            "past-roots is not an ordinary directory",
        ),
        (
            "somebody's directory has the name of the next past root",
            &|sim| sim.stranger(&format!("{PAST_ROOTS}/19700101T000007Z-6d3f20c1"), true),
            "past-roots/19700101T000007Z-6d3f20c1 exists already",
        ),
        (
            "read-only",
            &SimOverlay::force_read_only,
            "the simulated disk is read-only",
        ),
        (
            "nothing installed",
            &SimOverlay::uninstall,
            "the lower layer does not exist",
        ),
    ] {
        let sim = SimOverlay::machine();
        change(&sim);
        // A rewind would unmount.
        let start = Start {
            rig: sim,
            ..start(what, &|_| ())
        };
        sweep.assert_refused(&start, Ask::Keep, message);
    }
}

/// A layer fits what it was written above; and what others lie above stays.
#[test]
fn layers_keep_what_they_need() {
    let sim = SimOverlay::machine();
    let reset = |ask| {
        let mut engine = engine(&sim);
        let survey = engine.survey().unwrap();
        let reset = request(&engine.facts(&survey), ask).unwrap();
        let plan = engine.plan_reset(&survey, &reset)?;
        state_api::execute(&mut engine, &plan, &state_api::Never, |_| ()).unwrap();
        Ok::<_, Error>(())
    };
    reset(Ask::Keep).unwrap();
    reset(Ask::Past).unwrap();
    let engine = engine(&sim);
    let survey = engine.survey().unwrap();
    let past = engine.facts(&survey).past_roots;
    assert_eq!(past[0].needed_by, ["root"]);
    let refused = engine.plan_delete(&survey, &past[0].name).unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!("past root {} is held by root", past[0].name)
    );
    sim.upgrade("etc/conf", "newer");
    let refused = reset(Ask::Past).unwrap_err().to_string();
    assert_eq!(
        refused,
        format!(
            "past root {} belongs to the system before its last upgrade",
            past[1].name
        )
    );
}

struct Fixture(SimOverlay);

impl RootFixture for Fixture {
    type Backend = Overlay<SimOverlay>;

    fn backend(&self) -> Self::Backend {
        engine(&self.0)
    }
    fn write(&mut self, path: &str, text: &str) {
        self.0.put(path, text);
    }
    fn nest(&mut self, _: &str) -> bool {
        false
    }
    fn mount_root(&mut self) {
        self.0.mount("root", "/mnt");
    }
    fn unmount_root(&mut self) {
        self.0.unmount_all();
    }
    fn reboot(&mut self) {
        self.0.rewind();
    }
    fn spoil_blank(&mut self) -> bool {
        false
    }
    fn remove_blank(&mut self) {
        self.0.uninstall();
    }
}

#[test]
fn the_engine_does_what_every_root_engine_must() {
    suite::run(&suite::root::cases(), || {
        let sim = SimOverlay::installed(&[("etc/conf", "as shipped")]);
        sim.root("root", 1, None);
        Fixture(sim.rewound())
    });
}
