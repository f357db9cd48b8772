//! Mounts, devices, and what a lost one leaves.

use super::*;

#[test]
#[ignore = "needs root and a loop device"]
fn loop_mounts_are_seen_in_every_namespace_and_the_kernel_would_not_care() {
    let disk = Disk::new();
    let mut live = disk.live();
    let p = Path::new;
    let name = "my root\n\\x";
    live.create(p(name)).unwrap();
    write(&live, p(name).join("var/file"), "x");
    assert_eq!(live.mounts().unwrap(), []);
    let (at, bound) = (disk.outside("a b"), disk.outside("bound"));
    let guard = disk.mount(name, &at);
    state_linux::mount::bind(&at.join("var"), &bound, false).unwrap();
    let mounts = live.mounts().unwrap();
    let found: Vec<(&Path, &Path)> = mounts
        .iter()
        .map(|mounted| (mounted.root.as_path(), mounted.at.as_path()))
        .collect();
    let root = p("/").join(name);
    let var = root.join("var");
    assert_eq!(found, [(root.as_path(), at.as_path()), (&var, &bound)]);
    state_linux::mount::unmount(&bound).unwrap();

    // A namespace of its own, in which it stays mounted when ours lets go of it.
    let mut other = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c"])
        .arg("echo ready; read end")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0; 6];
    std::io::Read::read_exact(other.stdout.as_mut().unwrap(), &mut ready).unwrap();
    guard.unmount().unwrap();
    let mounts = live.mounts();
    // Why it matters: the kernel renames and deletes what is mounted without a word.
    live.rename(p(name), p("renamed")).unwrap();
    let renamed = live.mounts();
    let deleted = live.delete(subvolume(&live, "renamed").id);
    drop(other.stdin.take());
    other.wait().unwrap();
    let mounts = mounts.unwrap();
    assert_eq!(mounts.len(), 1, "{mounts:?}");
    assert_eq!(
        (mounts[0].root.as_path(), mounts[0].at.as_path()),
        (root.as_path(), at.as_path())
    );
    assert_eq!(renamed.unwrap()[0].root, p("/renamed"));
    deleted.unwrap();
    assert_eq!(live.mounts().unwrap(), []);
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_places_are_found_from_any_mount() {
    let disk = Disk::new();
    let mut live = disk.live();
    let p = Path::new;
    live.make_directory(p("dir")).unwrap();
    live.create(p("dir/volume")).unwrap();
    live.create(p("dir/volume/nested")).unwrap();
    write(&live, "dir/volume/nested/a b/c/file", "x");
    let at = disk.outside("mnt");
    let _guard = disk.mount("dir/volume", &at);
    for (path, subvolume, inside) in [
        ("", "dir/volume", ""),
        ("nested", "dir/volume/nested", ""),
        ("nested/a b/c", "dir/volume/nested", "a b/c"),
    ] {
        let dir = File::open(at.join(path)).unwrap();
        let place = live.place(&dir).unwrap();
        assert_eq!(
            (place.subvolume.as_path(), place.inside.as_path()),
            (p(subvolume), p(inside))
        );
        let found = state_btrfs::Live::holding(&dir).unwrap();
        assert_eq!(found.filesystem().unwrap(), live.filesystem().unwrap());
    }
    let elsewhere = File::open(disk.outside("elsewhere")).unwrap();
    assert_eq!(errno(state_btrfs::Live::holding(elsewhere)), Errno::NOTTY);
    let missing = state_btrfs::Live::open(p("/dev/there is none"));
    assert_eq!(errno(missing), Errno::NOENT);
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_what_was_committed_is_there_without_a_clean_unmount() {
    let disk = Disk::new();
    let mut live = disk.live();
    let p = Path::new;
    live.create(p("a")).unwrap();
    write(&live, "a/file", "x");
    live.create(p("b")).unwrap();
    live.commit().unwrap();
    live.exchange(p("a"), p("b")).unwrap();
    live.commit().unwrap();
    // The image as a power cut right now leaves it.
    let copy = disk.outside("copy").join("image");
    let copied = Command::new("cp")
        .args(["--sparse=always"])
        .arg(disk.device())
        .arg(&copy)
        .status()
        .unwrap();
    assert!(copied.success());
    let other = Command::new("btrfstune")
        .args(["-f", "-u"])
        .arg(&copy)
        .output()
        .unwrap();
    assert!(other.status.success(), "{other:?}");
    let device = state_linux::loopback::Loop::attach(&copy, false).unwrap();
    let after = state_btrfs::Live::open(device.path()).unwrap();
    assert_eq!(read(&after, "b/file").unwrap(), "x");
    assert_eq!(read(&after, "a/file"), None);
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_device_that_cannot_be_written_can_be_looked_at() {
    let disk = Disk::new();
    let mut live = disk.live();
    live.create(Path::new("a")).unwrap();
    let space = live.space().unwrap();
    assert!(space.free_bytes > 0 && space.free_bytes < space.total_bytes);
    live.commit().unwrap();
    drop(live);
    std::thread::sleep(std::time::Duration::from_millis(200));
    let image = disk.device().to_owned();
    let read_only = state_linux::loopback::Loop::attach(&image, true).unwrap();
    let mut live = state_btrfs::Live::open(read_only.path()).unwrap();
    assert!(live.filesystem().unwrap().is_read_only);
    assert!(matches!(
        live.node(Path::new("a")).unwrap(),
        Node::Subvolume(_)
    ));
    assert_eq!(errno(live.create(Path::new("b"))), Errno::ROFS);
}
