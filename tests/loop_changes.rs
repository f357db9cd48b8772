//! Where two trees differ, as btrfs tells it: after random edits nothing may be missing from it,
//! and the comparison of the named places says what the comparison of everything says.
//!
//! `STATE_SCRIPTS=5000` makes that many edit scripts, `STATE_SEED=N` begins with script N.

use looks::Archived;
use state::archive::write::Told;
use state::diff;
use state_api::{
    Changes, Never, Reset, Retire, RootBackend as _, SnapshotName, SnapshotStore as _, Source,
    View, execute,
};
use state_btrfs::{Btrfs, BtrfsStore, Kernel as _, Live};
use state_linux::btrfs;
use state_linux::loopback::Loop;
use state_linux::mount::{Attributes, Guard, detached};
use state_testing::edits::{self, Edits};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

#[path = "archive/looks.rs"]
mod looks;
#[path = "archive/parts.rs"]
mod parts;

/// A btrfs on a loop device, its top level mounted.
struct Disk {
    mounted: Option<Guard>,
    dir: tempfile::TempDir,
    device: Loop,
}

impl Disk {
    fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("state-changes-")
            .tempdir()
            .unwrap();
        let image = tempfile::tempfile_in("/var/tmp").unwrap();
        image.set_len(1 << 30).unwrap();
        let path = format!("/proc/self/fd/{}", image.as_raw_fd());
        let device = Loop::attach(Path::new(&path), false).expect("this needs loop devices");
        let made = Command::new("mkfs.btrfs")
            .args(["-q", "-f", "-n", "4096"]) // small blocks: items of one inode lie apart
            .arg(device.path())
            .output()
            .expect("this needs btrfs-progs");
        assert!(made.status.success(), "{made:?}");
        let options = [("source", Some(device.path().as_os_str()))];
        let mount = detached("btrfs", &options, Attributes::empty()).unwrap();
        let mounted = Some(Guard::attach(mount, dir.path()).unwrap());
        Self {
            mounted,
            dir,
            device,
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn live(&self) -> Live {
        Live::open(self.device.path()).unwrap()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.mounted.take());
    }
}

/// Makes or deletes a nested subvolume.
fn volume(at: &Path, present: bool) -> io::Result<()> {
    if present {
        let (parent, name) = (at.parent().unwrap(), at.file_name().unwrap());
        return btrfs::create(File::open(parent)?, name);
    }
    if !fs::symlink_metadata(at)?.is_dir() {
        return Ok(());
    }
    let dir = File::open(at)?;
    if btrfs::is_subvolume_top(&dir)? {
        btrfs::delete(&dir, btrfs::subvolume_info(&dir)?.id)?;
    }
    Ok(())
}

fn number(name: &str, default: u64) -> u64 {
    let told = std::env::var(name).ok();
    told.map_or(default, |told| told.parse().expect("a number"))
}

fn scripts(default: u64) -> impl Iterator<Item = u64> {
    let first = number("STATE_SEED", 1);
    first..first + number("STATE_SCRIPTS", default)
}

/// What the two comparisons tell must be the same, and what is named must be complete.
#[track_caller]
fn check(what: &str, seed: u64, old: &View, new: &View, changes: Option<Changes>) {
    let changes = changes.unwrap_or_else(|| panic!("{what} of script {seed}: not told"));
    assert_eq!(
        edits::unnamed(old, new, &changes),
        Vec::<PathBuf>::new(),
        "{what} of script {seed} is not complete"
    );
    let walked = diff::compare(Some(old), new, &|_| false, &Never).unwrap();
    let told = diff::compare_at(&changes, old, new, &|_| false, &Never).unwrap();
    let list = |found: &diff::Comparison| -> Vec<String> {
        found.unreadable.iter().map(ToString::to_string).collect()
    };
    assert_eq!(list(&told), list(&walked), "{what} of script {seed}");
    assert_eq!(told.changes, walked.changes, "{what} of script {seed}");
}

fn reset(root: &mut Btrfs<Live>, past: &str, from: Source) {
    let survey = root.survey().unwrap();
    let reset = Reset {
        retire: Retire::Keep(past.parse().unwrap()),
        source: Some(from),
        needs_init: false,
    };
    let plan = root.plan_reset(&survey, &reset).unwrap();
    execute(root, &plan, &Never, |_| {}).unwrap();
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_where_root_differs_from_blank_is_told_completely_whatever_was_done() {
    let disk = Disk::new();
    let top = File::open(disk.dir.path()).unwrap();
    for seed in scripts(8) {
        btrfs::create(&top, OsStr::new("root")).unwrap();
        let mut root = Btrfs::new(disk.live(), Path::new("root"), None).unwrap();
        let mut edits = Edits::new(seed, &disk.at("root"));
        let many = 20 + edits.below(200);
        edits.run(many);
        btrfs::snapshot(
            File::open(disk.at("root")).unwrap(),
            &top,
            OsStr::new("root-blank"),
            true,
        )
        .unwrap();
        let compared = |root: &Btrfs<Live>, what: &str, past: Option<&Source>| {
            let old = root.open(&Source::Blank).unwrap();
            let changes = root.changes(&Source::Blank, past).unwrap();
            let new = match past {
                Some(past) => root.open(past),
                None => root.open_root(),
            };
            check(what, seed, &old, &new.unwrap(), changes);
        };
        compared(&root, "the root that became blank", None);
        edits.run(5); // in the very next transaction
        edits.close();
        compared(&root, "the root that became blank and went on", None);
        reset(&mut root, "20260101T000001Z-0badcafe", Source::Blank);
        compared(&root, "a fresh root", None);
        let mut edits = Edits::new(seed, &disk.at("root")).with_volumes(volume);
        for _ in 0..3 {
            let many = edits.below(60);
            edits.run(many);
            compared(&root, "root", None);
        }
        edits.close();
        reset(&mut root, "20260101T000002Z-0badcafe", Source::Blank);
        let past = Source::Past("20260101T000002Z-0badcafe".parse().unwrap());
        compared(&root, "a past root", Some(&past));
        // A root that was brought back, and edited again.
        reset(&mut root, "20260101T000003Z-0badcafe", past);
        edits.run(20);
        compared(&root, "a root from a past one", None);

        drop(root);
        clear(disk.live());
    }
}

/// Deletes every subvolume, the innermost first.
fn clear(mut live: Live) {
    let children = live.children(state_btrfs::TOP_LEVEL).unwrap();
    for child in children.into_iter().rev() {
        live.delete(child.id).unwrap();
    }
    live.commit().unwrap();
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_where_snapshots_of_a_store_differ_is_told_completely_whatever_was_done() {
    let disk = Disk::new();
    let top = File::open(disk.dir.path()).unwrap();
    for seed in scripts(8) {
        btrfs::create(&top, OsStr::new("persist")).unwrap();
        // A store may be a directory in a subvolume.
        let inside = ["", "a/dir"][usize::from(seed % 2 == 0)];
        let path = disk.at("persist").join(inside);
        fs::create_dir_all(&path).unwrap();
        let mut store = BtrfsStore::open(&path.canonicalize().unwrap()).unwrap();
        let mut edits = Edits::new(seed, &path).with_volumes(volume);
        let mut names: Vec<SnapshotName> = Vec::new();
        for turn in 0..4 {
            let many = 10 + edits.below(80);
            edits.run(many);
            let name: SnapshotName = format!("{seed}-{turn}").parse().unwrap();
            store.create(&name).unwrap();
            names.push(name);
        }
        edits.run(15);
        for (at, old) in names.iter().enumerate() {
            for new in names[at + 1..].iter().map(Some).chain([None]) {
                let changes = store.changes(old, new, usize::MAX).unwrap();
                let was = store.open(old).unwrap();
                let is = match new {
                    Some(new) => store.open(new).unwrap(),
                    None => store.open_live().unwrap(),
                };
                if new.is_some() {
                    let told = Told::Places(changes.clone().expect("it is told"));
                    Archived::of(&was).check(&format!("script {seed}"), &is, told);
                }
                check("a store", seed, &was, &is, changes);
            }
        }
        edits.close();
        drop(store);
        clear(disk.live());
    }
}

/// A machine that is in use reads most of its directories; that is no change of them.
#[test]
#[ignore = "needs root and a loop device"]
fn loop_what_was_only_read_is_not_told() {
    let disk = Disk::new();
    let top = File::open(disk.dir.path()).unwrap();
    btrfs::create(&top, OsStr::new("root")).unwrap();
    for dir in ["a/b", "c"] {
        fs::create_dir_all(disk.at("root").join(dir)).unwrap();
        fs::write(disk.at("root").join(dir).join("file"), "x").unwrap();
    }
    let made = File::open(disk.at("root")).unwrap();
    btrfs::snapshot(made, &top, OsStr::new("root-blank"), true).unwrap();
    let mut root = Btrfs::new(disk.live(), Path::new("root"), None).unwrap();
    reset(&mut root, "20260101T000001Z-0badcafe", Source::Blank);
    let places = |root: &Btrfs<Live>| -> Vec<PathBuf> {
        let changes = root.changes(&Source::Blank, None).unwrap().unwrap();
        changes.places().map(|(path, _)| path.to_owned()).collect()
    };
    let before = places(&root);
    // As mounted with `strictatime`, every reading moves the time of the last access.
    let strict = Attributes::MOUNT_ATTR_STRICTATIME;
    let options = [
        ("source", Some(disk.device.path().as_os_str())),
        ("subvol", Some(OsStr::new("root"))),
    ];
    let seen = tempfile::tempdir().unwrap();
    let mounted = Guard::attach(detached("btrfs", &options, strict).unwrap(), seen.path());
    for read in ["a", "a/b", "c"] {
        let dir = seen.path().join(read);
        let accessed = || fs::metadata(&dir).unwrap().accessed().unwrap();
        let was = accessed();
        std::thread::sleep(Duration::from_millis(20)); // the clock of timestamps is coarse
        assert!(fs::read_dir(&dir).unwrap().count() > 0);
        assert!(accessed() > was, "{read} was not read");
    }
    mounted.unwrap().unmount().unwrap();
    assert_eq!(places(&root), before);
    drop(root);
    clear(disk.live());
}

/// A directory that is renamed does not touch what is in it: the filesystem then does not name the
/// other names of what has several.
#[test]
#[ignore = "needs root and a loop device"]
fn loop_names_of_an_inode_outside_a_renamed_directory_are_not_lost() {
    let disk = Disk::new();
    let top = File::open(disk.dir.path()).unwrap();
    btrfs::create(&top, OsStr::new("persist")).unwrap();
    let path = disk.at("persist");
    let mut store = BtrfsStore::open(&path.canonicalize().unwrap()).unwrap();
    for dir in ["a", "b", "m", "y"] {
        fs::create_dir(path.join(dir)).unwrap();
        fs::write(path.join(dir).join("one"), dir).unwrap();
    }
    // The first name is in a directory that is renamed, or the further one; or both are.
    for (name, further) in [
        ("a/x", "m/x"),
        ("m/y", "y/y"),
        ("a/z", "y/z"),
        ("m/1", "m/2"),
    ] {
        fs::write(path.join(name), name).unwrap();
        fs::hard_link(path.join(name), path.join(further)).unwrap();
    }
    let snapshot = |store: &mut BtrfsStore, name: &str| -> SnapshotName {
        let name = name.parse().unwrap();
        store.create(&name).unwrap();
        name
    };
    let mut last = snapshot(&mut store, "0");
    for (turn, (from, to)) in [
        ("a", "zz"),     // what was first comes last
        ("y", "0"),      // and the other way round
        ("zz", "a"),     // back again
        ("b", "b2"),     // nothing with several names
        ("m/1", "b2/1"), // one name of several
    ]
    .into_iter()
    .enumerate()
    {
        fs::rename(path.join(from), path.join(to)).unwrap();
        let now = snapshot(&mut store, &format!("{}", turn + 1));
        let told = store
            .changes(&last, Some(&now), usize::MAX)
            .unwrap()
            .unwrap();
        let (was, is) = (store.open(&last).unwrap(), store.open(&now).unwrap());
        Archived::of(&was).check(&format!("turn {turn}"), &is, Told::Places(told));
        last = now;
    }
    drop(store);
    clear(disk.live());
}
