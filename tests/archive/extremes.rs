//! What filesystems can hold at most, added to a tree: a filesystem that cannot hold something
//! refuses it here, and then the tree is without.

use crate::hostile::Random;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags, mkdirat, mknodat, openat,
};
use state_linux::metadata::Flags;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;

/// What is left out on purpose, and so has to be named.
pub(crate) const LEFT_OUT: [&str; 3] = ["x/char", "x/block", "x/socket"];

/// Adds them in `top/x`.
pub(crate) fn add(top: &Path, random: &mut Random) {
    let dir = top.join("x");
    fs::create_dir(&dir).unwrap();
    holes(&dir, random);
    attributes(&dir);
    flags(&dir);
    links(&dir);
    deep(&dir);
    for (name, kind) in [
        ("char", FileType::CharacterDevice),
        ("block", FileType::BlockDevice),
        ("socket", FileType::Socket),
    ] {
        let device = rustix::fs::makedev(1, 3);
        mknodat(rustix::fs::CWD, dir.join(name), kind, Mode::RUSR, device).unwrap();
    }
    fs::create_dir(dir.join("empty")).unwrap();
    times(&dir);
}

fn holes(dir: &Path, random: &mut Random) {
    const BLOCK: u64 = 4096;
    let byte = 1 + random.below(255) as u8;
    let make = |name: &str, size: u64, data: &[(u64, u64)]| {
        let file = File::create_new(dir.join(name)).unwrap();
        file.set_len(size).unwrap();
        for (at, length) in data {
            let bytes = vec![byte; *length as usize];
            file.write_all_at(&bytes, *at).unwrap();
        }
    };
    make("hole", 64 << 20, &[]);
    make("hole-odd", (1 << 20) + 1, &[]);
    make("hole-first", 1 << 20, &[((1 << 20) - 1, 1)]);
    make("hole-last", 1 << 20, &[(0, 1)]);
    make(
        "hole-middle",
        1 << 20,
        &[(0, BLOCK), ((1 << 20) - BLOCK, BLOCK)],
    );
    let many: Vec<_> = (0..700).map(|n| (n * 2 * BLOCK, 1)).collect();
    make("extents", 700 * 2 * BLOCK, &many);
    let some: Vec<_> = (0..20)
        .map(|_| (random.below(4 << 20), 1 + random.below(3 * BLOCK)))
        .collect();
    make("extents-odd", 5 << 20, &some);
}

fn attributes(dir: &Path) {
    let (file, link, fifo) = (dir.join("file"), dir.join("link"), dir.join("fifo"));
    fs::write(&file, "x").unwrap();
    symlink("nowhere", &link).unwrap();
    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, mode, 0).unwrap();
    let mut set = 0;
    for path in [dir, &file, &link, &fifo] {
        for (name, value) in [
            ("trusted.overlay.opaque".to_owned(), b"y".to_vec()),
            ("trusted.empty".to_owned(), Vec::new()),
            (
                "security.state-test".to_owned(),
                b"not ours to restore".to_vec(),
            ),
            ("user.lines".to_owned(), b"\0\n=\n\xff\0".to_vec()),
            (format!("user.{}", "n".repeat(250)), b"long name".to_vec()),
            ("user.large".to_owned(), vec![7; 3000]),
            ("user.larger".to_owned(), vec![8; 15_000]),
            ("user.largest".to_owned(), vec![9; 64 << 10]),
        ] {
            let flags = XattrFlags::empty();
            set += usize::from(rustix::fs::lsetxattr(path, name, &value, flags).is_ok());
        }
    }
    assert!(set >= 12, "only {set} attributes: not run as root?");
}

fn flags(dir: &Path) {
    for text in [
        "append-only",
        "dirsync",
        "immutable",
        "no-atime",
        "no-cow",
        "no-dump",
        "sync",
        "compress",
        "no-compress",
        "immutable,no-dump",
        "append-only,no-atime",
        "top-dir",
        "journal-data,no-dump",
        "immutable,no-cow,no-dump",
        "project-inherit",
    ] {
        let flags: Flags = text.parse().unwrap();
        let (file, sub) = (dir.join(format!("f-{text}")), dir.join(format!("d-{text}")));
        let open = File::create_new(&file).unwrap();
        let before = flags.within(Flags::BEFORE_CONTENT);
        refusable(before.add_to(&open));
        open.write_all_at(text.as_bytes(), 0).unwrap();
        refusable(flags.without(Flags::BEFORE_CONTENT).add_to(&open));
        fs::create_dir(&sub).unwrap();
        fs::write(sub.join("inside"), text).unwrap();
        refusable(flags.add_to(File::open(&sub).unwrap()));
    }
}

/// A filesystem that refuses a flag has something without it.
fn refusable<T>(result: std::io::Result<T>) {
    if let Err(error) = result {
        let errno = rustix::io::Errno::from_io_error(&error).unwrap();
        use rustix::io::Errno;
        let refusals = [Errno::OPNOTSUPP, Errno::INVAL, Errno::NOTTY, Errno::PERM];
        assert!(refusals.contains(&errno), "{error}");
    }
}

/// Takes off what keeps a tree from being removed.
pub(crate) fn unseal(top: &Path) {
    let Ok(entries) = fs::read_dir(top.join("x")) else {
        return;
    };
    for entry in entries {
        let entry = entry.unwrap();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.contains("append-only") || name.contains("immutable") {
            let open = File::open(entry.path()).unwrap();
            refusable(Flags::SEALS.remove_from(open));
        }
    }
}

/// Many names of one inode, in directories before and behind the first.
fn links(dir: &Path) {
    fs::create_dir(dir.join("a")).unwrap();
    fs::create_dir(dir.join("z")).unwrap();
    let link = |from: &str, to: String| fs::hard_link(dir.join(from), dir.join(to)).unwrap();
    for (what, name) in [("file", "f"), ("link", "l"), ("fifo", "p")] {
        for n in 0..20 {
            link(
                what,
                format!("{}/{name}{n}", if n % 2 == 0 { "a" } else { "z" }),
            );
        }
    }
}

/// A path of 4095 bytes, the longest there is.
fn deep(dir: &Path) {
    let mut open: OwnedFd = File::open(dir).unwrap().into();
    let (mut left, name) = (4095 - "x/".len(), "d".repeat(255));
    while left > 255 {
        mkdirat(&open, &name[..200], Mode::RWXU).unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        open = openat(&open, &name[..200], flags, Mode::empty()).unwrap();
        left -= 201;
    }
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::EXCL;
    openat(&open, &name[..left], flags, Mode::RUSR).unwrap();
}

fn times(dir: &Path) {
    for (n, (seconds, nanoseconds)) in [
        (0, 0),
        (-1, 999_999_999),
        (-2_147_483_648, 1), // as early as 32 bits go
        (-2_208_988_800, 0), // 1900
        (4_294_967_296, 123_456_789),
        (15_032_385_535, 999_999_999), // the last second of ext4
        (15_032_385_536, 0),
        (253_402_300_800, 5), // the year 10000
    ]
    .into_iter()
    .enumerate()
    {
        let path = dir.join(format!("time{n}"));
        fs::write(&path, "").unwrap();
        let time = Timespec {
            tv_sec: seconds,
            tv_nsec: nanoseconds,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::utimensat(rustix::fs::CWD, path, &times, AtFlags::empty()).unwrap();
    }
}
