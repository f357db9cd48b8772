//! The sweep of `reset`.

use super::check::wanted;
use super::{Ask, Stakes, Start, Sweep};
use crate::rig::{Rig, World};
use crate::tape::Fault;
use crate::tree::Tree;
use rustix::io::Errno;
use state_api::{Kind, RootBackend};

impl<R: Rig, B: RootBackend> Sweep<'_, R, B> {
    /// Resets from a starting situation; cuts and breaks it everywhere; lets the next run, asked
    /// for each of `then`, finish; cuts that too.
    pub fn reset(&mut self, start: &Start<R>, first: Ask, then: &[Ask]) {
        let way = format!("{}, {first:?}", start.name);
        let before = start.rig.world();
        let stakes = Stakes::of(start);
        let newest = self.newest(&start.rig);
        let wanted = wanted(&before, first, newest.as_deref());
        let mut rig = start.rig.fork();
        rig.rewind();
        let Some(ran) = self.run_reset(&way, &rig, first) else {
            return; // no past root to ask for
        };
        self.check_finished(&way, &before, &rig, (first, &ran), wanted.as_ref(), &stakes);
        let acts = rig.acts();
        for (n, back) in rig.comebacks().into_iter().enumerate() {
            let way = format!("{way}, cut after change {n} of {:#?}", ran.plan);
            self.after_cut(&way, (&before, &wanted), first, &back, &stakes, then);
        }
        for after in 0..acts {
            for (errno, lasts) in [(Errno::IO, false), (Errno::NOSPC, true)] {
                let fault = Fault {
                    after,
                    errno,
                    lasts,
                };
                self.with_fault(&way, start, fault, first, (&before, &wanted), &stakes);
            }
        }
    }

    /// A machine that came back in the middle of `first`: the next run, at once or after somebody
    /// booted the root that is there.
    fn after_cut(
        &mut self,
        way: &str,
        (before, wanted): (&World, &Option<Tree>),
        first: Ask,
        back: &R,
        stakes: &Stakes,
        then: &[Ask],
    ) {
        let now = back.world();
        self.check_moment(way, (before, &now), first, wanted.as_ref(), stakes);
        let stakes = stakes.after(first, before, &now);
        for &ask in then {
            let way = format!("{way}, then {ask:?}");
            self.resume(&way, back.fork(), ask, &stakes, true);
            let mut used = back.fork();
            if used.live("lived in again") {
                used.rewind();
                let new = used.world().root.expect("it was booted");
                let stakes = stakes.lived(now.root.as_ref(), new);
                let way = format!("{way} once somebody had used it");
                if ask == Ask::Keep {
                    self.renewed(&way, used.fork(), &stakes);
                }
                self.resume(&way, used, ask, &stakes, false);
            }
        }
    }

    /// Somebody who uses a half-done root also makes it the new blank, and goes on using it.
    fn renewed(&mut self, way: &str, mut used: R, stakes: &Stakes) {
        if !(self.open)(&used).capabilities().takes_blank {
            return;
        }
        let way = format!("{way} and taken it as blank");
        let before = used.world();
        let ran = self.run_take_blank(&way, &used);
        // Refusing until the reset is finished is as good, if nothing changes.
        match &ran.error {
            Some(error) if error.kind() == Kind::Refused && used.world() == before => return,
            Some(error) => return self.found(&way, format!("blank was not taken: {error}")),
            None => (),
        }
        used.rewind();
        let root = used.world().root;
        used.live("went on");
        used.rewind();
        let new = used.world().root.expect("it was booted");
        let mut stakes = stakes.lived(root.as_ref(), new);
        // What stands from now on is the new blank, and no child that it was taken without.
        let mut standing = used.world().standing;
        if let Some(blank) = standing.remove("blank") {
            stakes.standing.insert("blank".into(), blank);
        }
        if stakes.is_piecemeal {
            let is_there = |key: &String| key == "blank" || standing.contains_key(key);
            stakes.standing.retain(|key, _| is_there(key));
        }
        for ask in [Ask::Keep, Ask::Skip] {
            self.resume(
                &format!("{way}, then {ask:?}"),
                used.fork(),
                ask,
                &stakes,
                false,
            );
        }
    }

    /// The run that finishes what another began; with `again`, cut everywhere itself.
    fn resume(&mut self, way: &str, mut rig: R, ask: Ask, stakes: &Stakes, again: bool) {
        rig.rewind();
        if self.is_known(&rig, ask, stakes, again) {
            return;
        }
        let before = rig.world();
        let newest = self.newest(&rig);
        let wanted = wanted(&before, ask, newest.as_deref());
        let Some(ran) = self.run_reset(way, &rig, ask) else {
            return;
        };
        self.check_finished(way, &before, &rig, (ask, &ran), wanted.as_ref(), stakes);
        for (n, back) in rig.comebacks().into_iter().enumerate() {
            let way = format!("{way}, cut after change {n} of {:#?}", ran.plan);
            let now = back.world();
            self.check_moment(&way, (&before, &now), ask, wanted.as_ref(), stakes);
            if again {
                let stakes = stakes.after(ask, &before, &now);
                let way = format!("{way}, then Keep");
                self.resume(&way, back, Ask::Keep, &stakes, false);
            }
        }
    }

    /// A disk that fails: what happened before the failure is there, the failing act is not.
    fn with_fault(
        &mut self,
        way: &str,
        start: &Start<R>,
        fault: Fault,
        first: Ask,
        (before, wanted): (&World, &Option<Tree>),
        stakes: &Stakes,
    ) {
        let way = format!("{way}, {fault:?}");
        let mut rig = start.rig.fork();
        rig.rewind();
        rig.fail(Some(fault));
        let Some(ran) = self.run_reset(&way, &rig, first) else {
            return;
        };
        rig.fail(None);
        if ran.finished() && fault.lasts {
            self.found(
                &way,
                format!("no failure was reported\n  plan: {:#?}", ran.plan),
            );
        }
        let way = format!("{way} in {:#?}", ran.plan);
        self.check_moment(&way, (before, &rig.world()), first, wanted.as_ref(), stakes);
        // A clean reboot right after the failure …
        self.after_cut(
            &way,
            (before, wanted),
            first,
            &rig,
            stakes,
            &[Ask::Keep, Ask::Skip],
        );
        // … or a cut that also loses what was not on the disk yet.
        for (n, back) in rig.comebacks().into_iter().enumerate() {
            let way = format!("{way}, cut after change {n}");
            self.after_cut(&way, (before, wanted), first, &back, stakes, &[Ask::Keep]);
        }
    }
}
