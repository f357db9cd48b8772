//! Trees that are legal and that nobody likes, from a seed.

use rustix::fs::{AtFlags, FileType, Mode, Timespec, Timestamps, XattrFlags, mknodat};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

/// A small generator of numbers; equal seeds give equal numbers.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

const NAMES: &[&[u8]] = &[
    b"plain",
    b" ",
    b"-rf",
    b"...",
    b"a\nb",
    b"\n",
    b"back\\slash",
    b"cr\r",
    b"tab\t",
    b"\x01\x7f",
    b"quote\"'`$(x)",
    b"\xff\xfe not utf-8",
    "größe — 漢字".as_bytes(),
    b"=equals=",
    b"%25",
    b"25 linkpath=..\n",
    b".state",
    b"*?[",
];

fn name(random: &mut Random) -> Vec<u8> {
    match random.below(8) {
        0 => vec![b'n'; 255],
        1 => [&[0xf0, 0x9f, 0x98, 0x80][..]].concat().repeat(63), // 252 bytes
        2 => vec![b'm'; 90 + random.below(30) as usize],          // around ustar's 100
        3 | 4 => format!("n{}", random.below(1000)).into_bytes(),
        _ => random.pick(NAMES).to_vec(),
    }
}

/// Makes a tree of about `entries` entries in `top`, an empty directory.
pub(crate) fn grow(top: &Path, seed: u64, entries: u64) {
    grow_for(top, seed, entries, &|_| true);
}

/// What some tools have their own ideas of.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Oddity {
    /// A time before 1970 that is no whole second: libarchive counts its fraction the other way.
    FractionBefore1970,
    /// `=` or `%` in the name of an attribute: libarchive does not undo GNU tar's spelling.
    OddAttributeName,
}

/// The same with only the oddities that are wanted.
pub(crate) fn grow_for(top: &Path, seed: u64, entries: u64, wants: &dyn Fn(Oddity) -> bool) {
    let is_root = rustix::process::geteuid().is_root();
    let mut random = Random(seed);
    let random = &mut random;
    let mut directories = vec![PathBuf::new()];
    let mut others: Vec<PathBuf> = Vec::new();
    for _ in 0..entries {
        let parent = random.pick(&directories).clone();
        let path = parent.join(OsStr::from_bytes(&name(random)));
        let is_too_long = path.as_os_str().len() > 2000;
        let reserved = path == Path::new(".state");
        let full = top.join(&path);
        if is_too_long || reserved || full.symlink_metadata().is_ok() {
            continue;
        }
        match random.below(12) {
            0..=3 => {
                fs::create_dir(&full).unwrap();
                directories.push(path);
            }
            4..=7 => {
                content(&full, random);
                others.push(path);
            }
            8 => {
                let target: &[u8] = match random.below(6) {
                    0 => b"/etc/shadow",
                    1 => b"../../../..",
                    2 => b"dangling\n\xff",
                    3 => &[b't'; 300],
                    4 => b".",
                    _ => b"plain",
                };
                symlink(OsStr::from_bytes(target), &full).unwrap();
                others.push(path);
            }
            9 => {
                let mode = Mode::RUSR | Mode::WUSR;
                mknodat(rustix::fs::CWD, &full, FileType::Fifo, mode, 0).unwrap();
                others.push(path);
            }
            _ if others.is_empty() => {}
            _ => {
                let target = top.join(random.pick(&others));
                let flags = AtFlags::empty();
                rustix::fs::linkat(rustix::fs::CWD, target, rustix::fs::CWD, &full, flags).unwrap();
            }
        }
    }
    // Attributes last and deepest first: times stay as they are set.
    for path in others.iter().chain(directories.iter().rev()) {
        decorate(&top.join(path), random, is_root, wants);
    }
}

fn content(path: &Path, random: &mut Random) {
    let file = File::create_new(path).unwrap();
    let byte = random.below(256) as u8;
    match random.below(8) {
        0 => {}
        1 => file.set_len(random.below(3 << 20)).unwrap(), // all hole
        2 => {
            file.set_len(8 << 20).unwrap();
            for _ in 0..random.below(20) {
                let at = random.below(8 << 20);
                file.write_all_at(&vec![byte; 5000], at.min((8 << 20) - 5000))
                    .unwrap();
            }
        }
        3 => {
            let bytes: Vec<u8> = (0..3 << 20)
                .map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
                .collect();
            file.write_all_at(&bytes, 0).unwrap();
        }
        4 => file.write_all_at(&vec![byte; 512], 0).unwrap(),
        _ => file
            .write_all_at(&vec![byte; random.below(4000) as usize], 0)
            .unwrap(),
    }
}

fn decorate(path: &Path, random: &mut Random, is_root: bool, wants: &dyn Fn(Oddity) -> bool) {
    let stat = path.symlink_metadata().unwrap();
    let is_link = stat.file_type().is_symlink();
    let (is_file, is_dir) = (stat.is_file(), stat.is_dir());
    if is_root {
        let ids = [0, 7, 1000, 65534, 2_097_151, 2_097_152, 4_000_000_000];
        lchown(path, Some(*random.pick(&ids)), Some(*random.pick(&ids))).unwrap();
    }
    let set = |name: &str, value: &[u8]| {
        rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).is_ok()
    };
    if (is_file || is_dir) && random.one_in(3) {
        let long = vec![b'v'; random.below(2000) as usize];
        set("user.empty", b"");
        set("user.bytes", b"\x00\n25 linkpath=/etc/shadow\n\xff");
        if wants(Oddity::OddAttributeName) {
            set("user.a=b%25%3D", b"name");
        }
        set("user.long", &long);
    }
    if is_root && random.one_in(3) {
        set("trusted.everywhere", b"on every type");
    }
    let acl: &[&str] = &[
        "user::rw-,user:7:rwx,group::r--,mask::rwx,other::---",
        "user::rwx,user:0:---,user:3000000:r-x,group::---,group:7:r--,mask::r-x,other::r--",
    ];
    if !is_link && random.one_in(3) {
        let acl: state_linux::acl::Acl = random.pick(acl).parse().unwrap();
        set(state_linux::acl::ACCESS, &acl.to_bytes());
        if is_dir {
            set(state_linux::acl::DEFAULT, &acl.to_bytes());
        }
    } else if !is_link {
        let modes = [
            0o644, 0o600, 0o755, 0o4755, 0o2755, 0o6711, 0o1777, 0o000, 0o700,
        ];
        let mode = *random.pick(&modes);
        // An ordinary user could not look into its own directory again.
        let mode = if is_root { mode } else { mode & 0o777 | 0o700 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    if is_root && is_file && random.one_in(4) {
        let capability =
            b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
        assert!(set("security.capability", capability));
    }
    let seconds = *random.pick(&[0, -1, -1_000_000_000, 1_700_000_000, 1, 4_000_000_000]);
    let mut nanoseconds = *random.pick(&[0, 1, 999_999_999, 500_000_000]);
    if seconds < 0 && !wants(Oddity::FractionBefore1970) {
        nanoseconds = 0;
    }
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}
