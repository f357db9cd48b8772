//! The plain store on real filesystems: what every store must do, for each shape.

use state_api::{Refusal, Shape, SnapshotStore};
use state_linux::mount::{self, DATA_ONLY};
use state_plain::PlainStore;
use state_testing::suite::{self, store::StoreFixture};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A store somewhere below a temporary directory.
struct Store {
    path: PathBuf,
    /// Unmounted before the directory goes.
    _mount: Option<mount::Guard>,
    _dir: tempfile::TempDir,
}

impl StoreFixture for Store {
    fn store(&self) -> Box<dyn SnapshotStore> {
        Box::new(PlainStore::new(&self.path))
    }
    fn path(&self) -> PathBuf {
        self.path.clone()
    }
    fn nest(&mut self, _: &str) -> bool {
        false
    }
    fn idle(&mut self) -> Box<dyn SnapshotStore> {
        self.store()
    }
    fn resume(&mut self) {}
}

fn directory() -> Store {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap().join("a store\n");
    fs::create_dir(&path).unwrap();
    Store {
        path,
        _mount: None,
        _dir: dir,
    }
}

/// A store that is the top of a filesystem made with `mkfs` on a loop device.
fn filesystem(mkfs: &str, size: u64) -> Store {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    File::create(&image).unwrap().set_len(size).unwrap();
    let made = Command::new(mkfs).arg("-q").arg(&image).output().unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let device = state_linux::loopback::Loop::attach(&image, false).unwrap();
    let path = dir.path().canonicalize().unwrap().join("store");
    fs::create_dir(&path).unwrap();
    let kind = mkfs.strip_prefix("mkfs.").unwrap();
    let source = device.path().as_os_str().to_owned();
    let mounted = mount::detached(kind, &[("source", Some(&source))], DATA_ONLY).unwrap();
    let guard = mount::Guard::attach(mounted, &path).unwrap();
    if path.join("lost+found").exists() {
        fs::remove_dir(path.join("lost+found")).unwrap(); // ext4's own, in no tree of ours
    }
    Store {
        path,
        _mount: Some(guard),
        _dir: dir,
    }
}

#[test]
fn a_directory_does_what_every_store_must() {
    suite::run(&suite::store::cases(), directory);
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_the_top_of_ext4_does_what_every_store_must() {
    suite::run(&suite::store::cases(), || filesystem("mkfs.ext4", 16 << 20));
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_the_top_of_xfs_does_what_every_store_must() {
    suite::run(&suite::store::cases(), || filesystem("mkfs.xfs", 300 << 20));
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_store_in_use_is_not_exchanged() {
    let store = filesystem("mkfs.ext4", 16 << 20);
    assert_eq!(store.store().survey().unwrap().shape, Shape::FilesystemRoot);
    fs::create_dir(store.path.join("foo")).unwrap();
    fs::write(store.path.join("foo/file"), "live").unwrap();
    drop(store.store().stage().unwrap());
    let elsewhere = tempfile::tempdir().unwrap();
    mount::bind(&store.path.join("foo"), elsewhere.path(), false).unwrap();
    let refused = store.store().exchange().unwrap_err();
    mount::unmount(elsewhere.path()).unwrap();
    let state_api::Error::Refused(Refusal::InUse { by, .. }) = &refused else {
        panic!("{refused}");
    };
    assert_eq!(*by, format!("a mount at {}", elsewhere.path().display()));
    assert_eq!(read(&store.path.join("foo/file")), "live");

    let mut child = Command::new("sleep")
        .arg("60")
        .current_dir(&store.path)
        .spawn()
        .unwrap();
    let refused = store.store().exchange().unwrap_err().to_string();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(
        refused.contains(&format!("(process {})", child.id())),
        "{refused}"
    );
    store.store().exchange().unwrap();
    assert!(!store.path.join("foo").exists());
}

/// An immutable file cannot be renamed (`may_delete` in `fs/namei.c`), and half of the children would have been.
#[test]
#[ignore = "needs root and a loop device"]
fn loop_what_is_immutable_is_exchanged_too() {
    let store = filesystem("mkfs.ext4", 16 << 20);
    let seal = |path: &Path, flag: &str| {
        let done = Command::new("chattr").arg(flag).arg(path).status();
        assert!(done.unwrap().success());
    };
    let seals = |path: &Path| {
        let listed = Command::new("lsattr").arg("-d").arg(path).output().unwrap();
        let text = String::from_utf8(listed.stdout).unwrap();
        let flags = text.split(' ').next().unwrap();
        flags
            .chars()
            .filter(|flag| "ia".contains(*flag))
            .collect::<String>()
    };
    fs::write(store.path.join("a"), "old").unwrap();
    fs::create_dir(store.path.join("z")).unwrap();
    seal(&store.path.join("z"), "+i");
    let stage = store.store().stage().unwrap();
    let staged = store.path.join(".state/staged");
    fs::write(staged.join("a"), "new").unwrap();
    fs::write(staged.join("log"), "new").unwrap();
    seal(&staged.join("log"), "+a");
    drop(stage);
    store.store().exchange().unwrap();
    assert_eq!(read(&store.path.join("a")), "new");
    assert_eq!(seals(&store.path.join("log")), "a");
    assert_eq!(seals(&store.path.join(".state/replaced/z")), "i");
    store.store().exchange_back().unwrap();
    assert_eq!(read(&store.path.join("a")), "old");
    assert_eq!(seals(&store.path.join("z")), "i");
    store.store().discard_replaced().unwrap();
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_swapfile_is_a_user() {
    let store = filesystem("mkfs.ext4", 16 << 20);
    let file = store.path.join("a swapfile");
    fs::write(&file, vec![0; 4 << 20]).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    drop(store.store().stage().unwrap());
    let run = |program: &str| {
        let done = Command::new(program).arg(&file).output().unwrap();
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
    };
    run("mkswap");
    run("swapon");
    let refused = store.store().exchange();
    run("swapoff");
    let Err(state_api::Error::Refused(Refusal::InUse { by, .. })) = &refused else {
        panic!("{refused:?}");
    };
    assert_eq!(*by, format!("the swapfile {}", file.display()));
    assert!(file.exists());
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}
