//! Mounts and loop devices on the real kernel.

use state_linux::loopback::Loop;
use state_linux::mount::{self, Attributes, Guard};
use state_linux::mountinfo;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

fn image(dir: &Path, mkfs: &str) -> PathBuf {
    let path = dir.join("image, with a comma");
    let file = fs::File::create(&path).unwrap();
    file.set_len(300 << 20).unwrap();
    let made = Command::new(mkfs).arg("-q").arg(&path).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    path
}

fn seen_at(at: &Path) -> usize {
    let mounts = mountinfo::read().unwrap();
    mounts.iter().filter(|mount| mount.at == at).count()
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_detached_mount_is_nowhere_and_gone_with_its_descriptor() {
    let dir = tempfile::tempdir().unwrap();
    let device = Loop::attach(&image(dir.path(), "mkfs.btrfs"), false).unwrap();
    let before = mountinfo::read_everywhere().unwrap();
    let source = device.path().as_os_str();
    let options = [("source", Some(source)), ("subvolid", Some("5".as_ref()))];
    let mounted = mount::detached("btrfs", &options, Attributes::empty()).unwrap();
    let top = mount::open_top(&mounted).unwrap();
    rustix::fs::mkdirat(&top, "made", 0o700.into()).unwrap();
    assert_eq!(mountinfo::read_everywhere().unwrap().len(), before.len());

    let at = dir.path().join("a mount point\n");
    fs::create_dir(&at).unwrap();
    let guard = Guard::attach(&mounted, &at).unwrap();
    assert_eq!(seen_at(&at), 1);
    assert!(at.join("made").is_dir());
    let found = mountinfo::read().unwrap();
    let found = found.iter().find(|mount| mount.at == at).unwrap();
    assert_eq!(found.source, source);
    assert_eq!(found.filesystem, "btrfs");
    assert_eq!(found.root, Path::new("/"));

    let held = fs::File::open(at.join("made")).unwrap();
    assert_eq!(
        mount::unmount(&at).unwrap_err().kind(),
        ErrorKind::ResourceBusy
    );
    drop((held, mounted, top));
    guard.unmount().unwrap();
    assert_eq!(seen_at(&at), 0);

    let name = device.path().file_name().unwrap().to_owned();
    drop(device);
    let backing = Path::new("/sys/block").join(name).join("loop/backing_file");
    let is_ours = || {
        fs::read_to_string(&backing)
            .is_ok_and(|path| Path::new(path.trim_end()).starts_with(dir.path()))
    };
    // A moment passes until the last reference to the filesystem is gone.
    assert!((0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        !is_ours()
    }));
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_binds_go_by_name_never_through_a_symlink_and_attributes_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    fs::create_dir(&source).unwrap();
    fs::create_dir(&target).unwrap();
    fs::write(source.join("file"), "content").unwrap();
    std::os::unix::fs::symlink(&target, dir.path().join("link")).unwrap();

    let through = mount::bind(&source, &dir.path().join("link"), false);
    assert!(through.is_err());
    assert_eq!(seen_at(&target), 0);

    let cwd = rustix::fs::CWD;
    let tree = mount::clone_tree(cwd, &source, false).unwrap();
    let read_only = Attributes::MOUNT_ATTR_RDONLY;
    mount::set_attributes(&tree, read_only, Attributes::empty(), true).unwrap();
    let guard = Guard::attach(&tree, &target).unwrap();
    assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "content");
    let refused = fs::write(target.join("file"), "changed").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ReadOnlyFilesystem);
    drop(guard);
    assert_eq!(seen_at(&target), 0);
    assert!(mount::unmount(&target).is_err());
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_refusing_filesystem_says_why() {
    let options = [("mode", Some("nonsense".as_ref()))];
    let error = mount::tmpfs(&options, Attributes::empty()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("mode"), "{error}");
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_an_overlay_takes_any_name() {
    let dir = tempfile::tempdir().unwrap();
    let tmpfs = mount::tmpfs(&[("mode", Some("0755".as_ref()))], Attributes::empty()).unwrap();
    let guard = Guard::attach(tmpfs, dir.path()).unwrap();
    let [lower, upper, work, merged] =
        ["a:b\\c", "upper", "work", "merged"].map(|name| dir.path().join(name));
    for path in [&lower, &upper, &work, &merged] {
        fs::create_dir(path).unwrap();
    }
    fs::write(lower.join("file"), "content").unwrap();
    let mounted = mount::overlay(&[&lower], Some((&upper, &work))).unwrap();
    let above = Guard::attach(mounted, &merged).unwrap();
    assert_eq!(fs::read_to_string(merged.join("file")).unwrap(), "content");
    fs::write(merged.join("new"), "x").unwrap();
    assert!(upper.join("new").exists());
    drop(above);
    guard.unmount().unwrap();
}
