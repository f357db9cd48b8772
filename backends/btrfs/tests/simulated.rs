//! The engine on the simulated filesystem: every situation, every cut, every fault.

use state_api::{Plan, RootBackend, RootFacts};
use state_btrfs::{Btrfs, Kernel, Step, Survey};
use state_testing::SimBtrfs;
use state_testing::btrfs::Layout;
use state_testing::rig::Rig;
use state_testing::sweep::{Ask, Start, Sweep};
use std::path::Path;

const OLD: &str = "past-roots/19700101T000003Z-11111111";

fn engine(sim: &SimBtrfs) -> Btrfs<SimBtrfs> {
    let layout = sim.layout();
    Btrfs::new(sim.clone(), &layout.root, Some(&layout.blank)).expect("valid names")
}

fn machine() -> SimBtrfs {
    SimBtrfs::machine(Layout::default())
}

fn facts(sim: &SimBtrfs) -> RootFacts {
    let engine = engine(sim);
    let survey = engine.survey().expect("the simulator can be read");
    engine.facts(&survey)
}

/// A machine after `resets` ordinary resets, each root lived in.
fn after(resets: usize) -> SimBtrfs {
    let mut sim = machine();
    for n in 0..resets {
        reset(&sim, Ask::Keep);
        assert!(sim.live(&format!("boot {n}")));
    }
    sim.rewound()
}

fn start(name: &str, change: impl FnOnce(&SimBtrfs)) -> Start<SimBtrfs> {
    let sim = machine();
    change(&sim);
    Start::new(name, sim)
}

fn without_past_roots(sim: &SimBtrfs) {
    let removed = sim.clone().remove_directory(Path::new("past-roots"));
    removed.expect("it is empty");
}

/// Situations in which a reset goes through.
fn starts() -> Vec<Start<SimBtrfs>> {
    let laid_out = |root: &str, blank: &str| {
        SimBtrfs::machine(Layout {
            root: root.into(),
            blank: blank.into(),
        })
    };
    let mut starts = vec![
        start("an ordinary machine", |_| ()),
        Start::new("after one reset", after(1)),
        Start::new("after three resets", after(3)),
        Start::new(
            "root and blank in directories, with hostile names",
            laid_out("system/my root\n", "snaps/a b"),
        ),
        start("root is the default subvolume", |sim| {
            sim.make_default("root")
        }),
        start("no past-roots directory yet", without_past_roots),
        start("somebody's own things among the past roots", |sim| {
            sim.put("past-roots/a file", "x");
            sim.directory("past-roots/old ones");
        }),
        start("the name of the next past root is taken", |sim| {
            sim.volume("past-roots/19700101T000007Z-6d3f20c1");
            sim.put("past-roots/19700101T000007Z-6d3f20c1/x", "x");
        }),
        start("a pinned past root", |sim| {
            sim.volume(OLD);
            sim.put(format!("{OLD}/x"), "x");
            sim.directory("past-roots/.pinned");
            sim.put(format!("past-roots/.pinned/{}", &OLD[11..]), "");
        }),
        start("a read-only volume in root with another inside", |sim| {
            sim.set_flag("root/var/lib/machines", true);
        }),
        start("root was never written to", |sim| {
            sim.remove("root");
            sim.snapshot_of("root-blank", "root", false);
        }),
        start("a previous blank", |sim| {
            sim.move_to("root-blank", "root-blank-previous");
            sim.put("root/upgraded", "2");
            sim.snapshot_of("root", "root-blank", true);
            sim.put("root/lived in more", "more");
        }),
    ];
    starts.extend(interrupted());
    starts
}

/// What an interrupted reset, or a person, left.
fn interrupted() -> Vec<Start<SimBtrfs>> {
    let standing = machine().world().standing;
    let outgoing = machine().world().root.expect("it has a root");
    let left =
        |name: &str, change: &dyn Fn(&SimBtrfs)| start(name, change).standing(standing.clone());
    let exchanged = |sim: &SimBtrfs| {
        sim.move_to("root", "root.new");
        sim.snapshot_of("root-blank", "root", false);
    };
    let mut starts = vec![
        left("staged, not exchanged", &|sim| {
            sim.snapshot_of("root-blank", "root.new", false);
        }),
        left("exchanged, not put away", &exchanged).with_outgoing(outgoing.clone()),
        left("renamed, nothing in its place", &|sim| {
            sim.move_to("root", "root.new");
        })
        .with_outgoing(outgoing.clone()),
        left("staged, root missing", &|sim| {
            sim.move_to("root", OLD);
            sim.snapshot_of("root-blank", "root.new", false);
        })
        .with_outgoing(outgoing.clone()),
        left("root missing, nothing staged", &|sim| {
            sim.move_to("root", OLD)
        })
        .with_outgoing(outgoing.clone()),
        left("exchanged, and then the default not set", &|sim| {
            exchanged(sim);
            sim.make_default("root.new");
        })
        .with_outgoing(outgoing.clone())
        .standing({
            let sim = machine();
            sim.make_default("root");
            sim.world().standing
        }),
        left("built and given up in the scratch place", &|sim| {
            sim.directory(".state");
            sim.snapshot_of("root-blank", ".state/scratch", false);
            sim.volume(".state/scratch/nested");
        }),
    ];
    let with_tree = |name: &str, change: &dyn Fn(&SimBtrfs), tree: &str| {
        let started = left(name, change);
        let tree = started.rig.tree(tree).expect("it is there");
        started.with_outgoing(tree)
    };
    starts.extend([
        with_tree(
            "exchanged, and the new root used",
            &|sim| {
                exchanged(sim);
                sim.put("root/used meanwhile", "precious too");
            },
            "root.new",
        ),
        with_tree(
            "staged from a blank that was renewed and is gone",
            &|sim| {
                sim.snapshot_of("root-blank", "root.new", false);
                sim.remove("root-blank");
                sim.snapshot_of("root", "root-blank", true);
            },
            "root.new",
        ),
        with_tree(
            "staged from a past root that has changed since",
            &|sim| {
                sim.snapshot_of("root-blank", OLD, false);
                sim.put(format!("{OLD}/precious"), "precious");
                sim.snapshot_of(OLD, "root.new", false);
                sim.remove(format!("{OLD}/precious"));
            },
            "root.new",
        ),
        with_tree(
            "staged, and then used by hand",
            &|sim| {
                sim.snapshot_of("root-blank", "root.new", false);
                sim.put("root.new/precious", "precious");
            },
            "root.new",
        ),
    ]);
    starts
}

#[test]
fn resets_survive_every_cut_and_fault() {
    Sweep::assert_resets_survive(&engine, starts());
}

#[test]
fn new_blanks_survive_every_cut_and_fault() {
    let mut sweep = Sweep::new(&engine);
    for start in starts() {
        let facts = facts(&start.rig);
        if facts.exists && facts.leftovers.is_empty() {
            sweep.take_blank(&start);
        }
    }
    sweep.assert_nothing_found();
}

#[test]
fn renewed_blanks_survive_every_cut_and_fault() {
    let mut sweep = Sweep::new(&engine);
    for start in starts() {
        let facts = facts(&start.rig);
        if facts.exists && facts.leftovers.is_empty() && facts.blank.is_some() {
            sweep.renew_blank(&start);
        }
    }
    sweep.assert_nothing_found();
}

/// A read-only subvolume cannot move to another directory, so it is made writable first.
#[test]
fn a_read_only_root_is_reset_too() {
    for ask in [Ask::Keep, Ask::GiveUp] {
        let mut sim = machine();
        sim.set_flag("root", true);
        sim.rewind();
        let outgoing = sim.world().root;
        reset(&sim, ask);
        for (n, back) in sim.comebacks().into_iter().enumerate() {
            reset(&back, Ask::Keep);
            let now = back.world();
            let way = format!("{ask:?}, cut after change {n}");
            assert_eq!(now.root, now.blank, "{way}");
            assert_eq!(now.standing["root is read-only"], "false", "{way}");
            let kept = now
                .past
                .values()
                .any(|past| Some(past) == outgoing.as_ref());
            assert!(kept || ask == Ask::GiveUp, "{way}");
        }
    }
}

/// Whatever a cut leaves of taking a blank: the old one is blank or the previous one, and the next
/// reset puts the rest in order.
#[test]
fn a_replaced_blank_is_kept_whatever_happens() {
    for (name, with_previous) in [("no previous blank", false), ("a previous blank", true)] {
        let mut sim = machine();
        if with_previous {
            sim.snapshot_of("root-blank", "root-blank-previous", false);
            sim.put("root-blank-previous/older", "x");
            sim.set_flag("root-blank-previous", true);
        }
        sim.rewind();
        let before = sim.world();
        carry_out(&sim, |engine, survey| engine.plan_take_blank(survey));
        let mut taken = 0;
        for (n, back) in sim.comebacks().into_iter().enumerate() {
            reset(&back, Ask::Keep);
            let now = back.world();
            let expected = match now.blank == before.blank {
                true => &before.previous,
                false => &before.blank,
            };
            assert_eq!(&now.previous, expected, "{name}, cut after change {n}");
            assert!(now.strays.is_empty(), "{name}, cut after change {n}");
            taken += usize::from(now.blank != before.blank);
        }
        assert!(taken > 1, "{name}");
    }
}

fn reset(sim: &SimBtrfs, ask: Ask) {
    carry_out(sim, |engine, survey| {
        let ask = state_testing::sweep::request(&engine.facts(survey), ask);
        engine.plan_reset(survey, &ask.expect("no past root asked for"))
    });
}

fn carry_out(
    sim: &SimBtrfs,
    plan: impl FnOnce(&Btrfs<SimBtrfs>, &Survey) -> state_api::Result<Plan<Step>>,
) {
    let mut engine = engine(sim);
    let survey = engine.survey().unwrap();
    let plan = plan(&engine, &survey).unwrap();
    state_api::execute(&mut engine, &plan, &state_api::Never, |_| ()).unwrap();
}

#[test]
fn deletions_survive_every_cut_and_fault() {
    let mut sweep = Sweep::new(&engine);
    for start in starts() {
        let facts = facts(&start.rig);
        for past in facts.past_roots.iter().filter(|past| !past.is_pinned) {
            if start.outgoing.is_empty() && facts.exists {
                sweep.delete(&start, past.name.as_str());
            }
        }
    }
    sweep.assert_nothing_found();
}

#[test]
fn what_would_lose_something_is_refused() {
    type Case<'a> = (&'a str, &'a dyn Fn(&SimBtrfs), &'a str);
    let cases: [Case<'_>; 12] = [
        (
            "no blank",
            &|sim| sim.remove("root-blank"),
            "root-blank does not exist",
        ),
        (
            "blank is writable",
            &|sim| sim.set_flag("root-blank", false),
            "root-blank is writable or was written to: it is no longer blank",
        ),
        (
            "blank was written to",
            &|sim| {
                sim.set_flag("root-blank", false);
                sim.put("root-blank/x", "x");
                sim.set_flag("root-blank", true);
            },
            "root-blank is writable or was written to: it is no longer blank",
        ),
        (
            "blank is a directory",
            &|sim| {
                sim.remove("root-blank");
                sim.directory("root-blank");
            },
            "root-blank is not a subvolume",
        ),
        (
            "root is a directory",
            &|sim| {
                sim.remove("root");
                sim.directory("root");
            },
            "root is not a subvolume",
        ),
        (
            "past-roots is a file",
            &|sim| {
                without_past_roots(sim);
                sim.put("past-roots", "x");
            },
            "past-roots is not a directory",
        ),
        (
            "root.new is a directory",
            &|sim| sim.directory("root.new"),
            "root.new is not a subvolume",
        ),
        (
            "root is mounted",
            &|sim| sim.mount("root", "", "/"),
            "root is mounted at /",
        ),
        (
            "a directory of root is mounted",
            &|sim| sim.mount("root", "var/lib", "/srv"),
            "root is mounted at /srv",
        ),
        (
            "a volume inside root is mounted elsewhere",
            &|sim| sim.mount("root/var/lib/machines", "", "/machines"),
            "root/var/lib/machines, mounted at /machines, lies inside root and would be put away \
             with it",
        ),
        (
            "the outgoing root is mounted",
            &|sim| {
                sim.move_to("root", "root.new");
                sim.snapshot_of("root-blank", "root", false);
                sim.mount("root.new", "", "/sysroot");
            },
            "root.new is mounted at /sysroot",
        ),
        (
            "the filesystem is read-only",
            &|sim| sim.force_read_only(true),
            "the filesystem 8a1f5c5e-7d1b-4a39-9d0e-2f6b1f3c0001 is read-only",
        ),
    ];
    for (name, change, message) in cases {
        let sim = machine();
        change(&sim);
        // Not `Start::new`: it would unmount.
        let mut started = Start::new(name, machine());
        started.rig = sim;
        started.rig.fail(None); // counts acts anew
        Sweep::new(&engine).assert_refused(&started, Ask::Keep, message);
    }
}

#[test]
fn what_the_configuration_names_is_not_put_away() {
    let open = |sim: &SimBtrfs| {
        engine(sim)
            .protecting(Path::new("/persist"))
            .and_then(|engine| engine.protecting(Path::new("/root/home")))
            .expect("plain paths")
    };
    let start = start("a store inside root", |sim| sim.volume("root/home"));
    Sweep::new(&open).assert_refused(
        &start,
        Ask::Keep,
        "root/home lies inside root and would be put away with it",
    );
}
