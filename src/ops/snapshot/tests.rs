use super::super::sim::{After, Machine, class};
use super::compare::diff_in;
use super::prune::prune_in;
use super::rollback::rollback_in;
use super::*;
use crate::progress::Silent;
use crate::progress::heard::Heard;
use crate::wanted::Wanted;
use state_api::Incoming;
use state_testing::SimStore;
use std::fs;

/// A store with one file.
fn store() -> SimStore {
    let store = SimStore::new(true);
    fs::write(store.path().join("file"), "one").unwrap();
    store
}

fn opened(store: &SimStore) -> Store {
    Store {
        path: "/persist".into(),
        engine: Box::new(store.clone()),
    }
}

fn taken(machine: &Machine, store: &SimStore, name: Option<&str>) -> SnapshotName {
    let name = name.map(|name| name.parse().unwrap());
    let created = create_in(&machine.cx(), vec![opened(store)], name).unwrap();
    assert!(created.executed && created.stores.iter().all(|one| one.snapshot.is_some()));
    created.name
}

fn wanted(text: &str) -> Wanted {
    text.parse().unwrap()
}

fn names(store: &SimStore) -> Vec<String> {
    store
        .list()
        .unwrap()
        .into_iter()
        .map(|one| one.name.into())
        .collect()
}

#[test]
fn snapshots_are_named_by_the_time_and_never_replaced() {
    let (machine, store) = (Machine::new(), store());
    let dry = create_in(&machine.dry(), vec![opened(&store)], None).unwrap();
    assert_eq!(
        (dry.executed, dry.name.as_str()),
        (false, "20261121T113705Z")
    );
    assert_eq!(names(&store), Vec::<String>::new());
    taken(&machine, &store, None);
    taken(&machine, &store, None);
    taken(&machine, &store, Some("before-the-upgrade"));
    assert_eq!(
        names(&store),
        [
            "20261121T113705Z",
            "20261121T113705Z-2",
            "before-the-upgrade"
        ]
    );
    let again = "before-the-upgrade".parse().ok();
    let error = create_in(&machine.cx(), vec![opened(&store)], again).unwrap_err();
    assert_eq!(class(&error), "Refused");
}

#[test]
fn a_filesystem_without_snapshots_says_so() {
    let plain = SimStore::new(false);
    let error = with_snapshots(vec![opened(&plain)]).err().unwrap();
    assert!(
        error
            .to_string()
            .starts_with("taking snapshots is not supported by the "),
        "{error}"
    );
    let list = judged(&Machine::new().cx(), &opened(&plain), &Keep::default()).unwrap();
    assert_eq!((list.has_snapshots, list.snapshots), (false, vec![]));
}

#[test]
fn pruning_follows_the_rules_or_the_names_given() {
    let (mut machine, store) = (Machine::new(), store());
    for _ in 0..3 {
        taken(&machine, &store, None);
        machine.now += chrono::TimeDelta::days(1);
    }
    taken(&machine, &store, Some("by-hand"));
    let policy = Keep {
        last: 1,
        ..Keep::default()
    };
    let prune =
        |cx: &Context, only: &[Wanted]| prune_in(cx, vec![opened(&store)], &policy, only).unwrap();
    let dry = prune(&machine.dry(), &[]);
    let goes: Vec<bool> = dry
        .snapshots
        .iter()
        .map(|one| one.kept_by.is_empty())
        .collect();
    assert_eq!(goes, [true, true, false, false]);
    assert_eq!(names(&store).len(), 4);
    prune(&machine.cx(), &[wanted("20261122")]);
    assert_eq!(
        names(&store),
        ["20261121T113705Z", "20261123T113705Z", "by-hand"]
    );
    prune(&machine.cx(), &[]);
    assert_eq!(names(&store), ["20261123T113705Z", "by-hand"]);
    let keep_all = prune_in(&machine.cx(), vec![opened(&store)], &Keep::default(), &[]).unwrap();
    assert!(keep_all.snapshots.iter().all(|one| !one.kept_by.is_empty()));
    let error = prune_in(
        &machine.cx(),
        vec![opened(&store)],
        &policy,
        &[wanted("2020")],
    );
    assert_eq!(
        error.unwrap_err().to_string(),
        "the snapshot 2020 does not exist"
    );
}

#[test]
fn differences_are_between_two_snapshots_or_with_now() {
    let (machine, store) = (Machine::new(), store());
    taken(&machine, &store, Some("a"));
    fs::write(store.path().join("file"), "two").unwrap();
    taken(&machine, &store, Some("b"));
    fs::remove_file(store.path().join("file")).unwrap();
    fs::create_dir(store.path().join(".state")).unwrap();
    let words = |from: &str, to: Option<&str>| {
        let to = to.map(wanted);
        let (cx, heard) = (machine.cx(), Heard::default());
        let watch = cx.watch(&heard);
        let found = diff_in(watch, opened(&store), &wanted(from), to.as_ref()).unwrap();
        let doing = heard.stages().remove(0).doing;
        assert_eq!(doing, format!("comparing /persist with {from}"));
        let changes = found
            .changes
            .into_iter()
            .filter(|one| !one.path.as_os_str().is_empty());
        changes
            .map(|one| format!("{} {:?}", one.path.display(), one.what))
            .collect::<Vec<_>>()
    };
    assert_eq!(words("a", Some("a")), Vec::<String>::new());
    assert_eq!(
        words("a", Some("b")),
        ["persist/file Changed { aspects: [Content] }"]
    );
    assert_eq!(words("b", None), ["persist/file Deleted"]);
}

#[test]
fn a_rollback_swaps_the_snapshot_in_and_keeps_what_was_there() {
    let (machine, store) = (Machine::new(), store());
    taken(&machine, &store, Some("a"));
    fs::write(store.path().join("file"), "two").unwrap();

    let dry = rollback_in(&machine.dry(), opened(&store), &wanted("a"), false, &Silent).unwrap();
    assert!(!dry.executed && !store.survey().unwrap().has_staged);
    // In use: nothing changes and nothing is left over.
    let error =
        rollback_in(&machine.cx(), opened(&store), &wanted("a"), false, &Silent).unwrap_err();
    assert_eq!(class(&error), "Refused");
    let after = After::asked(1);
    let cx = Context {
        interrupt: &after,
        ..machine.cx()
    };
    let error = rollback_in(&cx, opened(&store), &wanted("a"), false, &Silent).unwrap_err();
    assert_eq!(class(&error), "Interrupted");
    let facts = store.survey().unwrap();
    assert!(!facts.has_staged && !facts.has_replaced);
    assert_eq!(
        fs::read_to_string(store.path().join("file")).unwrap(),
        "two"
    );

    store.set_in_use(false);
    let heard = Heard::default();
    let report = rollback_in(&machine.cx(), opened(&store), &wanted("a"), false, &heard).unwrap();
    let stages = heard.stages();
    let [stage] = &stages[..] else {
        panic!("{stages:?}")
    };
    assert_eq!(
        (&*stage.doing, &*stage.path),
        ("copying the snapshot", "file")
    );
    assert_eq!((report.executed, report.name.as_str()), (true, "a"));
    assert_eq!(
        fs::read_to_string(store.path().join("file")).unwrap(),
        "one"
    );
    assert!(store.survey().unwrap().has_replaced);
    store.clone().exchange_back().unwrap();
    assert_eq!(
        fs::read_to_string(store.path().join("file")).unwrap(),
        "two"
    );

    // What was replaced is kept until somebody says otherwise.
    let again = |forget| rollback_in(&machine.cx(), opened(&store), &wanted("a"), forget, &Silent);
    assert_eq!(class(&again(false).unwrap_err()), "Refused");
    assert!(store.survey().unwrap().has_replaced);
    assert!(again(true).unwrap().executed);

    // The next boot would put another tree there, and give up one of the two.
    store.clone().postpone(Incoming::Replaced).unwrap();
    for forget in [false, true] {
        assert_eq!(class(&again(forget).unwrap_err()), "Refused");
    }
    assert_eq!(store.waiting().unwrap(), Some(Incoming::Replaced));
}

/// Who means one snapshot has to name its store only where several have it.
#[test]
fn the_store_is_the_one_that_has_the_snapshot() {
    let (machine, one, other, plain) = (Machine::new(), store(), store(), SimStore::new(false));
    taken(&machine, &one, Some("both"));
    taken(&machine, &other, Some("both"));
    taken(&machine, &other, Some("mine"));
    let chosen = |stores: &[(&str, &SimStore)], name: &str| {
        let stores = stores.iter().map(|(path, store)| Store {
            path: path.into(),
            engine: Box::new((*store).clone()),
        });
        match choose(stores.collect(), &wanted(name)) {
            Ok(store) => store.path.display().to_string(),
            Err(error) => format!("{error:#}"),
        }
    };
    let both = [("/a", &one), ("/b", &other)];
    let beside = [("/a", &one), ("/plain", &plain)];
    for (stores, name, expected) in [
        (&both[..1], "none", "/a"), // what it lacks is told when it is opened
        (&both, "mine", "/b"),
        (&both, "both", "several stores have the snapshot both"),
        (&both, "latest", "several stores have the snapshot latest"),
        (&both, "none", "the snapshot none does not exist"),
        (&beside, "latest", "/a"),
    ] {
        assert_eq!(chosen(stores, name), expected, "{name}");
    }
}
