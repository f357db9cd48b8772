//! The sweep of renewing the blank: the draft is made, a command works in it, it becomes the blank
//! or is given up, and the renewal is taken back.

use super::blank::flat;
use super::{Ask, Ran, Start, Sweep, broken};
use crate::rig::{Rig, World};
use crate::tree::Tree;
use state_api::{Renewal, RootBackend};

/// What a command leaves in the draft.
const NOTE: &str = "installed";

/// The blank and the previous one.
type Blanks = (Option<Tree>, Option<Tree>);

fn blanks(world: &World) -> Blanks {
    (world.blank.clone(), world.previous.clone())
}

impl<R: Rig, B: RootBackend> Sweep<'_, R, B> {
    /// Renews the blank, cut and broken everywhere, and takes that back.
    ///
    /// # Panics
    /// The machine has no draft after one was made.
    pub fn renew_blank(&mut self, start: &Start<R>) {
        let name = &start.name;
        let mut rig = start.rig.fork();
        rig.rewind();
        let begun = self.swept(&format!("{name}, making a draft"), &rig, Renewal::Begin);
        rig = begun;
        let (blank, _) = blanks(&rig.world());
        if rig.world().draft.as_ref() != blank.as_ref().map(flat).as_ref() {
            self.found(
                name,
                format!("the draft is not blank: {:?}", rig.world().draft),
            );
        }
        assert!(rig.work(NOTE), "{name}: there is a draft");
        rig.rewind();
        let worked = rig.world();

        let way = format!("{name}, giving the draft up");
        let given_up = self.swept(&way, &rig, Renewal::GiveUp).world();
        if blanks(&given_up) != blanks(&worked) || given_up.draft.is_some() {
            self.found(&way, "the draft is there still, or a blank changed");
        }

        let way = format!("{name}, adopting the draft");
        let adopted = self.swept(&way, &rig, Renewal::Adopt);
        let wanted = (worked.draft.as_ref().map(flat), blank);
        if blanks(&adopted.world()) != wanted || adopted.world().draft.is_some() {
            self.found(&way, format!("blank became {:?}", blanks(&adopted.world())));
        }

        let way = format!("{name}, taking the renewal back");
        let undone = self.swept(&way, &adopted, Renewal::Undo);
        if blanks(&undone.world()) != (wanted.1.clone(), wanted.0.clone()) {
            self.found(&way, format!("blank became {:?}", blanks(&undone.world())));
        }
        let way = format!("{name}, taking that back as well");
        let redone = self.swept(&way, &undone, Renewal::Undo);
        if blanks(&redone.world()) != wanted {
            self.found(&way, format!("blank became {:?}", blanks(&redone.world())));
        }
    }

    /// One part of a renewal: the machine on which it was finished, after it was cut and broken
    /// everywhere on others.
    fn swept(&mut self, way: &str, from: &R, what: Renewal) -> R {
        let mut rig = from.fork();
        rig.rewind();
        let before = rig.world();
        self.renewal_finished(way, &rig, what, &before);
        let wanted = blanks(&rig.world());
        for (n, back) in rig.comebacks().into_iter().enumerate() {
            let way = format!("{way}, cut after change {n}");
            self.renewal_resumed(&way, back, what, (&before, &wanted));
        }
        for (fault, mut broken) in broken(from, rig.acts()) {
            let way = format!("{way}, {fault:?}");
            if self.run_renewal(&way, &broken, what).finished() && fault.lasts {
                self.found(&way, "no failure was reported");
            }
            broken.fail(None);
            self.renewal_resumed(&way, broken, what, (&before, &wanted));
        }
        rig.rewind();
        rig
    }

    fn run_renewal(&mut self, way: &str, rig: &R, what: Renewal) -> Ran {
        let ran = self.carry_out(way, rig, |backend, survey| {
            Some(backend.plan_renewal(survey, what))
        });
        ran.expect("it can always be asked for")
    }

    fn renewal_finished(&mut self, way: &str, rig: &R, what: Renewal, before: &World) {
        let ran = self.run_renewal(way, rig, what);
        if let Some(error) = ran.error {
            let plan = ran.plan;
            self.found(way, format!("did not finish: {error}\n  plan: {plan:#?}"));
            return;
        }
        let now = rig.world();
        self.nothing_else_changed(way, before, &now);
        // A draft may go with the power: it is made anew.
        if what != Renewal::Begin && !rig.is_durable() {
            self.found(way, "said to be done, but a power cut would undo it");
        }
        self.is_usable(way, rig);
    }

    /// Whether a reset can go to the blank and finds nothing to finish.
    fn is_usable(&mut self, way: &str, rig: &R) {
        let backend = (self.open)(rig);
        match backend.survey().map(|survey| backend.facts(&survey)) {
            Ok(facts) if facts.leftovers.is_empty() && facts.refusals.is_empty() => (),
            other => self.found(way, format!("afterwards the facts are {other:?}")),
        }
    }

    fn renewal_resumed(
        &mut self,
        way: &str,
        mut rig: R,
        what: Renewal,
        (before, wanted): (&World, &Blanks),
    ) {
        rig.rewind();
        let now = rig.world();
        self.nothing_else_changed(way, before, &now);
        if now.blank != before.blank && now.blank != wanted.0 {
            self.found(
                way,
                format!("blank is neither the old nor the new one: {:?}", now.blank),
            );
        }
        let all = |world: &World| -> Vec<Tree> {
            let named = [&world.blank, &world.previous, &world.draft];
            let named = named.into_iter().flatten().cloned();
            named.chain(world.strays.values().cloned()).collect()
        };
        let held = all(&now);
        if let Some(lost) = before.blank.iter().find(|blank| !held.contains(blank)) {
            self.found(
                way,
                format!("the blank that was there is nowhere: {lost:?}"),
            );
        }
        // The next boot resets to it and leaves nothing behind but, perhaps, the draft.
        let mut reset = rig.fork();
        let ran = self
            .run_reset(way, &reset, Ask::Keep)
            .expect("no past root is asked for");
        let after = reset.world();
        if !ran.finished() || after.root != now.blank || !after.strays.is_empty() {
            let (error, strays) = (ran.error, after.strays.keys());
            self.found(
                way,
                format!("a reset after it: {error:?}, left: {strays:?}"),
            );
        }
        self.is_usable(way, &reset);
        // And the command can be run again.
        reset.rewind();
        for (what, has_draft) in [(Renewal::GiveUp, false), (Renewal::Begin, true)] {
            let ran = self.run_renewal(way, &reset, what);
            if !ran.finished() || reset.world().draft.is_some() != has_draft {
                self.found(way, format!("{what:?} after that: {:?}", ran.error));
            }
        }
        // What was cut is finished by doing it again, unless it has been done.
        if what == Renewal::Undo && now.blank == wanted.0
            || what == Renewal::Adopt && now.draft.is_none()
        {
            return;
        }
        let ran = self.run_renewal(way, &rig, what);
        if !ran.finished() {
            self.found(way, format!("{what:?} again: {:?}", ran.error));
        }
        if now.blank == before.blank && blanks(&rig.world()).0 != wanted.0 {
            self.found(way, format!("{what:?} again made {:?}", rig.world().blank));
        }
    }
}
