//! What any root engine must do.

use super::Case;
use crate::sweep::{Ask, request};
use crate::tree::{self, Tree};
use state_api::{
    Apply, Error, Interrupt, Never, Outcome, PastRootName, Plan, Refusal, RootBackend, RootFacts,
    Source, execute,
};
use std::cell::Cell;
use std::path::Path;

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
        ("a reset brings blank back", reset),
        ("planning changes nothing", planning),
        ("two resets in one boot at 1970 keep both roots", twice),
        ("a given-up root leaves blank", given_up),
        ("a past root comes back as root and stays", past_source),
        ("a skipped reset does nothing", skipped),
        ("a mounted root is refused", mounted),
        ("a blank that was written to is refused", spoilt),
        ("without a blank nothing is touched", no_blank),
        ("a plan whose ground has changed is stale", stale),
        ("pinned past roots stay", pins),
        ("a past root is deleted with all in it", deleted),
        ("root becomes the new blank", new_blank),
        ("a blank without init is refused where init is needed", init),
        ("volumes inside root go with it", nested),
        ("names may be anything", hostile),
        ("interrupted anywhere, the next run finishes", interrupted),
        ("a step applied twice finds itself done", repeated),
        ("plans are shown line by line", shown),
    ]
}

fn facts<B: RootBackend>(backend: &B) -> RootFacts {
    backend.facts(&backend.survey().expect("surveying"))
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

fn reset<F: RootFixture>(f: &mut F) {
    let blank = tree_of(f, &Source::Blank);
    f.write("home/alice/notes", "important");
    f.write("etc/conf", "changed");
    let outgoing = root_of(f);
    assert_ne!(outgoing, blank);
    do_reset(f, Ask::Keep);
    for _ in 0..2 {
        assert_eq!(root_of(f), blank);
        assert_eq!(tree_of(f, &Source::Blank), blank);
        let [name] = &pasts(f)[..] else {
            panic!("not one past root: {:?}", pasts(f));
        };
        assert_eq!(tree_of(f, &past(name)), outgoing);
        let facts = facts(&f.backend());
        assert_eq!((facts.refusals, facts.leftovers), (vec![], vec![]));
        f.reboot();
    }
    f.write("writable", "yes");
    assert!(root_of(f).contains_key(Path::new("writable")));
}

fn planning<F: RootFixture>(f: &mut F) {
    f.write("clutter", "x");
    let before = (root_of(f), facts(&f.backend()));
    for ask in [Ask::Keep, Ask::GiveUp, Ask::Skip] {
        let backend = f.backend();
        let survey = backend.survey().expect("surveying");
        let reset = request(&backend.facts(&survey), ask).expect("no past root needed");
        let first = backend.plan_reset(&survey, &reset).expect("planning");
        let second = backend.plan_reset(&survey, &reset).expect("planning again");
        assert_eq!(first, second);
        backend.plan_take_blank(&survey).expect("planning a blank");
        backend.recheck(&survey).expect("nothing changed");
    }
    assert_eq!((root_of(f), facts(&f.backend())), before);
}

fn twice<F: RootFixture>(f: &mut F) {
    f.write("first", "1");
    let first = root_of(f);
    do_reset(f, Ask::Keep);
    f.write("second", "2");
    let second = root_of(f);
    do_reset(f, Ask::Keep);
    let names = pasts(f);
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(tree_of(f, &past(&names[0])), first, "oldest first");
    assert_eq!(tree_of(f, &past(&names[1])), second);
}

fn given_up<F: RootFixture>(f: &mut F) {
    f.write("clutter", "x");
    do_reset(f, Ask::GiveUp);
    f.reboot();
    assert_eq!(root_of(f), tree_of(f, &Source::Blank));
    assert_eq!(pasts(f), []);
    let plan = plan(&f.backend(), Ask::Skip).expect("planning");
    assert!(plan.is_nothing(), "{plan:?}");
}

fn past_source<F: RootFixture>(f: &mut F) {
    f.write("wanted back", "x");
    let wanted = root_of(f);
    do_reset(f, Ask::Keep);
    f.write("later", "y");
    let later = root_of(f);
    do_reset(f, Ask::Past);
    f.reboot();
    assert_eq!(root_of(f), wanted);
    let names = pasts(f);
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(tree_of(f, &past(&names[0])), wanted);
    assert_eq!(tree_of(f, &past(&names[1])), later);
    f.write("a root like any other", "z");
    let used = root_of(f);
    do_reset(f, Ask::Keep);
    assert_eq!(root_of(f), tree_of(f, &Source::Blank));
    let names = pasts(f);
    assert_eq!(tree_of(f, &past(&names[2])), used);
    assert_eq!(tree_of(f, &past(&names[0])), wanted);
}

fn skipped<F: RootFixture>(f: &mut F) {
    f.write("kept", "x");
    let before = root_of(f);
    assert_eq!(do_reset(f, Ask::Skip), [""; 0]);
    assert_eq!(root_of(f), before);
}

fn mounted<F: RootFixture>(f: &mut F) {
    f.write("in use", "x");
    let before = root_of(f);
    f.mount_root();
    let facts = facts(&f.backend());
    assert_eq!(facts.mounted_at.len(), 1, "{facts:?}");
    for ask in [Ask::Keep, Ask::GiveUp] {
        let refused = refusal(plan(&f.backend(), ask));
        assert!(
            matches!(refused, Refusal::RootMounted { .. }),
            "{refused:?}"
        );
    }
    assert_eq!(root_of(f), before, "a mounted root can be read");
    f.unmount_root();
    do_reset(f, Ask::Keep);
    assert_eq!(root_of(f), tree_of(f, &Source::Blank));
}

fn spoilt<F: RootFixture>(f: &mut F) {
    if !f.spoil_blank() {
        return;
    }
    let before = root_of(f);
    let refused = refusal(plan(&f.backend(), Ask::Keep));
    assert!(
        matches!(refused, Refusal::BlankWritten { .. }),
        "{refused:?}"
    );
    assert_eq!(root_of(f), before);
    assert_eq!(pasts(f), []);
}

fn no_blank<F: RootFixture>(f: &mut F) {
    f.remove_blank();
    f.write("all there is", "x");
    let before = root_of(f);
    assert_eq!(facts(&f.backend()).blank, None);
    for ask in [Ask::Keep, Ask::GiveUp] {
        let refused = refusal(plan(&f.backend(), ask));
        let named = matches!(
            refused,
            Refusal::NoBlank {
                root_exists: true,
                ..
            }
        );
        assert!(named, "{refused:?}");
    }
    assert_eq!(do_reset(f, Ask::Skip), [""; 0], "nothing to finish");
    assert_eq!(root_of(f), before);
}

fn stale<F: RootFixture>(f: &mut F) {
    f.write("first", "x");
    let backend = f.backend();
    let survey = backend.survey().expect("surveying");
    backend.recheck(&survey).expect("nothing changed yet");
    do_reset(f, Ask::Keep);
    let backend = f.backend();
    match backend.recheck(&survey) {
        Err(Error::Stale { .. }) => (),
        other => panic!("another run came in between: {other:?}"),
    }
}

fn delete_plan<B: RootBackend>(backend: &B, name: &PastRootName) -> Result<Plan<B::Step>, Error> {
    backend.plan_delete(&backend.survey().expect("surveying"), name)
}

fn pins<F: RootFixture>(f: &mut F) {
    f.write("x", "x");
    do_reset(f, Ask::Keep);
    let name = pasts(f).remove(0);
    let none: PastRootName = "20000101T000000Z-00000000".parse().expect("a name");
    let mut backend = f.backend();
    assert!(matches!(
        backend.pin(&none, true),
        Err(Error::Missing { .. })
    ));
    for (pinned, outcome) in [
        (false, Outcome::AlreadySo),
        (true, Outcome::Made),
        (true, Outcome::AlreadySo),
    ] {
        assert_eq!(backend.pin(&name, pinned).expect("pinning"), outcome);
        assert_eq!(facts(&f.backend()).past_roots[0].is_pinned, pinned);
    }
    refusal(delete_plan(&f.backend(), &name));
    f.reboot();
    do_reset(f, Ask::Keep);
    let all = facts(&f.backend()).past_roots;
    let pinned: Vec<_> = all
        .iter()
        .map(|past| (&past.name, past.is_pinned))
        .collect();
    assert_eq!(pinned, [(&name, true), (&all[1].name, false)]);
    assert_eq!(
        f.backend().pin(&name, false).expect("unpinning"),
        Outcome::Made
    );
    delete_plan(&f.backend(), &name).expect("it can be deleted now");
}

fn deleted<F: RootFixture>(f: &mut F) {
    f.write("first", "1");
    if f.nest("var/lib/machines") {
        f.write("var/lib/machines/x", "x");
        f.nest("var/lib/machines/two deep");
    }
    do_reset(f, Ask::Keep);
    f.write("second", "2");
    let second = root_of(f);
    do_reset(f, Ask::Keep);
    let names = pasts(f);
    let root = root_of(f);
    let mut backend = f.backend();
    let plan = delete_plan(&backend, &names[0]).expect("planning");
    execute(&mut backend, &plan, &Never, |_| ()).expect("deleting");
    f.reboot();
    assert_eq!(pasts(f), names[1..]);
    assert_eq!(tree_of(f, &past(&names[1])), second);
    assert_eq!(root_of(f), root);
    match delete_plan(&f.backend(), &names[0]) {
        Err(Error::Missing { .. }) => (),
        other => panic!("deleting it twice: {other:?}"),
    }
}

fn new_blank<F: RootFixture>(f: &mut F) {
    let old = tree_of(f, &Source::Blank);
    for n in 0..2 {
        f.write("installed", &format!("{n}"));
        let root = root_of(f);
        let mut backend = f.backend();
        let survey = backend.survey().expect("surveying");
        let identity = backend.facts(&survey).blank.expect("a blank").identity;
        let plan = backend.plan_take_blank(&survey).expect("planning");
        execute(&mut backend, &plan, &Never, |_| ()).expect("taking blank");
        f.reboot();
        assert_eq!(tree_of(f, &Source::Blank), root);
        assert_eq!(root_of(f), root);
        assert_ne!(tree_of(f, &Source::Blank), old);
        let new = facts(&f.backend()).blank.expect("a blank");
        assert_ne!(new.identity, identity);
        f.write("clutter", "x");
        do_reset(f, Ask::Keep);
        assert_eq!(root_of(f), root);
    }
}

fn init<F: RootFixture>(f: &mut F) {
    let needing = |f: &F| {
        let backend = f.backend();
        let survey = backend.survey().expect("surveying");
        let mut reset = request(&backend.facts(&survey), Ask::Keep).expect("no past root needed");
        reset.needs_init = true;
        backend.plan_reset(&survey, &reset)
    };
    let refused = refusal(needing(f));
    assert!(
        matches!(refused, Refusal::BlankWithoutInit { .. }),
        "{refused:?}"
    );
    f.write("sbin/init", "#!");
    let mut backend = f.backend();
    let survey = backend.survey().expect("surveying");
    let plan = backend.plan_take_blank(&survey).expect("planning");
    execute(&mut backend, &plan, &Never, |_| ()).expect("taking blank");
    needing(f).expect("now there is an init");
}

fn nested<F: RootFixture>(f: &mut F) {
    let blank = tree_of(f, &Source::Blank);
    if !(f.nest("var/lib/machines") && f.nest("var/lib/machines/two deep") && f.nest("a b")) {
        return;
    }
    f.write("var/lib/machines/two deep/file", "deep");
    f.write("a b/file", "space");
    let outgoing = root_of(f);
    do_reset(f, Ask::Keep);
    assert_eq!(root_of(f), blank);
    let name = pasts(f).remove(0);
    assert_eq!(tree_of(f, &past(&name)), outgoing);
}

fn hostile<F: RootFixture>(f: &mut F) {
    for path in [
        "with space",
        "new\nline",
        "*",
        "-rf",
        "a\\b",
        "ü",
        ".hidden/..twice",
    ] {
        f.write(path, path);
    }
    let outgoing = root_of(f);
    do_reset(f, Ask::Keep);
    assert_eq!(tree_of(f, &past(&pasts(f)[0])), outgoing);
}

/// Stops after a number of steps.
struct After(Cell<usize>);

impl Interrupt for After {
    fn is_set(&self) -> bool {
        let left = self.0.get();
        self.0.set(left.saturating_sub(1));
        left == 0
    }
}

fn interrupted<F: RootFixture>(f: &mut F) {
    let blank = tree_of(f, &Source::Blank);
    for n in 0.. {
        f.write("round", &format!("{n}"));
        let outgoing = root_of(f);
        let mut backend = f.backend();
        let plan = plan(&backend, Ask::Keep).expect("planning");
        if n == plan.steps.len() {
            assert!(n > 1, "a reset takes some steps");
            return;
        }
        let stop = After(Cell::new(n));
        let failed = execute(&mut backend, &plan, &stop, |_| ()).expect_err("interrupted");
        assert!(matches!(failed.error, Error::Interrupted));
        drop(backend);
        f.reboot();
        do_reset(f, Ask::Keep);
        f.reboot();
        let way = format!("after {n} steps of {plan:#?}");
        assert_eq!(root_of(f), blank, "{way}");
        let kept = pasts(f).iter().any(|p| tree_of(f, &past(p)) == outgoing);
        assert!(kept, "the outgoing root is gone, {way}");
        let rest = self::plan(&f.backend(), Ask::Skip).expect("planning");
        assert!(rest.is_nothing(), "{way}: {rest:?}");
    }
}

fn repeated<F: RootFixture>(f: &mut F) {
    let blank = tree_of(f, &Source::Blank);
    for ask in [Ask::Keep, Ask::Past, Ask::GiveUp] {
        f.write("outgoing", "x");
        let outgoing = root_of(f);
        let mut backend = f.backend();
        let plan = plan(&backend, ask).expect("planning");
        for step in &plan.steps {
            backend
                .apply(step)
                .unwrap_or_else(|e| panic!("{step}: {e}"));
            let again = backend.apply(step);
            let again = again.unwrap_or_else(|e| panic!("{step}, once more: {e}"));
            assert_eq!(again, Outcome::AlreadySo, "{step}, in {plan:#?}");
        }
        if ask != Ask::Past {
            assert_eq!(root_of(f), blank);
        }
        let kept = pasts(f).iter().any(|p| tree_of(f, &past(p)) == outgoing);
        assert!(kept || ask == Ask::GiveUp, "the outgoing root is gone");
    }
}

fn shown<F: RootFixture>(f: &mut F) {
    f.write("new\nline", "x");
    for line in do_reset(f, Ask::Keep) {
        let fine = !line.is_empty() && !line.ends_with('.') && !line.contains('\n');
        assert!(fine, "{line:?}");
        let first = line.chars().next().expect("not empty");
        assert!(first.is_lowercase(), "{line:?}");
    }
}
