//! What any snapshot store must do.

use super::Case;
use crate::tree::{self, Tree};
use state_api::{Error, Incoming, Outcome, SnapshotName, SnapshotStore};
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A store with a little content, writable through ordinary paths.
pub trait StoreFixture {
    /// The store as programs open it while it is in use.
    fn store(&self) -> Box<dyn SnapshotStore>;
    /// Where the live tree is, while it is in place.
    fn path(&self) -> PathBuf;
    /// Makes a volume in the store; false if this engine has no such thing.
    fn nest(&mut self, path: &str) -> bool;
    /// Takes the store out of use (where that means something) and opens it as the initrd does.
    fn idle(&mut self) -> Box<dyn SnapshotStore>;
    /// Puts the store back into use.
    fn resume(&mut self);
}

/// All cases.
pub fn cases<F: StoreFixture>() -> Vec<Case<F>> {
    vec![
        ("a snapshot holds what was there", snapshot),
        ("snapshots are listed oldest first", listed),
        ("a name is used once", taken),
        ("what is not there is missing", missing),
        ("nested volumes are in the snapshot", nested),
        ("a snapshot does not change what is unchanged", identity),
        ("a store without snapshots says so", without),
        ("a staged tree waits", staged),
        ("a staged tree is exchanged and back", exchanged),
        ("a second exchange replaces the first", exchanged_twice),
        ("an exchange is taken back", taken_back),
        ("a tree waits and is called off", called_off),
        ("a tree that waits is exchanged, and back", waited),
        ("nothing staged, nothing replaced", nothing),
    ]
}

fn name(text: &str) -> SnapshotName {
    text.parse().expect("a snapshot's name")
}

fn put<F: StoreFixture>(f: &F, path: &str, text: &str) {
    let path = f.path().join(path);
    fs::create_dir_all(path.parent().expect("in the store")).expect("making parents");
    fs::write(path, text).expect("writing");
}

/// A tree without what is reserved for us.
fn content(mut tree: Tree) -> Tree {
    tree.retain(|path, _| !path.starts_with(".state"));
    tree
}

fn live<F: StoreFixture>(f: &F) -> Tree {
    content(tree::read(&f.store().open_live().expect("opening")).expect("reading"))
}

fn held<F: StoreFixture>(f: &F, name: &SnapshotName) -> Tree {
    let view = f.store().open(name).expect("opening a snapshot");
    assert!(view.is_frozen);
    content(tree::read(&view).expect("reading a snapshot"))
}

fn has_snapshots<F: StoreFixture>(f: &F) -> bool {
    f.store().capabilities().snapshots
}

fn names<F: StoreFixture>(f: &F) -> Vec<String> {
    let all = f.store().list().expect("listing");
    all.iter().map(|s| s.name.to_string()).collect()
}

fn snapshot<F: StoreFixture>(f: &mut F) {
    if !has_snapshots(f) {
        return;
    }
    put(f, "a b/c\nd", "before");
    let before = live(f);
    let made = f.store().create(&name("one")).expect("creating");
    assert_eq!(made.name, name("one"));
    put(f, "a b/c\nd", "after");
    put(f, "new", "after");
    assert_eq!(held(f, &name("one")), before);
    drop(f.idle());
    f.resume();
    assert_eq!(names(f), ["one"]);
    assert_eq!(held(f, &name("one")), before);
    assert_eq!(
        f.store().delete(&name("one")).expect("deleting"),
        Outcome::Made
    );
    assert_eq!(
        f.store().delete(&name("one")).expect("again"),
        Outcome::AlreadySo
    );
    assert_eq!(names(f), [""; 0]);
    assert_ne!(live(f), before);
}

fn listed<F: StoreFixture>(f: &mut F) {
    if !has_snapshots(f) {
        return;
    }
    for text in ["zebra", "20261121T113705Z", "apple:1"] {
        put(f, "version", text);
        f.store().create(&name(text)).expect("creating");
    }
    assert_eq!(names(f), ["zebra", "20261121T113705Z", "apple:1"]);
    let all = f.store().list().expect("listing");
    assert!(
        all.windows(2)
            .all(|pair| pair[0].sequence < pair[1].sequence),
        "{all:?}"
    );
    assert_eq!(
        f.store()
            .delete(&name("20261121T113705Z"))
            .expect("deleting"),
        Outcome::Made
    );
    assert_eq!(names(f), ["zebra", "apple:1"]);
}

fn taken<F: StoreFixture>(f: &mut F) {
    if !has_snapshots(f) {
        return;
    }
    f.store().create(&name("one")).expect("creating");
    let first = held(f, &name("one"));
    put(f, "later", "x");
    f.store()
        .create(&name("one"))
        .expect_err("the name is taken");
    assert_eq!(names(f), ["one"]);
    assert_eq!(held(f, &name("one")), first);
}

fn missing<F: StoreFixture>(f: &mut F) {
    if !has_snapshots(f) {
        return;
    }
    match f.store().open(&name("none")) {
        Err(Error::Missing { .. }) => (),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        f.store().delete(&name("none")).expect("deleting"),
        Outcome::AlreadySo
    );
}

fn nested<F: StoreFixture>(f: &mut F) {
    if !(f.nest("vm") && f.nest("vm/two deep")) {
        return;
    }
    put(f, "vm/file", "1");
    put(f, "vm/two deep/file", "2");
    let nested = f.store().survey().expect("surveying").nested;
    assert_eq!(nested, [PathBuf::from("vm"), PathBuf::from("vm/two deep")]);
    if !has_snapshots(f) {
        return;
    }
    f.store().create(&name("one")).expect("creating");
    put(f, "vm/two deep/file", "3");
    let tree = held(f, &name("one"));
    for (path, text) in [("vm/file", "1"), ("vm/two deep/file", "2")] {
        assert_eq!(tree.get(Path::new(path)), Some(&tree::Leaf::file(text)));
    }
    f.store()
        .delete(&name("one"))
        .expect("deleting it with all in it");
    assert_eq!(names(f), [""; 0]);
    assert_eq!(
        live(f).get(Path::new("vm/two deep/file")),
        Some(&tree::Leaf::file("3"))
    );
}

fn identity<F: StoreFixture>(f: &mut F) {
    let identity = |f: &F| f.store().survey().expect("surveying").identity;
    let Some(first) = identity(f) else {
        return;
    };
    assert_eq!(identity(f), Some(first.clone()), "looking changed it");
    if has_snapshots(f) {
        f.store().create(&name("one")).expect("creating");
        assert_eq!(identity(f), Some(first.clone()), "a snapshot changed it");
    }
    put(f, "new", "x");
    drop(f.idle());
    f.resume();
    assert_ne!(identity(f), Some(first), "a new file did not change it");
}

fn without<F: StoreFixture>(f: &mut F) {
    if has_snapshots(f) {
        return;
    }
    let before = live(f);
    let mut store = f.store();
    let answers = [
        store.list().map(drop),
        store.create(&name("one")).map(drop),
        store.open(&name("one")).map(drop),
    ];
    for answer in answers {
        assert!(
            matches!(answer, Err(Error::Unsupported { .. })),
            "{answer:?}"
        );
    }
    assert_eq!(live(f), before);
}

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

fn staged<F: StoreFixture>(f: &mut F) {
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

fn exchanged<F: StoreFixture>(f: &mut F) {
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

fn taken_back<F: StoreFixture>(f: &mut F) {
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

fn exchanged_twice<F: StoreFixture>(f: &mut F) {
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

fn called_off<F: StoreFixture>(f: &mut F) {
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

fn waited<F: StoreFixture>(f: &mut F) {
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

fn nothing<F: StoreFixture>(f: &mut F) {
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
