//! What is asked of snapshots, and of a store without them.

use super::{StoreFixture, content, live, put};
use crate::tree::{self, Tree};
use state_api::{Error, Outcome, SnapshotName, SnapshotStore};
use std::path::{Path, PathBuf};

fn name(text: &str) -> SnapshotName {
    text.parse().expect("a snapshot's name")
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

pub(super) fn snapshot<F: StoreFixture>(f: &mut F) {
    if !has_snapshots(f) {
        return;
    }
    for is_lazy in [false, true] {
        put(f, "a b/c\nd", "before");
        let before = live(f);
        let create = |mut store: Box<dyn SnapshotStore>| match is_lazy {
            false => store.create(&name("one")),
            true => store.create_lazily(&name("one")),
        };
        let delete = |mut store: Box<dyn SnapshotStore>| match is_lazy {
            false => store.delete(&name("one")),
            true => store.delete_lazily(&name("one")),
        };
        let made = create(f.store()).expect("creating");
        assert_eq!(made.name, name("one"));
        put(f, "a b/c\nd", "after");
        put(f, "new", if is_lazy { "once more" } else { "after" });
        assert_eq!(held(f, &name("one")), before);
        drop(f.idle());
        f.resume();
        assert_eq!(names(f), ["one"]);
        assert_eq!(held(f, &name("one")), before);
        assert_eq!(delete(f.store()).expect("deleting"), Outcome::Made);
        assert_eq!(delete(f.store()).expect("again"), Outcome::AlreadySo);
        assert_eq!(names(f), [""; 0]);
        assert_ne!(live(f), before);
    }
}

pub(super) fn listed<F: StoreFixture>(f: &mut F) {
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

pub(super) fn taken<F: StoreFixture>(f: &mut F) {
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

pub(super) fn missing<F: StoreFixture>(f: &mut F) {
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

pub(super) fn nested<F: StoreFixture>(f: &mut F) {
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

pub(super) fn identity<F: StoreFixture>(f: &mut F) {
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

pub(super) fn without<F: StoreFixture>(f: &mut F) {
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
