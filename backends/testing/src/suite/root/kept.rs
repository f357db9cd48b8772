//! Cases about what is kept beside root: past roots and the blank.

use super::*;

pub(super) fn past_source<F: RootFixture>(f: &mut F) {
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

fn delete_plan<B: RootBackend>(backend: &B, name: &PastRootName) -> Result<Plan<B::Step>, Error> {
    backend.plan_delete(&backend.survey().expect("surveying"), name)
}

pub(super) fn pins<F: RootFixture>(f: &mut F) {
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

pub(super) fn deleted<F: RootFixture>(f: &mut F) {
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

pub(super) fn new_blank<F: RootFixture>(f: &mut F) {
    if !takes_blank(f) {
        let backend = f.backend();
        let survey = backend.survey().expect("surveying");
        let unsupported = backend.plan_take_blank(&survey);
        assert!(matches!(unsupported, Err(Error::Unsupported { .. })));
        return;
    }
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

pub(super) fn init<F: RootFixture>(f: &mut F) {
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
    if !takes_blank(f) {
        return;
    }
    f.write("sbin/init", "#!");
    let mut backend = f.backend();
    let survey = backend.survey().expect("surveying");
    let plan = backend.plan_take_blank(&survey).expect("planning");
    execute(&mut backend, &plan, &Never, |_| ()).expect("taking blank");
    needing(f).expect("now there is an init");
}
