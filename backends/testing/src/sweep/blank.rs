//! The sweep of taking a new blank from root.

use super::{Ask, Ran, Stakes, Start, Sweep, broken};
use crate::rig::{Rig, World};
use state_api::RootBackend;

impl<R: Rig, B: RootBackend> Sweep<'_, R, B> {
    /// Takes a new blank, cut and broken everywhere, then taken again, then reset to.
    pub fn take_blank(&mut self, start: &Start<R>) {
        let way = format!("{}, taking blank", start.name);
        let before = start.rig.world();
        let mut rig = start.rig.fork();
        rig.rewind();
        self.blank_taken(&way, &rig, &before);
        if before.blank.is_some() && rig.world().previous != before.blank {
            self.found(&way, "the blank that was replaced was not kept");
        }
        for (n, back) in rig.comebacks().into_iter().enumerate() {
            self.blank_resumed(&format!("{way}, cut after change {n}"), back, &before);
        }
        for (fault, mut broken) in broken(&start.rig, rig.acts()) {
            let way = format!("{way}, {fault:?}");
            if self.run_take_blank(&way, &broken).finished() && fault.lasts {
                self.found(&way, "no failure was reported");
            }
            broken.fail(None);
            self.blank_resumed(&way, broken, &before);
        }
    }

    pub(super) fn run_take_blank(&mut self, way: &str, rig: &R) -> Ran {
        let ran = self.carry_out(way, rig, |backend, survey| {
            Some(backend.plan_take_blank(survey))
        });
        ran.expect("it can always be asked for")
    }

    pub(super) fn nothing_else_changed(&mut self, way: &str, before: &World, now: &World) {
        if now.root != before.root || now.past != before.past || now.bystanders != before.bystanders
        {
            self.found(
                way,
                format!("more was changed\n  was: {before:?}\n  is: {now:?}"),
            );
        }
    }

    fn blank_taken(&mut self, way: &str, rig: &R, before: &World) {
        let ran = self.run_take_blank(way, rig);
        if let Some(error) = ran.error {
            self.found(
                way,
                format!("did not finish: {error}\n  plan: {:#?}", ran.plan),
            );
            return;
        }
        let now = rig.world();
        self.nothing_else_changed(way, before, &now);
        if now.blank.as_ref().map(flat) != now.root.as_ref().map(flat) {
            self.found(way, format!("blank is not root's content: {:?}", now.blank));
        }
        if !rig.is_durable() {
            self.found(way, "said to be done, but a power cut would undo it");
        }
        let backend = (self.open)(rig);
        match backend.survey().map(|survey| backend.facts(&survey)) {
            Ok(facts) if facts.leftovers.is_empty() && facts.refusals.is_empty() => (),
            other => self.found(way, format!("afterwards the facts are {other:?}")),
        }
        // The next reset goes back to it.
        let mut reset = rig.fork();
        reset.rewind();
        let stakes = Stakes {
            precious: now.root.iter().cloned().collect(),
            standing: now.standing.clone(),
            is_piecemeal: false,
        };
        let kept = World {
            strays: Default::default(),
            ..now.clone()
        };
        if let Some(ran) = self.run_reset(way, &reset, Ask::Keep)
            && !ran.finished()
        {
            self.found(way, format!("cannot be reset to: {:?}", ran.error));
        }
        let after = reset.world();
        if after.root != now.blank || after.bystanders != kept.bystanders {
            self.found(way, format!("reset gave {:?}", after.root));
        }
        for tree in &stakes.precious {
            if !stakes.kept(tree, &after) {
                self.found(way, "the reset after it lost root");
            }
        }
    }

    fn blank_resumed(&mut self, way: &str, mut rig: R, before: &World) {
        rig.rewind();
        let now = rig.world();
        self.nothing_else_changed(way, before, &now);
        // Where the engine cannot exchange names there is a moment without a blank under its
        // name; a reset may then refuse, and must lose nothing.
        let reset = rig.fork();
        let ran = self
            .run_reset(way, &reset, Ask::Keep)
            .expect("no past root is asked for");
        let after = reset.world();
        if let Some(root) = &now.root
            && after
                .root
                .iter()
                .chain(after.past.values())
                .all(|tree| tree != root)
        {
            self.found(way, "a reset in the middle lost root");
        }
        // The old blank whole or the new one whole, never some of both.
        let new = now.root.as_ref().map(flat);
        let fresh = [&before.blank, &now.root, &new].contains(&&after.root);
        if ran.finished() && !fresh {
            self.found(way, format!("a reset in the middle gave {:?}", after.root));
        }
        self.blank_taken(&format!("{way}, taken again"), &rig, before);
    }
}

/// A snapshot stops at nested volumes and leaves an empty directory there.
pub(super) fn flat(tree: &crate::tree::Tree) -> crate::tree::Tree {
    use crate::tree::Leaf;
    let volumes: Vec<_> = tree
        .iter()
        .filter(|(_, leaf)| **leaf == Leaf::Volume)
        .map(|(path, _)| path.clone())
        .collect();
    tree.iter()
        .filter(|(path, _)| !volumes.iter().any(|v| path.starts_with(v) && *path != v))
        .map(|(path, leaf)| {
            let leaf = match leaf {
                Leaf::Volume => Leaf::Directory,
                other => other.clone(),
            };
            (path.clone(), leaf)
        })
        .collect()
}
