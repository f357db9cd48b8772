//! Power cuts in a reset of a real btrfs, and in the published script's: what is on the disk when
//! writes stop anywhere, checked against the invariants of docs/testing.md.

use super::machine::{Actor, FINE, Machine, NO_ROOT, OUTGOING_GONE, ROOT_NOT_BLANK};
use state::inventory::Inventory;
use state_api::{Never, Reset, Retire, RootBackend, Source, execute};
use state_testing::tree::Tree;
use state_testing::write_log::{self, Cut, Recording};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;

/// A reset of one machine: all it wrote, and what must not be lost.
struct Swept {
    recording: Recording,
    outgoing: Tree,
    store: Inventory,
}

/// Records how `reset` resets a machine.
fn sweep(reset: impl FnOnce(&Machine)) -> Swept {
    let machine = Machine::new();
    machine.nest("root/var/lib/machines");
    machine.put("root/var/lib/machines/file", "nested");
    let outgoing = machine.tree("root").unwrap();
    let store = machine.store().unwrap();
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let image = dir.path().join("image");
    fs::rename(machine.dir.path().join("image"), &image).unwrap();
    drop(machine);
    let recording = write_log::record(&image, |device| {
        let machine = Machine::on_device(device);
        reset(&machine);
        machine
    });
    Swept {
        recording,
        outgoing,
        store,
    }
}

/// The kernel commits whenever it likes: here after every step, which a run by itself does not show.
fn commit_after_every_step(machine: &Machine) {
    let ask = Reset {
        retire: Retire::Keep("20261121T113705Z-6d3f20c1".parse().unwrap()),
        source: Some(Source::Blank),
        needs_init: false,
    };
    let mut engine = machine.engine();
    let plan = engine.plan_reset(&engine.survey().unwrap(), &ask).unwrap();
    execute(&mut engine, &plan, &Never, |_| {
        rustix::fs::syncfs(File::open(machine.top()).unwrap()).unwrap();
    })
    .unwrap();
}

/// The same for the script: right before its snapshot.
fn published_with_a_commit(machine: &Machine, actor: Actor) {
    let shim = machine.dir.path().join("bin");
    fs::create_dir(&shim).unwrap();
    let script = format!(
        "#!/bin/sh\nPATH=${{PATH#*:}}\ncase $* in *snapshot*) sync -f {} ;; esac\nexec btrfs \"$@\"\n",
        machine.top().display()
    );
    fs::write(shim.join("btrfs"), script).unwrap();
    fs::set_permissions(shim.join("btrfs"), PermissionsExt::from_mode(0o755)).unwrap();
    assert!(machine.reset(actor, Some(&shim)));
}

impl Swept {
    /// The machine as a cut leaves it.
    fn after(&self, cut: &Cut) -> Machine {
        let image = self.recording.image(cut).unwrap();
        Machine::of(image.path())
    }

    /// What is wrong right after a cut, before anything else runs.
    fn broken(&self, machine: &Machine) -> Vec<&'static str> {
        let mut found = machine.findings(&self.outgoing, &self.store, true);
        // Nothing has happened yet.
        if machine.tree("root").as_ref() == Some(&self.outgoing) {
            found.retain(|each| *each != ROOT_NOT_BLANK);
        }
        found
    }
}

#[test]
#[ignore = "needs root, a loop device and qemu-storage-daemon"]
fn loop_write_log_every_cut_in_ours_loses_nothing() {
    let by_itself: fn(&Machine) = |machine| assert!(machine.state(&["reset"]));
    for reset in [by_itself, commit_after_every_step] {
        let swept = sweep(reset);
        let (writes, flushes) = swept.recording.counts();
        // Each commit of our own flushes before and after its superblock.
        assert!(
            writes > 20 && flushes >= 4,
            "{writes} writes, {flushes} flushes"
        );
        for cut in swept.recording.all() {
            let machine = swept.after(&cut);
            assert_eq!(swept.broken(&machine), FINE, "{cut:?}");
            assert!(machine.state(&["reset"]), "{cut:?}");
            let found = machine.findings(&swept.outgoing, &swept.store, true);
            assert_eq!(found, FINE, "the next run after {cut:?}");
            assert!(!machine.has_leftovers(), "the next run after {cut:?}");
        }
        // What was reported as done is durable.
        let machine = swept.after(&swept.recording.at_the_end());
        let found = machine.findings(&swept.outgoing, &swept.store, true);
        assert_eq!(found, FINE);
        assert!(!machine.has_leftovers());
    }
}

/// What each flush leaves, one after the other.
#[test]
#[ignore = "needs root, a loop device and qemu-storage-daemon"]
fn loop_write_log_the_published_script_loses_roots() {
    let delete: [&[&str]; 3] = [FINE, &[NO_ROOT, OUTGOING_GONE], &[OUTGOING_GONE]];
    for (actor, expected) in [
        (Actor::Delete, delete),
        (Actor::Move, [FINE, &[NO_ROOT], FINE]),
    ] {
        let swept = sweep(|machine| published_with_a_commit(machine, actor));
        let mut found: Vec<_> = (swept.recording.at_every_flush().iter())
            .map(|cut| swept.broken(&swept.after(cut)))
            .collect();
        found.dedup();
        assert_eq!(found, expected, "{actor:?}");
    }
}
