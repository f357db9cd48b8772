//! The store on a real filesystem, in each of its shapes.

#[path = "../common/mod.rs"]
mod common;
mod exchange;

use common::{Disk, errno, hostile, path_of, read, subvolume, swap_off, swap_on, write};
use rustix::io::Errno;
use state_api::{Incoming, Outcome, Refusal, Shape, SnapshotName, SnapshotStore};
use state_btrfs::{BtrfsStore, Kernel, Node};
use state_linux::mount::Guard;
use state_linux::mountinfo;
use state_testing::suite::{self, store::StoreFixture};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted store; `path` is where.
struct Store {
    path: PathBuf,
    mounted: Option<Guard>,
    disk: Disk,
}

impl Store {
    /// The subvolume `name`, mounted.
    fn volume(name: &Path) -> Self {
        let disk = Disk::new();
        let mut live = disk.live();
        for dir in name
            .ancestors()
            .skip(1)
            .filter(|dir| dir.parent().is_some())
        {
            live.make_directory(dir).unwrap();
        }
        live.create(name).unwrap();
        let path = disk.outside("a store\n").canonicalize().unwrap();
        let mounted = Some(disk.mount(name, &path));
        Self {
            path,
            mounted,
            disk,
        }
    }

    /// A directory of a mounted subvolume.
    fn directory() -> Self {
        let mut store = Self::volume(Path::new("data"));
        store.path.push("sub dir/persist");
        fs::create_dir_all(&store.path).unwrap();
        store
    }

    /// The whole filesystem.
    fn filesystem() -> Self {
        let disk = Disk::new();
        let path = disk.outside("whole").canonicalize().unwrap();
        let mounted = Some(disk.mount(Path::new("/"), &path));
        Self {
            path,
            mounted,
            disk,
        }
    }

    fn open(&self) -> BtrfsStore {
        BtrfsStore::open(&self.path).unwrap()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // An exchange mounts the store anew: whatever is there now has to go before the disk.
        while state_linux::mount::unmount_lazily(&self.path).is_ok() {}
        drop(self.mounted.take());
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
        let at = self.path.join(path);
        let made = Command::new("btrfs")
            .args(["-q", "subvolume", "create"])
            .arg(at)
            .status()
            .unwrap();
        made.success()
    }
    fn idle(&mut self) -> Box<dyn SnapshotStore> {
        self.store()
    }
    fn resume(&mut self) {}
}

fn name(text: &str) -> SnapshotName {
    text.parse().unwrap()
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_subvolume_does_what_every_store_must() {
    suite::run(&suite::store::cases(), || {
        Store::volume(Path::new("persist"))
    });
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_directory_does_what_every_store_must() {
    suite::run(&suite::store::cases(), Store::directory);
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_whole_filesystem_does_what_every_store_must() {
    suite::run(&suite::store::cases(), Store::filesystem);
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_shapes_are_known_under_any_name() {
    for hostile in hostile() {
        let volume = Path::new("a%2Fb").join(hostile);
        let store = Store::volume(&volume);
        fs::write(store.path.join("file"), "x").unwrap();
        let mut opened = store.open();
        let shape = opened.survey().unwrap().shape;
        assert!(matches!(shape, Shape::Volume { .. }), "{shape:?}");
        opened.create(&name("one")).unwrap();
        let view = opened.open(&name("one")).unwrap();
        assert_eq!(fs::read(path_of(&view).join("file")).unwrap(), b"x");
        drop(view);
        opened.stage().unwrap();
        opened.exchange().unwrap();
        assert!(!store.path.join("file").exists());
        opened.exchange_back().unwrap();
        assert!(store.path.join("file").exists());
    }
    let shape = Store::directory().open().survey().unwrap().shape;
    let path = "sub dir/persist".into();
    assert_eq!(shape, Shape::Directory { path });
    let shape = Store::filesystem().open().survey().unwrap().shape;
    assert_eq!(shape, Shape::FilesystemRoot);
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_snapshots_hold_every_volume_at_its_place() {
    let mut store = Store::volume(Path::new("persist"));
    fs::create_dir_all(store.path.join("x/y")).unwrap();
    for nested in ["x/y/a b", "x/y/a b/deep", "new\nline"] {
        assert!(store.nest(nested));
        fs::write(store.path.join(nested).join("file"), nested).unwrap();
    }
    let mut opened = store.open();
    store.disk.live().commit().unwrap();
    let before = opened.survey().unwrap().identity;
    let made = opened.create(&name("20261121T120000Z")).unwrap();
    assert_eq!(made.identity, before, "nothing changed since");
    assert_eq!(made.taken_at, name("20261121T120000Z").taken_at());
    let view = opened.open(&made.name).unwrap();
    assert!(view.is_frozen);
    let grafts: Vec<&Path> = view.grafts.iter().map(|graft| graft.at.as_path()).collect();
    let expected = ["new\nline", "x/y/a b", "x/y/a b/deep"].map(Path::new);
    assert_eq!(grafts, expected);
    drop(view);
    fs::write(store.path.join("x/y/a b/deep/file"), "changed").unwrap();
    let after = opened.create(&name("later")).unwrap();
    assert_ne!(after.identity, before);
    assert_eq!(after.identity, opened.survey().unwrap().identity);

    // What a cut leaves is no snapshot, and goes with the next change.
    let mut live = store.disk.live();
    let sets = Path::new(".state/snapshots/persist");
    live.make_directory(&sets.join(".unfinished")).unwrap();
    live.snapshot(Path::new("persist"), &sets.join(".unfinished/top"), true)
        .unwrap();
    live.rename(&sets.join("later"), &sets.join(".deleted-later"))
        .unwrap();
    live.make_directory(&sets.join("not a snapshot")).unwrap();
    live.make_directory(&sets.join("empty")).unwrap();
    let names = |opened: &BtrfsStore| -> Vec<String> {
        let all = opened.list().unwrap();
        all.iter().map(|found| found.name.to_string()).collect()
    };
    assert_eq!(names(&opened), ["20261121T120000Z"]);
    opened.delete(&made.name).unwrap();
    assert_eq!(names(&opened), [""; 0]);
    assert_eq!(live.names(sets).unwrap(), ["empty", "not a snapshot"]);
    assert_eq!(live.children(5).unwrap().len(), 4, "the store's own");
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_swapfile_in_the_store_is_named() {
    let store = Store::volume(Path::new("persist"));
    let file = store.path.join("swapfile");
    swap_on(&file);
    let mut opened = store.open();
    let refused = opened
        .create(&name("one"))
        .map_err(|error| error.to_string());
    swap_off(&file);
    assert_eq!(
        refused.unwrap_err(),
        "persist is in use by a swapfile in it: keep that in a subvolume outside the store"
    );
    assert_eq!(opened.list().unwrap(), []);
    opened.create(&name("one")).unwrap();
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_full_disk_leaves_no_half_snapshot() {
    let disk = Disk::with_size(120 << 20);
    let mut live = disk.live();
    live.create(Path::new("persist")).unwrap();
    live.create(Path::new("persist/nested")).unwrap();
    let path = disk.outside("mnt").canonicalize().unwrap();
    let mounted = Some(disk.mount(Path::new("persist"), &path));
    let store = Store {
        path,
        mounted,
        disk,
    };
    let mut opened = store.open();
    opened.create(&name("first")).unwrap();
    let filler = vec![b'x'; 3000];
    let write = |n: usize| fs::write(store.path.join(format!("nested/f{n}")), &filler);
    assert!((0..200_000).any(|n| write(n).is_err()));
    let refused = opened.create(&name("second"));
    assert_eq!(errno(refused), Errno::NOSPC);
    let all = opened.list().unwrap();
    assert_eq!(all.len(), 1);
    let sets = Path::new(".state/snapshots/persist");
    assert_eq!(live.names(sets).unwrap(), ["first"]);
    assert_eq!(live.node(&sets.join("first/top")).unwrap(), {
        Node::Subvolume(subvolume(&live, sets.join("first/top")))
    });
}
