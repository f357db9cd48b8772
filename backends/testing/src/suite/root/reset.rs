//! Cases about one reset: done, refused or interrupted.

use super::*;

pub(super) fn reset<F: RootFixture>(f: &mut F) {
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

pub(super) fn planning<F: RootFixture>(f: &mut F) {
    f.write("clutter", "x");
    let before = (root_of(f), facts(&f.backend()));
    for ask in [Ask::Keep, Ask::GiveUp, Ask::Skip] {
        let backend = f.backend();
        let survey = backend.survey().expect("surveying");
        let reset = request(&backend.facts(&survey), ask).expect("no past root needed");
        let first = backend.plan_reset(&survey, &reset).expect("planning");
        let second = backend.plan_reset(&survey, &reset).expect("planning again");
        assert_eq!(first, second);
        if takes_blank(f) {
            backend.plan_take_blank(&survey).expect("planning a blank");
        }
        backend.recheck(&survey).expect("nothing changed");
    }
    assert_eq!((root_of(f), facts(&f.backend())), before);
}

pub(super) fn twice<F: RootFixture>(f: &mut F) {
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

pub(super) fn given_up<F: RootFixture>(f: &mut F) {
    f.write("clutter", "x");
    do_reset(f, Ask::GiveUp);
    f.reboot();
    assert_eq!(root_of(f), tree_of(f, &Source::Blank));
    assert_eq!(pasts(f), []);
    let plan = plan(&f.backend(), Ask::Skip).expect("planning");
    assert!(plan.is_nothing(), "{plan:?}");
}

pub(super) fn skipped<F: RootFixture>(f: &mut F) {
    f.write("kept", "x");
    let before = root_of(f);
    assert_eq!(do_reset(f, Ask::Skip), [""; 0]);
    assert_eq!(root_of(f), before);
}

pub(super) fn mounted<F: RootFixture>(f: &mut F) {
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

pub(super) fn spoilt<F: RootFixture>(f: &mut F) {
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

pub(super) fn no_blank<F: RootFixture>(f: &mut F) {
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

pub(super) fn stale<F: RootFixture>(f: &mut F) {
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

pub(super) fn nested<F: RootFixture>(f: &mut F) {
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

pub(super) fn hostile<F: RootFixture>(f: &mut F) {
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
struct After(AtomicUsize);

impl Interrupt for After {
    fn is_set(&self) -> bool {
        let next = |left: usize| Some(left.saturating_sub(1));
        let left = (self.0).fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        left == Ok(0)
    }
}

pub(super) fn interrupted<F: RootFixture>(f: &mut F) {
    let blank = tree_of(f, &Source::Blank);
    for n in 0.. {
        f.write("round", &format!("{n}"));
        let outgoing = root_of(f);
        let mut backend = f.backend();
        let plan = plan(&backend, Ask::Keep).expect("planning");
        let stop = After(AtomicUsize::new(n));
        let Err(failed) = execute(&mut backend, &plan, &stop, |_| ()) else {
            assert!(n > 0, "it was never asked");
            return;
        };
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

pub(super) fn repeated<F: RootFixture>(f: &mut F) {
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

pub(super) fn shown<F: RootFixture>(f: &mut F) {
    f.write("new\nline", "x");
    for line in do_reset(f, Ask::Keep) {
        let fine = !line.is_empty() && !line.ends_with('.') && !line.contains('\n');
        assert!(fine, "{line:?}");
        let first = line.chars().next().expect("not empty");
        assert!(first.is_lowercase(), "{line:?}");
    }
}
