//! What any root engine must do.

mod kept;
mod reset;

use super::Case;
use crate::sweep::{Ask, request};
use crate::tree::{self, Tree};
use state_api::{
    Apply, Error, Interrupt, Never, Outcome, PastRootName, Plan, Refusal, RootBackend, RootFacts,
    Source, execute,
};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A machine with one root and a blank that the root is a copy of.
///
/// The blank holds at least `etc/conf`. Paths are relative to root; missing parents are made.
pub trait RootFixture {
    /// The engine.
    type Backend: RootBackend;

    /// The engine as the initrd opens it: anew, with nothing mounted.
    fn backend(&self) -> Self::Backend;
    /// Writes a file in the present root.
    fn write(&mut self, path: &str, text: &str);
    /// Makes a volume in the present root; false if this engine has no such thing.
    fn nest(&mut self, path: &str) -> bool;
    /// Mounts the present root somewhere, as the running system would.
    fn mount_root(&mut self);
    /// Takes that mount away.
    fn unmount_root(&mut self);
    /// Everything is written out, unmounted and looked at afresh.
    fn reboot(&mut self);
    /// Writes into the blank, if the engine lets anybody do that; false if not.
    fn spoil_blank(&mut self) -> bool;
    /// Deletes the blank.
    fn remove_blank(&mut self);
}

/// All cases.
pub fn cases<F: RootFixture>() -> Vec<Case<F>> {
    vec![
        ("a reset brings blank back", reset::reset),
        ("planning changes nothing", reset::planning),
        (
            "two resets in one boot at 1970 keep both roots",
            reset::twice,
        ),
        ("a given-up root leaves blank", reset::given_up),
        (
            "a past root comes back as root and stays",
            kept::past_source,
        ),
        ("a skipped reset does nothing", reset::skipped),
        ("a mounted root is refused", reset::mounted),
        ("a blank that was written to is refused", reset::spoilt),
        ("without a blank nothing is touched", reset::no_blank),
        ("a plan whose ground has changed is stale", reset::stale),
        ("pinned past roots stay", kept::pins),
        ("a past root is deleted with all in it", kept::deleted),
        ("root becomes the new blank", kept::new_blank),
        (
            "a blank without init is refused where init is needed",
            kept::init,
        ),
        ("volumes inside root go with it", reset::nested),
        ("names may be anything", reset::hostile),
        (
            "interrupted anywhere, the next run finishes",
            reset::interrupted,
        ),
        ("a step applied twice finds itself done", reset::repeated),
        ("plans are shown line by line", reset::shown),
    ]
}

fn facts<B: RootBackend>(backend: &B) -> RootFacts {
    backend.facts(&backend.survey().expect("surveying"))
}

fn takes_blank<F: RootFixture>(fixture: &F) -> bool {
    fixture.backend().capabilities().takes_blank
}

fn root_of<F: RootFixture>(fixture: &F) -> Tree {
    tree::read(&fixture.backend().open_root().expect("opening root")).expect("reading root")
}

fn tree_of<F: RootFixture>(fixture: &F, source: &Source) -> Tree {
    let view = fixture.backend().open(source).expect("opening");
    assert!(
        view.is_frozen || *source != Source::Blank,
        "blank can change"
    );
    tree::read(&view).expect("reading")
}

fn plan<B: RootBackend>(backend: &B, ask: Ask) -> Result<Plan<B::Step>, Error> {
    let survey = backend.survey()?;
    let reset = request(&backend.facts(&survey), ask).expect("there is a past root");
    backend.plan_reset(&survey, &reset)
}

/// Resets as the program does; gives the plan's lines.
fn do_reset<F: RootFixture>(fixture: &F, ask: Ask) -> Vec<String> {
    let mut backend = fixture.backend();
    let survey = backend.survey().expect("surveying");
    let plan = plan(&backend, ask).expect("planning");
    backend.recheck(&survey).expect("nothing changed since");
    execute(&mut backend, &plan, &Never, |_| ()).expect("executing");
    plan.steps.iter().map(ToString::to_string).collect()
}

fn pasts<F: RootFixture>(fixture: &F) -> Vec<PastRootName> {
    let all = facts(&fixture.backend()).past_roots;
    all.into_iter().map(|past| past.name).collect()
}

fn past(name: &PastRootName) -> Source {
    Source::Past(name.clone())
}

fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> Refusal {
    match result {
        Err(Error::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}
