//! Exchanging a store for another tree.

use super::*;

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_store_in_use_is_not_touched() {
    let store = Store::volume(Path::new("persist"));
    fs::create_dir(store.path.join("foo")).unwrap();
    let mut opened = store.open();
    drop(opened.stage().unwrap());
    let elsewhere = store.disk.outside("elsewhere");
    let before = store.disk.live().children(5).unwrap();
    let in_use = |opened: &mut BtrfsStore| match opened.exchange() {
        Err(state_api::Error::Refused(Refusal::InUse { by, .. })) => by,
        other => panic!("{other:?}"),
    };

    state_linux::mount::bind(&store.path.join("foo"), &elsewhere, false).unwrap();
    let by = in_use(&mut opened);
    state_linux::mount::unmount(&elsewhere).unwrap();
    assert_eq!(by, format!("a mount at {}", elsewhere.display()));

    // By ourselves, which nobody looks for: the kernel refuses to unmount it.
    let held = File::open(store.path.join("foo")).unwrap();
    assert_eq!(in_use(&mut opened), "something that keeps it mounted");
    drop(held);

    assert_eq!(store.disk.live().children(5).unwrap(), before);
    assert!(store.path.join("foo").exists());
    opened.exchange().unwrap();
    assert!(!store.path.join("foo").exists());
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_an_exchanged_store_is_mounted_as_before() {
    let disk = Disk::new();
    let mut live = disk.live();
    live.create(Path::new("persist")).unwrap();
    let id = subvolume(&live, "persist").id;
    live.set_default(id).unwrap();
    let path = disk.outside("mnt").canonicalize().unwrap();
    let mounted = Command::new("mount")
        .args(["-o", "subvol=persist,nosuid,nodev,noatime,compress=zstd:3"])
        .args([disk.device(), &path])
        .status()
        .unwrap();
    assert!(mounted.success());
    let store = Store {
        path: path.clone(),
        mounted: None,
        disk,
    };
    let seen = || {
        let mut all = mountinfo::read().unwrap();
        all.retain(|mount| mount.at == path);
        let [mount] = &all[..] else {
            panic!("{all:?}");
        };
        // The id of the subvolume is what changes.
        let options = mount.filesystem_options.to_string_lossy().into_owned();
        let options: Vec<String> = options
            .split(',')
            .filter(|option| !option.starts_with("subvolid="))
            .map(ToOwned::to_owned)
            .collect();
        (mount.root.clone(), mount.options.clone(), options)
    };
    let before = seen();
    let mut opened = store.open();
    drop(opened.stage().unwrap());
    opened.exchange().unwrap();
    assert_eq!(seen(), before);
    let live = store.disk.live();
    let now = subvolume(&live, "persist").id;
    assert_ne!(now, id);
    assert_eq!(live.filesystem().unwrap().default_subvolume, now);
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_an_interrupted_exchange_is_finished_or_taken_back() {
    let spot = |name: &str| Path::new(".state/stores/persist").join(name);
    for (from, was_exchanged) in [
        ("staged", false),
        ("staged", true),
        ("replaced", false),
        ("replaced", true),
        ("waiting", false),
        ("waiting", true),
        ("returning", false),
        ("returning", true),
    ] {
        let mut store = Store::volume(Path::new("persist"));
        let mut live = store.disk.live();
        write(&live, "persist/which", "live");
        drop(store.open().stage().unwrap());
        write(&live, spot("staged/which"), "incoming");
        if from != "staged" {
            live.rename(&spot("staged"), &spot(from)).unwrap();
        }
        live.commit().unwrap();
        let id = subvolume(&live, spot(from)).id;
        let becoming = spot(&format!("becoming-{id}-from-{from}"));
        live.rename(&spot(from), &becoming).unwrap();
        if was_exchanged {
            live.exchange(Path::new("persist"), &becoming).unwrap();
            let stale = BtrfsStore::open(&store.path).unwrap_err().to_string();
            assert!(
                stale.ends_with("which is not the store any more"),
                "{stale}"
            );
        }
        store.mounted.take().unwrap().unmount().unwrap();
        store.mounted = Some(store.disk.mount("persist", &store.path)); // at the next boot
        let mut opened = store.open();
        let facts = opened.survey().unwrap();
        let waiting = opened.waiting().unwrap();
        let has = (facts.has_staged, facts.has_replaced, waiting);
        let waits = match from {
            "waiting" => Some(Incoming::Staged),
            "returning" => Some(Incoming::Replaced),
            _ => None,
        };
        assert_eq!(
            has,
            (
                from == "staged" && !was_exchanged,
                from == "replaced" || was_exchanged,
                waits.filter(|_| !was_exchanged)
            )
        );
        let outcome = match from {
            "staged" => opened.exchange(),
            "replaced" => opened.exchange_back(),
            _ => opened.exchange_waiting(),
        };
        assert_eq!(outcome.unwrap(), Outcome::Made, "{from} {was_exchanged}");
        assert_eq!(read(&live, "persist/which").unwrap(), "incoming");
        assert_eq!(read(&live, spot("replaced/which")).unwrap(), "live");
        assert_eq!(live.names(&spot("")).unwrap(), ["replaced"]);
    }
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_replaced_tree_goes_with_its_volumes() {
    let mut store = Store::volume(Path::new("persist"));
    assert!(store.nest("vm") && store.nest("vm/deep"));
    let live = store.disk.live();
    for nested in ["persist/vm/deep", "persist/vm"] {
        let id = subvolume(&live, nested).id;
        store.disk.live().set_read_only(id, true).unwrap();
    }
    let mut opened = store.open();
    drop(opened.stage().unwrap());
    opened.exchange().unwrap();
    assert_eq!(live.children(5).unwrap().len(), 4);
    assert_eq!(opened.discard_replaced().unwrap(), Outcome::Made);
    assert_eq!(live.children(5).unwrap().len(), 1);
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_filesystem_with_others_in_it_is_not_exchanged() {
    let mut store = Store::filesystem();
    assert!(store.nest("root"));
    let refused = store.open().stage().unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the store is the whole filesystem, and root would be moved out of its place"
    );
    store.open().create(&name("one")).unwrap();
    let nested = store.open().survey().unwrap().nested;
    assert_eq!(nested, [PathBuf::from("root")]);
    let live = store.open().open_live().unwrap();
    assert_eq!(live.grafts.len(), 1);
}
