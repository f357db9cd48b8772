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
use std::path::Path;
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
    fn new(xattr: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("disk");
        fs::File::create(&disk).unwrap().set_len(512 << 20).unwrap();
        let (xattr, store) = (format!("xattr={xattr}"), dir.path().join("store"));
        let disk = disk.to_str().unwrap();
        let options = ["-O", &xattr, "-O", "mountpoint=none", "-O", "acltype=posix"];
        run(
            "zpool",
            &[&["create"], &options[..], &["looks", disk]].concat(),
        );
        for (dataset, at) in [
            ("looks/store", store.clone()),
            ("looks/store/home", store.join("home")),
        ] {
            run("zfs", &["create", "-o", "mountpoint=legacy", dataset]);
            fs::create_dir_all(&at).unwrap();
            run("mount", &["-t", "zfs", dataset, at.to_str().unwrap()]);
        }
        Self { dir }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let store = self.dir.path().join("store");
        for at in [store.join("home"), store] {
            run("umount", &["-l", at.to_str().unwrap()]);
        }
        run("zpool", &["destroy", "-f", "looks"]);
    }
}

#[test]
#[ignore = "needs root and real ZFS"]
fn vm_where_a_store_on_zfs_differs_is_told_completely_whatever_was_done() {
    for (seed, xattr) in scripts(3).zip(["sa", "dir"].into_iter().cycle()) {
        let pool = Pool::new(xattr);
        let inside = ["", "a/dir"][usize::from(seed % 3 == 0)];
        let path = pool.dir.path().join("store").join(inside);
        fs::create_dir_all(&path).unwrap();
        let home = pool.dir.path().join("store/home");
        let mut store = ZfsStore::open(&path).unwrap();
        let mut edits = [Edits::new(seed, &path), Edits::new(seed + 1000, &home)];
        let mut last: Option<SnapshotName> = None;
        for turn in 0..5 {
            for (n, edits) in edits.iter_mut().enumerate() {
                // Nothing, in both or in one; a few; many.
                edits.run([[150, 150], [0, 0], [3, 0], [0, 3], [60, 40]][turn][n]);
            }
            let name: SnapshotName = format!("{seed}-{turn}").parse().unwrap();
            store.create(&name).unwrap();
            if let Some(last) = &last {
                let told = store
                    .changed_inodes(last, &name)
                    .unwrap()
                    .expect("it is told");
                assert!(
                    turn != 1 || told.volumes.is_empty(),
                    "nothing was done: {told:?}"
                );
                let archived = Archived::of(&store.open(last).unwrap());
                let what = format!("turn {turn} of script {seed}");
                archived.check(&what, &store.open(&name).unwrap(), Told::Inodes(told));
            }
            last = Some(name);
        }
        edits.iter_mut().for_each(Edits::close);
    }
}

/// Nothing is written when a dataset is mounted elsewhere.
#[test]
#[ignore = "needs root and real ZFS"]
fn vm_where_the_datasets_of_a_store_are_is_told() {
    let pool = Pool::new("sa");
    let path = pool.dir.path().join("store");
    let (home, other) = (path.join("home"), path.join("other"));
    fs::create_dir(&other).unwrap();
    let told = || ZfsStore::open(&path).unwrap().survey().unwrap().volumes;
    let mount = |at: &Path| {
        run(
            "mount",
            &["-t", "zfs", "looks/store/home", at.to_str().unwrap()],
        )
    };
    let unmount = |at: &Path| run("umount", &[at.to_str().unwrap()]);
    let at_home = told();
    unmount(&home);
    let nowhere = told();
    mount(&other);
    let elsewhere = told();
    unmount(&other);
    mount(&home);
    assert_eq!(told(), at_home);
    assert!(nowhere != at_home && elsewhere != at_home && elsewhere != nowhere);
}
