//! Where a store may differ, of filesystems that know the numbers of inodes and no paths.

use super::looks::Archived;
use state::archive::write::Told;
use state_api::{ChangedInodes, Inodes, SnapshotName, SnapshotStore as _, View};
use state_linux::stat::{Kind, Stat, Time};
use state_linux::tree::{Walk, numbers};
use state_testing::edits::Edits;
use state_zfs::ZfsStore;
use std::collections::{BTreeMap, HashSet};
use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn scripts(default: u64) -> std::ops::Range<u64> {
    let number = |name| {
        std::env::var(name)
            .ok()
            .map(|told| told.parse().expect("a number"))
    };
    let first = number("STATE_SEED").unwrap_or(1);
    first..first + number("STATE_SCRIPTS").unwrap_or(default)
}

fn view(dir: &Path) -> View {
    View::live(fs::File::open(dir).unwrap().into())
}

/// Everything that a number stands for: what `stat` says, and the names in a directory.
type Known = BTreeMap<u64, (Stat, Vec<(CString, u64)>)>;

fn known(dir: &Path) -> Known {
    let view = view(dir);
    let entries = Walk::new(&view).map(|entry| {
        let entry = entry.unwrap();
        let mut stat = entry.stat;
        stat.accessed = Time::default();
        let mut names = match stat.kind {
            Kind::Directory => numbers(entry.open().unwrap()).unwrap(),
            _ => Vec::new(),
        };
        names.sort();
        (stat.id.inode, (stat, names))
    });
    entries.collect()
}

/// As ZFS does it: with each number that changed, some of its neighbours.
fn differing(old: &Known, new: &Known) -> HashSet<u64> {
    let all = old.keys().chain(new.keys());
    let differing = all.filter(|number| old.get(*number) != new.get(*number));
    differing
        .flat_map(|number| number / 4 * 4..number / 4 * 4 + 4)
        .collect()
}

#[test]
fn numbers_lead_to_every_place_whatever_was_done() {
    for seed in scripts(12) {
        let dir = tempfile::tempdir().unwrap();
        let mut edits = Edits::new(seed, dir.path());
        edits.run(150);
        for turn in 0..4 {
            let (archived, old) = (Archived::of(&view(dir.path())), known(dir.path()));
            let many = [0, 1, 5, 60][turn];
            edits.run(many);
            let numbers = differing(&old, &known(dir.path()));
            let changed = ChangedInodes {
                volumes: [("".into(), Inodes::Numbers(numbers))].into(),
                layout: String::new(),
            };
            let what = format!("turn {turn} of script {seed}");
            archived.check(&what, &view(dir.path()), Told::Inodes(changed));
        }
    }
}

fn run(program: &str, args: &[&str]) {
    let done = Command::new(program).args(args).status().unwrap();
    assert!(done.success(), "{program} {args:?}");
}

/// A pool in memory, with a store of two datasets.
struct Pool {
    dir: tempfile::TempDir,
}

impl Pool {
    fn new(options: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("disk");
        let file = fs::File::create(&disk).unwrap();
        file.set_len(512 << 20).unwrap();
        let key = dir.path().join("key");
        fs::write(&key, "a passphrase").unwrap();
        let key = format!("keylocation=file://{}", key.display());
        let mut all = vec!["mountpoint=none", "acltype=posix"];
        all.extend(options);
        if options.contains(&"encryption=on") {
            all.push(&key);
        }
        let options: Vec<&str> = all.into_iter().flat_map(|option| ["-O", option]).collect();
        let disk = disk.to_str().unwrap();
        run(
            "zpool",
            &[&["create"], &options[..], &["looks", disk]].concat(),
        );
        let pool = Self { dir };
        for (dataset, at) in pool.datasets() {
            run("zfs", &["create", "-o", "mountpoint=legacy", dataset]);
            fs::create_dir_all(&at).unwrap();
            mount(dataset, &at);
        }
        pool
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    fn datasets(&self) -> [(&'static str, PathBuf); 2] {
        let home = self.store().join("home");
        [("looks/store", self.store()), ("looks/store/home", home)]
    }

    /// After that, ZFS begins again with the lowest number that is free.
    fn remount(&self) {
        let datasets = self.datasets();
        datasets.iter().rev().for_each(|(_, at)| unmount(at));
        datasets.iter().for_each(|(dataset, at)| mount(dataset, at));
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for (_, at) in self.datasets().iter().rev() {
            run("umount", &["-l", at.to_str().unwrap()]);
        }
        run("zpool", &["destroy", "-f", "looks"]);
    }
}

fn mount(dataset: &str, at: &Path) {
    run("mount", &["-t", "zfs", dataset, at.to_str().unwrap()]);
}

fn unmount(at: &Path) {
    run("umount", &[at.to_str().unwrap()]);
}

#[test]
#[ignore = "needs root and real ZFS"]
fn vm_where_a_store_on_zfs_differs_is_told_completely_whatever_was_done() {
    let kinds: [&[&str]; 3] = [
        &["xattr=sa", "dnodesize=auto"],
        &["xattr=dir", "encryption=on", "keyformat=passphrase"],
        &["xattr=sa"],
    ];
    for (seed, options) in scripts(3).zip(kinds.into_iter().cycle()) {
        let pool = Pool::new(options);
        let inside = ["", "a/dir"][usize::from(seed % 3 == 0)];
        let path = pool.store().join(inside);
        fs::create_dir_all(&path).unwrap();
        let home = pool.store().join("home");
        let mut store = ZfsStore::open(&path).unwrap();
        let mut last: Option<SnapshotName> = None;
        for turn in 0..5 {
            for (n, top) in [&path, &home].into_iter().enumerate() {
                let mut edits = Edits::new(seed * 100 + turn as u64 * 10 + n as u64, top);
                // Nothing, in both or in one; a few; many.
                edits.run([[150, 150], [0, 0], [3, 0], [0, 3], [60, 40]][turn][n]);
            }
            if turn % 2 == 1 {
                pool.remount();
            }
            let name: SnapshotName = format!("{seed}-{turn}").parse().unwrap();
            store.create(&name).unwrap();
            if let Some(last) = &last {
                let told = store.changed_inodes(last, &name).unwrap();
                let told = told.expect("it is told");
                assert!(
                    turn != 1 || told.volumes.is_empty(),
                    "nothing was done: {told:?}"
                );
                let (old, new) = (store.open(last).unwrap(), store.open(&name).unwrap());
                let layout = store.survey().unwrap().layout;
                assert_eq!([&old.layout, &new.layout, &told.layout], [&layout; 3]);
                let what = format!("turn {turn} of script {seed}");
                Archived::of(&old).check(&what, &new, Told::Inodes(told));
            }
            last = Some(name);
        }
    }
}

/// Nothing is written when a dataset is mounted elsewhere.
#[test]
#[ignore = "needs root and real ZFS"]
fn vm_where_the_datasets_of_a_store_are_is_told() {
    let pool = Pool::new(&[]);
    let (home, other) = (pool.store().join("home"), pool.store().join("other"));
    fs::create_dir(&other).unwrap();
    let mut store = ZfsStore::open(&pool.store()).unwrap();
    let [one, two] = ["one", "two"].map(|name| name.parse::<SnapshotName>().unwrap());
    store.create(&one).unwrap();
    fs::write(pool.store().join("file"), "x").unwrap();
    let told = |store: &ZfsStore| {
        let told = store.changed_inodes(&one, &two).unwrap().unwrap();
        let opened = store.open(&two).unwrap();
        assert_eq!(told.layout, opened.layout);
        assert_eq!(told.layout, store.survey().unwrap().layout);
        told.layout
    };
    store.create(&two).unwrap();
    let at_home = told(&store);
    unmount(&home);
    let nowhere = store.survey().unwrap().layout;
    assert_ne!(
        store.open(&two).unwrap().layout,
        nowhere,
        "the snapshot has it still"
    );
    mount("looks/store/home", &other);
    let elsewhere = told(&store);
    unmount(&other);
    mount("looks/store/home", &home);
    assert_eq!(told(&store), at_home);
    assert!(nowhere != at_home && elsewhere != at_home && elsewhere != nowhere);
}
