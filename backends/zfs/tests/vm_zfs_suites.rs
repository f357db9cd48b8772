//! What every root engine and every store must do, on real OpenZFS in a guest (`tests/vm/zfs`).
#![forbid(unsafe_code)]

#[path = "vm/machine.rs"]
mod machine;

use machine::{Machine, run, zfs};
use state_api::{Error, Outcome, Refusal, SnapshotName, SnapshotStore};
use state_testing::suite::{self, root::RootFixture, store::StoreFixture};
use state_zfs::{Live, Zfs, ZfsStore};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The machine of the root suite: names that a script would trip over.
struct Root {
    machine: Machine,
    mounted: bool,
}

impl Root {
    fn new() -> Self {
        let machine = Machine::bare("rpool/a b/my: root");
        let root = machine.root.clone();
        zfs(&["create", "-p", "-o", "mountpoint=legacy", &root]);
        machine.write(&root, "etc/conf", "blank");
        zfs(&["snapshot", &format!("{root}@blank")]);
        Self {
            machine,
            mounted: false,
        }
    }
}

impl RootFixture for Root {
    type Backend = Zfs<Live>;

    fn backend(&self) -> Self::Backend {
        self.machine.engine()
    }
    fn write(&mut self, path: &str, text: &str) {
        self.machine.write(&self.machine.root, path, text);
    }
    fn nest(&mut self, _: &str) -> bool {
        false // children are datasets with a blank of their own
    }
    fn mount_root(&mut self) {
        run("mount", &["-i", "-t", "zfs", &self.machine.root, "/mnt"]);
        self.mounted = true;
    }
    fn unmount_root(&mut self) {
        if std::mem::take(&mut self.mounted) {
            run("umount", &["/mnt"]);
        }
    }
    fn reboot(&mut self) {
        self.unmount_root();
        run("zpool", &["export", "rpool"]);
        run(
            "zpool",
            &["import", "-N", "-d", &self.machine.disk(), "rpool"],
        );
    }
    fn spoil_blank(&mut self) -> bool {
        false // a snapshot cannot be written to
    }
    fn remove_blank(&mut self) {
        zfs(&["destroy", &format!("{}@blank", self.machine.root)]);
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        self.unmount_root();
    }
}

#[test]
#[ignore = "needs ZFS: tests/vm/zfs"]
fn vm_zfs_does_what_every_root_engine_must() {
    suite::run(&suite::root::cases(), Root::new);
}

/// A store mounted at a path with a space; children are mounted in it.
struct Store {
    path: PathBuf,
    datasets: Vec<(String, PathBuf)>,
    _pool: Machine,
}

impl Store {
    fn on(dataset: &str, inside: &str) -> Self {
        let machine = Machine::bare("rpool/local/root");
        zfs(&["create", "-p", "-o", "mountpoint=legacy", dataset]);
        let mount_point = machine.scratch("the store");
        let mut store = Self {
            path: mount_point.join(inside),
            datasets: vec![(dataset.into(), mount_point)],
            _pool: machine,
        };
        store.mount();
        fs::create_dir_all(&store.path).unwrap();
        store
    }

    fn mount(&mut self) {
        for (dataset, at) in &self.datasets {
            fs::create_dir_all(at).unwrap();
            run("mount", &["-i", "-t", "zfs", dataset, at.to_str().unwrap()]);
        }
    }

    fn unmount(&mut self) {
        for (_, at) in self.datasets.iter().rev() {
            run("umount", &[at.to_str().unwrap()]);
        }
    }

    fn open(&self) -> ZfsStore {
        ZfsStore::open(&self.path).unwrap()
    }

    fn dataset(&self) -> &str {
        &self.datasets[0].0
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.unmount();
    }
}

impl StoreFixture for Store {
    fn store(&self) -> Box<dyn SnapshotStore> {
        Box::new(self.open())
    }
    fn path(&self) -> PathBuf {
        self.path.clone()
    }
    fn nest(&mut self, path: &str) -> bool {
        let dataset = format!("{}/{path}", self.dataset());
        let at = self.path.join(path);
        zfs(&["create", "-p", "-o", "mountpoint=legacy", &dataset]);
        fs::create_dir_all(&at).unwrap();
        run(
            "mount",
            &["-i", "-t", "zfs", &dataset, at.to_str().unwrap()],
        );
        self.datasets.push((dataset, at));
        true
    }
    fn idle(&mut self) -> Box<dyn SnapshotStore> {
        self.unmount();
        self.mount();
        self.store()
    }
    fn resume(&mut self) {}
}

#[test]
#[ignore = "needs ZFS: tests/vm/zfs"]
fn vm_a_dataset_does_what_every_store_must() {
    suite::run(&suite::store::cases(), || {
        Store::on("rpool/safe/persist: 1", "")
    });
}

#[test]
#[ignore = "needs ZFS: tests/vm/zfs"]
fn vm_a_directory_does_what_every_store_must() {
    suite::run(&suite::store::cases(), || {
        Store::on("rpool/data", "a b/persist")
    });
}

fn snapshot(text: &str) -> SnapshotName {
    text.parse().unwrap()
}

#[test]
#[ignore = "needs ZFS: tests/vm/zfs"]
fn vm_equal_snapshots_are_known_and_held_ones_stay() {
    let mut fixture = Store::on("rpool/persist", "");
    fixture.nest("home");
    let mut store = fixture.open();
    fs::write(fixture.path.join("home/file"), "1").unwrap();
    let first = store.create(&snapshot("one")).unwrap();
    // Reading with atime is a change of its own, and so is nothing at all not.
    let second = store.create(&snapshot("two")).unwrap();
    let third = store.create(&snapshot("three")).unwrap();
    assert_eq!(second.identity, third.identity);
    assert!(first.sequence < second.sequence && second.sequence < third.sequence);
    fs::write(fixture.path.join("home/file"), "2").unwrap();
    let fourth = store.create(&snapshot("four")).unwrap();
    assert_ne!(third.identity, fourth.identity);

    zfs(&["hold", "keep", "rpool/persist/home@state-two"]);
    let held = Refusal::Held {
        snapshot: "rpool/persist/home@state-two".into(),
        by: vec!["keep".into()],
    };
    match store.delete(&snapshot("two")) {
        Err(Error::Refused(refusal)) => assert_eq!(refusal, held),
        other => panic!("not refused: {other:?}"),
    }
    assert_eq!(store.list().unwrap().len(), 4);
    zfs(&["release", "keep", "rpool/persist/home@state-two"]);

    // A deletion that was cut after its first act is finished by the next one.
    zfs(&["destroy", "rpool/persist@state-two"]);
    assert_eq!(store.list().unwrap().len(), 3);
    store.create(&snapshot("two")).unwrap();
    assert_eq!(store.delete(&snapshot("two")).unwrap(), Outcome::Made);
    let left = zfs(&[
        "list",
        "-H",
        "-t",
        "snapshot",
        "-o",
        "name",
        "-r",
        "rpool/persist",
    ]);
    assert!(!left.contains("state-two"), "{left}");
}

#[test]
#[ignore = "needs ZFS: tests/vm/zfs"]
fn vm_a_store_in_use_is_not_exchanged() {
    let fixture = Store::on("rpool/persist", "");
    let mut store = fixture.open();
    drop(store.stage().unwrap());
    fs::write(fixture.path.join("open"), "").unwrap();
    let mut user = Command::new("sleep")
        .arg("600")
        .current_dir(&fixture.path)
        .spawn()
        .unwrap();
    let refused = store.exchange();
    user.kill().unwrap();
    user.wait().unwrap();
    assert!(matches!(
        refused,
        Err(Error::Refused(Refusal::InUse { .. }))
    ));
    assert_eq!(store.exchange().unwrap(), Outcome::Made);
    assert!(!fixture.path.join("open").exists());
    assert!(matches!(
        ZfsStore::open(Path::new("/proc")),
        Err(Error::Refused(Refusal::NotWhatItClaims { .. }))
    ));
}
