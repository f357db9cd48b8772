//! The sweep of deleting a past root.

use super::{Ask, Stakes, Start, Sweep};
use crate::rig::{Rig, World};
use crate::tape::Fault;
use rustix::io::Errno;
use state_api::{PastRootName, RootBackend};

/// The world without one past root, to compare what must not change. A past root that is being
/// deleted may be in any state.
fn without(mut world: World, name: &str) -> World {
    world.past.remove(name);
    world.strays.clear();
    // A pin of something deleted, its properties: not of what stays.
    world.standing.remove("careless past roots");
    world
}

impl<R: Rig, B: RootBackend> Sweep<'_, R, B> {
    /// Deletes a past root, cut and broken everywhere, then deleted again, then reset.
    pub fn delete(&mut self, start: &Start<R>, name: &str) {
        let way = format!("{}, deleting {name}", start.name);
        let before = without(start.rig.world(), name);
        let mut rig = start.rig.fork();
        rig.rewind();
        self.delete_once(&way, &rig, name, &before);
        for (n, back) in rig.comebacks().into_iter().enumerate() {
            let way = format!("{way}, cut after change {n}");
            self.delete_resumed(&way, back, name, &before);
        }
        for after in 0..rig.acts() {
            let fault = Fault {
                after,
                errno: Errno::IO,
                lasts: true,
            };
            let mut broken = start.rig.fork();
            broken.rewind();
            broken.fail(Some(fault));
            let way = format!("{way}, {fault:?}");
            if self
                .run_delete(&way, &broken, name)
                .is_none_or(|error| error.is_none())
            {
                self.found(&way, "no failure was reported");
            }
            broken.fail(None);
            self.delete_resumed(&way, broken, name, &before);
        }
    }

    fn run_delete(&mut self, way: &str, rig: &R, name: &str) -> Option<Option<state_api::Error>> {
        let past: PastRootName = name.parse().expect("a past root's name");
        let ran = self.carry_out(way, rig, |backend, survey| {
            let facts = backend.facts(survey);
            facts.past_roots.iter().find(|p| p.name == past)?;
            Some(backend.plan_delete(survey, &past))
        })?;
        Some(ran.error)
    }

    fn delete_once(&mut self, way: &str, rig: &R, name: &str, before: &World) {
        if let Some(Some(error)) = self.run_delete(way, rig, name) {
            self.found(way, format!("did not finish: {error}"));
        }
        let now = rig.world();
        if now.past.contains_key(name) || !now.strays.is_empty() {
            self.found(
                way,
                format!(
                    "still there: {:?}, {:?}",
                    now.past.keys(),
                    now.strays.keys()
                ),
            );
        }
        if without(now.clone(), name) != *before {
            self.found(
                way,
                format!("more was changed\n  was: {before:?}\n  is: {now:?}"),
            );
        }
    }

    fn delete_resumed(&mut self, way: &str, mut rig: R, name: &str, before: &World) {
        rig.rewind();
        let now = rig.world();
        if without(now.clone(), name) != *before {
            self.found(
                way,
                format!("more was changed\n  was: {before:?}\n  is: {now:?}"),
            );
        }
        // The half of a past root that is left stays out of the way of the next reset …
        let reset = rig.fork();
        let mut stakes = Stakes {
            precious: now.root.iter().cloned().collect(),
            standing: now.standing.clone(),
            is_piecemeal: false,
        };
        // (a stray half is a leftover that a reset may put away or delete)
        stakes.precious.extend(now.strays.values().cloned());
        if let Some(ran) = self.run_reset(way, &reset, Ask::Keep) {
            let way = format!("{way}, then Keep");
            self.check_finished(
                &way,
                &now,
                &reset,
                (Ask::Keep, &ran),
                now.blank.as_ref(),
                &stakes,
            );
        }
        // … and deleting it again finishes.
        self.delete_once(&format!("{way}, deleted again"), &rig, name, before);
    }
}
