//! What is asked of staging a tree, exchanging it, and leaving that to the next boot.

use super::{StoreFixture, live, put};
use crate::tree;
use state_api::{Error, Incoming, Outcome};
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// Builds a tree in the staging directory.
fn fill(staged: &OwnedFd, text: &str) {
    let dir = PathBuf::from(format!("/proc/self/fd/{}", staged.as_raw_fd()));
    let mode = fs::metadata(&dir).expect("looking").permissions().mode();
    assert_eq!(
        mode & 0o7777,
        0o700,
        "others can look into the staging directory"
    );
    fs::create_dir_all(dir.join("restored")).expect("making");
    fs::write(dir.join("restored/file"), text).expect("writing");
}

pub(super) fn staged<F: StoreFixture>(f: &mut F) {
    put(f, "file", "live");
    let before = live(f);
    fill(&f.store().stage().expect("staging"), "1");
    assert!(f.store().survey().expect("surveying").has_staged);
    assert_eq!(live(f), before, "a staged tree shows in the live one");
    drop(f.idle());
    f.resume();
    let again = f.store().stage().expect("staging again");
    let file = format!("/proc/self/fd/{}/restored/file", again.as_raw_fd());
    assert_eq!(fs::read_to_string(file).expect("what was staged"), "1");
    drop(again);
    assert_eq!(
        f.store().discard_staged().expect("discarding"),
        Outcome::Made
    );
    assert_eq!(
        f.store().discard_staged().expect("again"),
        Outcome::AlreadySo
    );
    assert!(!f.store().survey().expect("surveying").has_staged);
    assert_eq!(live(f), before);
}

pub(super) fn exchanged<F: StoreFixture>(f: &mut F) {
    put(f, "old/file", "old");
    let old = live(f);
    let new = tree::tree(&[("restored/file", "new")]);
    fill(&f.store().stage().expect("staging"), "new");
    let mut store = f.idle();
    assert_eq!(store.exchange().expect("exchanging"), Outcome::Made);
    drop(store);
    f.resume();
    assert_eq!(live(f), new);
    let facts = f.store().survey().expect("surveying");
    assert_eq!((facts.has_staged, facts.has_replaced), (false, true));
    for expected in [&old, &new, &old] {
        let mut store = f.idle();
        assert_eq!(
            store.exchange_back().expect("exchanging back"),
            Outcome::Made
        );
        drop(store);
        f.resume();
        assert_eq!(live(f), *expected);
        assert!(f.store().survey().expect("surveying").has_replaced);
    }
    assert_eq!(
        f.store().discard_replaced().expect("discarding"),
        Outcome::Made
    );
    assert_eq!(
        f.store().discard_replaced().expect("again"),
        Outcome::AlreadySo
    );
    assert!(!f.store().survey().expect("surveying").has_replaced);
    assert_eq!(live(f), old);
}

pub(super) fn reserved<F: StoreFixture>(f: &mut F) {
    put(f, ".state/theirs", "the tree's that goes");
    let keeps = f.store().survey().expect("surveying").keeps_reserved;
    let stage = f.store().stage().expect("staging");
    fill(&stage, "new");
    let own = format!("/proc/self/fd/{}/.state", stage.as_raw_fd());
    if !keeps {
        fs::create_dir_all(&own).expect("making");
        fs::write(format!("{own}/ours"), "the tree's that comes").expect("writing");
    }
    drop(stage);
    let mut store = f.idle();
    store.exchange().expect("exchanging");
    let replaced = store.open_replaced().expect("opening what was replaced");
    assert_eq!(replaced.is_none(), keeps);
    drop((replaced, store));
    f.resume();
    let has = |name| f.path().join(".state").join(name).exists();
    assert_eq!((has("theirs"), has("ours")), (keeps, !keeps));
}

pub(super) fn taken_back<F: StoreFixture>(f: &mut F) {
    put(f, "old/file", "old");
    let old = live(f);
    f.store().restage().expect_err("nothing was replaced");
    fill(&f.store().stage().expect("staging"), "new");
    let mut store = f.idle();
    store.exchange().expect("exchanging");
    store.exchange_back().expect("exchanging back");
    assert_eq!(store.restage().expect("staging again"), Outcome::Made);
    drop(store);
    f.resume();
    assert_eq!(live(f), old);
    let facts = f.store().survey().expect("surveying");
    assert_eq!((facts.has_staged, facts.has_replaced), (true, false));
    let mut store = f.idle();
    store.exchange().expect("exchanging again");
    drop(store);
    f.resume();
    assert_eq!(live(f), tree::tree(&[("restored/file", "new")]));
}

pub(super) fn exchanged_twice<F: StoreFixture>(f: &mut F) {
    for text in ["first", "second"] {
        fill(&f.store().stage().expect("staging"), text);
        let mut store = f.idle();
        store.exchange().expect("exchanging");
        drop(store);
        f.resume();
        assert_eq!(live(f), tree::tree(&[("restored/file", text)]));
    }
    let mut store = f.idle();
    store.exchange_back().expect("exchanging back");
    drop(store);
    f.resume();
    assert_eq!(live(f), tree::tree(&[("restored/file", "first")]));
}

fn waiting<F: StoreFixture>(f: &F) -> Option<Incoming> {
    f.store().waiting().expect("looking")
}

pub(super) fn called_off<F: StoreFixture>(f: &mut F) {
    put(f, "file", "live");
    let before = live(f);
    for incoming in Incoming::ALL {
        f.store()
            .postpone(incoming)
            .expect_err("there is no such tree");
    }
    assert_eq!(f.store().call_off().expect("nothing"), Outcome::AlreadySo);
    fill(&f.store().stage().expect("staging"), "1");
    for expected in [Outcome::Made, Outcome::AlreadySo] {
        assert_eq!(
            f.store().postpone(Incoming::Staged).expect("postponing"),
            expected
        );
    }
    let facts = f.store().survey().expect("surveying");
    assert_eq!(
        (facts.has_staged, waiting(f)),
        (false, Some(Incoming::Staged))
    );
    assert_eq!(live(f), before, "a tree that waits shows in the live one");
    assert_eq!(
        f.store().discard_staged().expect("it is not staged"),
        Outcome::AlreadySo
    );
    assert_eq!(f.store().call_off().expect("calling off"), Outcome::Made);
    let facts = f.store().survey().expect("surveying");
    assert_eq!((facts.has_staged, waiting(f)), (true, None));
    assert_eq!(
        f.store().discard_staged().expect("discarding"),
        Outcome::Made
    );
    let mut store = f.idle();
    store.exchange_waiting().expect_err("nothing waits");
    drop(store);
    f.resume();
    assert_eq!(live(f), before);
}

pub(super) fn waited<F: StoreFixture>(f: &mut F) {
    put(f, "old/file", "old");
    let old = live(f);
    let new = tree::tree(&[("restored/file", "new")]);
    fill(&f.store().stage().expect("staging"), "new");
    for (incoming, expected) in [
        (Incoming::Staged, &new),
        (Incoming::Replaced, &old),
        (Incoming::Replaced, &new),
    ] {
        let before = live(f);
        f.store().postpone(incoming).expect("postponing");
        assert_eq!(live(f), before);
        let facts = f.store().survey().expect("surveying");
        assert_eq!(
            (facts.has_staged, facts.has_replaced, waiting(f)),
            (false, false, Some(incoming))
        );
        let mut store = f.idle();
        assert_eq!(store.exchange_waiting().expect("exchanging"), Outcome::Made);
        drop(store);
        f.resume();
        assert_eq!(live(f), *expected);
        let facts = f.store().survey().expect("surveying");
        assert_eq!(
            (facts.has_staged, facts.has_replaced, waiting(f)),
            (false, true, None)
        );
    }
}

pub(super) fn nothing<F: StoreFixture>(f: &mut F) {
    let before = live(f);
    let mut store = f.idle();
    match store.exchange_back() {
        Err(Error::Missing { .. }) => (),
        other => panic!("nothing was replaced: {other:?}"),
    }
    store.exchange().expect_err("nothing is staged");
    drop(store);
    f.resume();
    assert_eq!(
        f.store().discard_staged().expect("discarding"),
        Outcome::AlreadySo
    );
    assert_eq!(
        f.store().discard_replaced().expect("discarding"),
        Outcome::AlreadySo
    );
    assert_eq!(live(f), before);
}
