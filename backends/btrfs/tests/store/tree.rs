//! What a walk reads from a snapshot's tree, against what the kernel shows of the same snapshot.

use super::Store;
use rustix::fs::{
    FallocateFlags, FileType, IFlags, Mode, OFlags, XattrFlags, fallocate, ioctl_setflags,
    lsetxattr, mknodat, open, setxattr,
};
use state_api::{SnapshotName, SnapshotStore, View};
use state_linux::stat::Kind;
use state_linux::tree::{Entry, Walk};
use state_testing::suite::store::StoreFixture;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;

/// Everything that a tree can hold, and some of it that is not told plainly.
fn fill(top: &Path) {
    let dir = top.join("dir");
    fs::create_dir_all(dir.join("empty")).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o2751)).unwrap();
    let write = |name: &str, content: &[u8]| fs::write(dir.join(name), content).unwrap();
    write("nothing", b"");
    write("small", b"content");
    write("line\nfeed", &[b'x'; 2000]);
    write("sector", &[b'x'; 4096]);
    write("large", &vec![b'y'; 300_000]);
    fs::write(dir.join(OsStr::from_bytes(b"\xff")), "no text").unwrap();
    // Sorted by bytes, `dir-` stands before what is below `dir`.
    fs::write(top.join("dir-"), "beside").unwrap();

    // Holes: in front, behind, and of a file that was small.
    let hole = File::create(dir.join("hole")).unwrap();
    hole.write_all_at(b"end", 1 << 20).unwrap();
    let grown = File::create(dir.join("grown")).unwrap();
    grown.write_all_at(b"begin", 0).unwrap();
    grown.sync_all().unwrap();
    grown.set_len(1 << 20).unwrap();
    File::create(dir.join("all hole"))
        .unwrap()
        .set_len(100)
        .unwrap();
    let room = File::create(dir.join("room")).unwrap();
    fallocate(&room, FallocateFlags::empty(), 0, 10_000).unwrap();
    let cut = File::create(dir.join("cut")).unwrap();
    cut.write_all_at(&[b'z'; 1000], 0).unwrap();
    cut.sync_all().unwrap();
    cut.set_len(10).unwrap();

    fs::hard_link(dir.join("small"), top.join("other name")).unwrap();
    symlink("../target", dir.join("link")).unwrap();
    symlink("x".repeat(1000), dir.join("long link")).unwrap();
    let at = File::open(&dir).unwrap();
    let mode = Mode::from_raw_mode(0o4640);
    mknodat(&at, "pipe", FileType::Fifo, mode, 0).unwrap();
    mknodat(&at, "socket", FileType::Socket, mode, 0).unwrap();
    let zero = rustix::fs::makedev(1, 5);
    mknodat(&at, "device", FileType::CharacterDevice, mode, zero).unwrap();

    let set = |path: &Path, name: &str, value: &[u8]| {
        setxattr(path, name, value, XattrFlags::empty()).unwrap();
    };
    let flags = |name: &str, flags: IFlags| {
        let path = dir.join(name);
        fs::write(&path, "").unwrap();
        let open = File::open(&path).unwrap();
        ioctl_setflags(&open, flags).unwrap();
    };
    for (n, flag) in [
        IFlags::APPEND,
        IFlags::IMMUTABLE,
        IFlags::NODUMP,
        IFlags::NOATIME,
        IFlags::SYNC,
        IFlags::DIRSYNC,
        IFlags::NOCOW,
        IFlags::COMPRESSED,
        IFlags::from_bits_retain(0x400), // FS_NOCOMP_FL
    ]
    .into_iter()
    .enumerate()
    {
        flags(&format!("flag {n}"), flag);
    }
    let packed = dir.join("packed");
    fs::write(&packed, "").unwrap();
    ioctl_setflags(File::open(&packed).unwrap(), IFlags::COMPRESSED).unwrap();
    fs::write(&packed, [b'p'; 1500]).unwrap();
    set(&dir.join("small"), "user.a", b"1\n");
    set(&dir.join("small"), "user.empty", b"");
    set(&dir.join("small"), "trusted.long", &[7; 1000]);
    set(&dir, "user.of a directory", b"2");
    let acl = |who: u32| {
        let entries = [
            (1_u16, 6_u16, u32::MAX),
            (2, 4, who),
            (4, 4, u32::MAX),
            (16, 6, u32::MAX),
            (32, 4, u32::MAX),
        ];
        let mut bytes = 2_u32.to_le_bytes().to_vec();
        for (tag, mode, who) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(mode.to_le_bytes());
            bytes.extend(who.to_le_bytes());
        }
        bytes
    };
    set(&dir.join("small"), "system.posix_acl_access", &acl(1000));
    set(&dir, "system.posix_acl_default", &acl(1001));
    // cap_net_bind_service, permitted; the kernel may show one otherwise than it is stored.
    write("capable", b"#!");
    let capability = [&[0, 0, 0, 2][..], &[0, 4, 0, 0], &[0; 12]].concat();
    set(&dir.join("capable"), "security.capability", &capability);
    let name = "trusted.of a link";
    lsetxattr(dir.join("link"), name, b"3", XattrFlags::empty()).unwrap();
}

fn walk(view: &View) -> Vec<Entry> {
    Walk::new(view).map(|entry| entry.unwrap()).collect()
}

fn copy(view: &View) -> View {
    let mut copy = View::live(view.dir.try_clone().unwrap());
    for graft in &view.grafts {
        copy.grafts.push(state_api::Graft {
            at: graft.at.clone(),
            dir: graft.dir.try_clone().unwrap(),
        });
    }
    copy
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_snapshots_tree_says_what_the_kernel_shows() {
    let mut fixture = Store::volume(Path::new("data"));
    fill(&fixture.path);
    assert!(fixture.nest("dir/nested"));
    fs::write(fixture.path.join("dir/nested/inner"), "in it").unwrap();
    // Of the nested one's number there is an inode, too.
    for n in 0..64 {
        fs::write(fixture.path.join(format!("many {n}")), n.to_string()).unwrap();
    }
    let mut store = fixture.open();
    let name: SnapshotName = "one".parse().unwrap();
    store.create(&name).unwrap();
    let view = store.open(&name).unwrap();
    assert!(view.is_frozen);
    let told = walk(&view);
    // Of what may change the kernel is asked.
    let shown = walk(&copy(&view));
    assert_eq!(told.len(), shown.len());
    let mut contents = 0;
    for (told, shown) in told.iter().zip(&shown) {
        assert_eq!(told.path, shown.path);
        let (mut a, mut b) = (told.stat, shown.stat);
        // The one thing that looking changes where it is allowed to.
        (a.accessed, b.accessed) = Default::default();
        if a.kind == Kind::Directory {
            // A directory that is a mount's top says so.
            (a.is_mount_point, b.is_mount_point) = (false, false);
        }
        assert_eq!(a, b, "{:?}", told.path);
        assert_eq!(told.boundary, shown.boundary, "{:?}", told.path);
        let metadata = |entry: &Entry| entry.metadata().unwrap();
        if !matches!(a.kind, Kind::CharDevice | Kind::Socket) {
            assert_eq!(metadata(told), metadata(shown), "{:?}", told.path);
        }
        if a.kind == Kind::Symlink {
            let target = |entry: &Entry| entry.link_target().unwrap();
            assert_eq!(target(told), target(shown), "{:?}", told.path);
        }
        assert_eq!(shown.content(), None);
        if let Some(content) = told.content() {
            contents += 1;
            let mut there = Vec::new();
            let mut open = File::from(shown.open().unwrap());
            open.read_to_end(&mut there).unwrap();
            assert_eq!(content, there, "{:?}", told.path);
        }
    }
    // It was the tree that was read.
    let names: Vec<_> = (told.iter())
        .filter(|entry| entry.content().is_some_and(|content| !content.is_empty()))
        .map(|entry| entry.name().to_string_lossy())
        .filter(|name| !name.starts_with("many"))
        .collect();
    assert!(names.contains(&"small".into()), "{names:?}");
    assert!(names.contains(&"inner".into()), "{names:?}");
    assert!(!names.contains(&"large".into()), "{names:?}");
    assert!(!names.contains(&"packed".into()), "{names:?}");
    assert!(contents > 64, "{contents}");
    for n in 0..2 {
        let sealed = fixture.path.join(format!("dir/flag {n}"));
        ioctl_setflags(
            open(&sealed, OFlags::RDONLY, Mode::empty()).unwrap(),
            IFlags::empty(),
        )
        .unwrap();
    }
}
