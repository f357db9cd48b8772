//! What the real kernel does, act by act: the errnos and orders that the engine and the
//! simulator rely on.

#[path = "../common/mod.rs"]
mod common;
mod mounts;

use common::{Disk, errno, hostile, path_of, read, subvolume, swap_off, swap_on, write};
use rustix::io::Errno;
use state_api::Outcome;
use state_btrfs::{Kernel, Node, TOP_LEVEL};
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
#[ignore = "needs root and a loop device"]
fn loop_names_are_taken_never_moved_into() {
    let disk = Disk::new();
    let mut live = disk.live();
    let p = Path::new;
    live.create(p("a")).unwrap();
    live.create(p("b")).unwrap();
    write(&live, "dir/file", "x");
    assert_eq!(errno(live.create(p("a"))), Errno::EXIST);
    assert_eq!(errno(live.create(p("dir"))), Errno::EXIST);
    for taken in ["b", "dir", "dir/file"] {
        assert_eq!(errno(live.snapshot(p("a"), p(taken), true)), Errno::EXIST);
        assert_eq!(errno(live.rename(p("a"), p(taken))), Errno::EXIST);
    }
    assert_eq!(live.names(p("")).unwrap(), ["a", "b", "dir"]);
    assert_eq!(live.names(p("b")).unwrap(), [""; 0]);
    assert_eq!(errno(live.rename(p("none"), p("c"))), Errno::NOENT);
    assert_eq!(errno(live.exchange(p("a"), p("none"))), Errno::NOENT);
    assert_eq!(errno(live.create(p("none/c"))), Errno::NOENT);
    assert_eq!(errno(live.snapshot(p("dir"), p("c"), true)), Errno::INVAL);
    assert_eq!(errno(live.rename(p("a"), p("a/inside"))), Errno::INVAL);
    assert_eq!(errno(live.create(p(&"x".repeat(256)))), Errno::NAMETOOLONG);

    assert_eq!(live.make_directory(p("d")).unwrap(), Outcome::Made);
    assert_eq!(live.make_directory(p("d")).unwrap(), Outcome::AlreadySo);
    assert_eq!(errno(live.make_directory(p("a"))), Errno::EXIST);
    assert_eq!(errno(live.remove_directory(p("dir"))), Errno::NOTEMPTY);
    assert_eq!(live.remove_directory(p("d")).unwrap(), Outcome::Made);
    assert_eq!(live.remove_directory(p("d")).unwrap(), Outcome::AlreadySo);
    assert_eq!(live.mark(p("dir/mark"), true).unwrap(), Outcome::Made);
    assert_eq!(live.mark(p("dir/mark"), true).unwrap(), Outcome::AlreadySo);
    assert_eq!(live.mark(p("dir/mark"), false).unwrap(), Outcome::Made);
    assert_eq!(live.mark(p("dir/mark"), false).unwrap(), Outcome::AlreadySo);
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_nodes_are_what_they_are() {
    let disk = Disk::new();
    let mut live = disk.live();
    live.create(Path::new("volume")).unwrap();
    write(&live, "dir/file", "x");
    let view = live.open(Path::new("")).unwrap();
    std::os::unix::fs::symlink("volume", path_of(&view).join("link")).unwrap();
    std::os::unix::fs::symlink("/dir", path_of(&view).join("volume/up")).unwrap();
    for (path, expected) in [
        ("none", Node::Missing),
        ("none/below", Node::Missing),
        ("dir/file/below", Node::Missing),
        ("dir", Node::Directory),
        ("dir/file", Node::Other),
        ("link", Node::Other),
        ("link/below", Node::Other),
    ] {
        assert_eq!(live.node(Path::new(path)).unwrap(), expected, "{path}");
    }
    assert_eq!(subvolume(&live, "").id, TOP_LEVEL);
    let found = subvolume(&live, "volume");
    assert!(found.id >= 256);
    assert_ne!(found.uuid, [0; 16]);
    assert_eq!(found.parent_uuid, [0; 16]);
    // Symlinks are followed inside, never out of it.
    let resolves = |base: &str, path: &str| live.resolves(Path::new(base), Path::new(path));
    assert!(resolves("", "link/up/file").unwrap());
    assert!(!resolves("volume", "up/file").unwrap());
    assert!(resolves("volume", "../../up/../").is_ok());
    assert!(!resolves("volume", "/up").unwrap());
    assert_eq!(errno(resolves("none", "x")), Errno::NOENT);
    let top = fs::metadata(path_of(&view).join("volume")).unwrap();
    assert_eq!(top.permissions().mode() & 0o7777, 0o755);
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_ids_and_transactions_tell_copies_from_what_was_used() {
    let disk = Disk::new();
    let mut live = disk.live();
    let p = Path::new;
    live.create(p("root")).unwrap();
    write(&live, "root/file", "x");
    live.snapshot(p("root"), p("blank"), true).unwrap();
    let blank = subvolume(&live, "blank");
    assert!(blank.is_read_only && blank.ctransid <= blank.otransid);

    // Neither a snapshot of it, nor its read-only flag, nor a name counts as writing.
    live.snapshot(p("blank"), p("root.new"), false).unwrap();
    let staged = subvolume(&live, "root.new");
    assert_eq!(staged.parent_uuid, blank.uuid);
    assert!(staged.id > subvolume(&live, "root").id);
    live.exchange(p("root"), p("root.new")).unwrap();
    live.commit().unwrap();
    live.rename(p("blank"), p("renamed")).unwrap();
    live.set_read_only(blank.id, false).unwrap();
    live.set_read_only(blank.id, true).unwrap();
    live.commit().unwrap();
    assert_eq!(subvolume(&live, "renamed"), blank);
    assert_eq!(subvolume(&live, "root"), staged);
    live.make_directory(p("past")).unwrap();
    live.rename(p("root"), p("past/root")).unwrap();
    live.commit().unwrap();
    drop(live);
    let mut live = disk.live();
    assert_eq!(subvolume(&live, "past/root"), staged);

    // Reading through the private mount does not either.
    let tree = live.open(p("past/root")).unwrap();
    assert_eq!(fs::read(path_of(&tree).join("file")).unwrap(), b"x");
    drop(tree);
    live.commit().unwrap();
    assert_eq!(subvolume(&live, "past/root"), staged);

    // Any change does, a nested subvolume included.
    for (name, change) in [
        (
            "content",
            &(|at: &Path| fs::write(at.join("file"), "y").unwrap()) as &dyn Fn(&Path),
        ),
        ("mode", &|at| {
            fs::set_permissions(at.join("file"), fs::Permissions::from_mode(0o600)).unwrap();
        }),
        ("name", &|at| {
            fs::rename(at.join("file"), at.join("f")).unwrap()
        }),
    ] {
        live.snapshot(p("renamed"), p(name), false).unwrap();
        let view = live.open(p(name)).unwrap();
        change(&path_of(&view));
        live.commit().unwrap();
        let changed = subvolume(&live, name);
        assert!(changed.ctransid > changed.otransid, "{name}");
    }
    live.snapshot(p("renamed"), p("nest"), false).unwrap();
    live.create(p("nest/ed")).unwrap();
    let changed = subvolume(&live, "nest");
    assert!(changed.ctransid > changed.otransid);
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_exchanging_moves_all_that_is_inside() {
    let disk = Disk::new();
    let mut live = disk.live();
    let p = Path::new;
    live.create(p("a")).unwrap();
    live.create(p("a/nested")).unwrap();
    live.create(p("a/nested/deep")).unwrap();
    write(&live, "a/nested/deep/file", "x");
    live.create(p("b")).unwrap();
    live.make_directory(p("dir")).unwrap();
    live.rename(p("b"), p("dir/b")).unwrap();
    live.exchange(p("a"), p("dir/b")).unwrap();
    assert_eq!(read(&live, "dir/b/nested/deep/file").unwrap(), "x");
    assert_eq!(live.names(p("a")).unwrap(), [""; 0]);
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_read_only_subvolume_keeps_its_directory() {
    let disk = Disk::new();
    let mut live = disk.live();
    let p = Path::new;
    live.create(p("a")).unwrap();
    live.create(p("a/child")).unwrap();
    live.make_directory(p("dir")).unwrap();
    let (a, child) = (subvolume(&live, "a").id, subvolume(&live, "a/child").id);
    assert_eq!(live.set_read_only(a, true).unwrap(), Outcome::Made);
    assert_eq!(live.set_read_only(a, true).unwrap(), Outcome::AlreadySo);
    live.rename(p("a"), p("b")).unwrap();
    assert_eq!(errno(live.rename(p("b"), p("dir/b"))), Errno::ROFS);
    assert_eq!(errno(live.create(p("b/new"))), Errno::ROFS);
    assert_eq!(errno(live.delete(child)), Errno::ROFS);
    assert_eq!(errno(live.delete(a)), Errno::NOTEMPTY);
    live.set_read_only(a, false).unwrap();
    live.set_read_only(child, true).unwrap();
    live.delete(child).unwrap();
    live.delete(a).unwrap();
    assert_eq!(errno(live.delete(a)), Errno::NOENT);
    assert_eq!(errno(live.set_read_only(a, true)), Errno::NOENT);
    assert_eq!(live.names(p("")).unwrap(), ["dir"]);
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_children_are_found_by_id_whatever_their_names() {
    let disk = Disk::new();
    let mut live = disk.live();
    let p = Path::new;
    for sibling in ["nix", "persist", "root"] {
        live.create(p(sibling)).unwrap();
    }
    let mut expected = Vec::new();
    for name in hostile() {
        let dir = Path::new("dir ü").join(name);
        write(&live, p("root").join(&dir).join("x"), "x");
        let (outer, inner) = (dir.join(name), dir.join(name).join(name));
        live.create(&p("root").join(&outer)).unwrap();
        live.create(&p("root").join(&inner)).unwrap();
        expected.extend([outer, inner]);
    }
    let root = subvolume(&live, "root").id;
    let children = live.children(root).unwrap();
    let mut paths: Vec<PathBuf> = children.iter().map(|child| child.path.clone()).collect();
    for (n, child) in children.iter().enumerate() {
        assert_eq!(subvolume(&live, p("root").join(&child.path)).id, child.id);
        let before = children[..n].iter().any(|other| other.id == child.parent);
        assert!(before || child.parent == root, "a child before its parent");
    }
    paths.sort();
    expected.sort();
    assert_eq!(paths, expected);
    let view = live.open(p("root")).unwrap();
    let mut grafts: Vec<&Path> = view.grafts.iter().map(|graft| graft.at.as_path()).collect();
    grafts.sort();
    assert_eq!(grafts, expected);
    assert!(!view.is_frozen);
    // A directory of the subvolume: only what lies below it.
    let inside = live.open(&p("root/dir ü").join(hostile()[0])).unwrap();
    let name = hostile()[0];
    let grafts: Vec<PathBuf> = inside.grafts.iter().map(|g| g.at.clone()).collect();
    assert_eq!(grafts, [name.to_owned(), name.join(name)]);
    drop((view, inside));
    for child in children.iter().rev() {
        live.delete(child.id).unwrap();
    }
    assert_eq!(live.children(root).unwrap(), []);
    assert_eq!(live.names(p("")).unwrap(), ["nix", "persist", "root"]);
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_the_default_subvolume_cannot_be_deleted() {
    let disk = Disk::new();
    let mut live = disk.live();
    live.create(Path::new("a")).unwrap();
    assert_eq!(live.filesystem().unwrap().default_subvolume, TOP_LEVEL);
    let id = subvolume(&live, "a").id;
    assert_eq!(live.set_default(id).unwrap(), Outcome::Made);
    assert_eq!(live.set_default(id).unwrap(), Outcome::AlreadySo);
    assert_eq!(live.filesystem().unwrap().default_subvolume, id);
    assert_eq!(errno(live.delete(id)), Errno::PERM);
    assert_eq!(errno(live.set_default(9999)), Errno::NOENT);
    live.set_default(TOP_LEVEL).unwrap();
    live.delete(id).unwrap();
    let filesystem = live.filesystem().unwrap();
    assert!(!filesystem.is_read_only);
    let shown = Command::new("btrfs")
        .args(["filesystem", "show"])
        .arg(disk.device())
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&shown.stdout).contains(&filesystem.uuid));
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_swapfile_in_use_holds_its_subvolume() {
    let disk = Disk::new();
    let mut live = disk.live();
    let p = Path::new;
    live.create(p("swap")).unwrap();
    let at = disk.outside("mnt");
    let guard = disk.mount("swap", &at);
    let file = at.join("swapfile");
    swap_on(&file);
    let id = subvolume(&live, "swap").id;
    let (deleted, copied) = (live.delete(id), live.snapshot(p("swap"), p("copy"), true));
    swap_off(&file);
    assert_eq!(errno(deleted), Errno::PERM);
    assert_eq!(errno(copied), Errno::TXTBSY);
    drop(guard);
    live.delete(id).unwrap();
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_snapshot_can_be_made_whole_again() {
    let disk = Disk::new();
    let mut live = disk.live();
    let p = Path::new;
    live.create(p("a")).unwrap();
    live.create(p("a/nested")).unwrap();
    write(&live, "a/nested/file", "x");
    live.snapshot(p("a"), p("copy"), false).unwrap();
    assert_eq!(live.node(p("copy/nested")).unwrap(), Node::Directory);
    let view = live.open(p("copy")).unwrap();
    let hole = path_of(&view).join("nested");
    assert_eq!(fs::metadata(&hole).unwrap().ino(), 2);
    // What stands there is of no use: nothing can be made in it.
    assert!(fs::write(hole.join("file"), "x").is_err());
    assert_eq!(
        live.remove_directory(p("copy/nested")).unwrap(),
        Outcome::Made
    );
    live.snapshot(p("a/nested"), p("copy/nested"), false)
        .unwrap();
    assert_eq!(read(&live, "copy/nested/file").unwrap(), "x");
}
