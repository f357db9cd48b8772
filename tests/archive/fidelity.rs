//! Everything that a tree can hold, from each filesystem to each other: it comes back equal, or
//! what the destination cannot hold is reported by name. ZFS in a guest (`tests/vm/zfs`).
//!
//! The trees are compared by a program that shares nothing with `state`.

use super::common::*;
use super::hostile::{self, Random};
use super::roundtrip::extract;
use super::{extremes, peers};
use state::archive::extract::Aspect;
use state_linux::loopback::Loop;
use state_linux::mount::{Attributes, Guard, detached, tmpfs};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A filesystem, mounted; gone when it is dropped.
struct Disk {
    at: PathBuf,
    guard: Option<Guard>,
    device: Option<Loop>,
    pool: Option<Pool>,
}

/// A pool of ZFS; destroyed when it is dropped.
struct Pool(String);

impl Pool {
    fn new(name: &str, image: &Path, at: &Path, properties: &[&str]) -> Self {
        File::create(image).unwrap().set_len(512 << 20).unwrap();
        let mount = format!("mountpoint={}", at.display());
        let properties = properties.iter().copied().chain([&*mount]);
        let options = properties.flat_map(|property| ["-O", property]);
        let made = (Command::new("zpool").arg("create").args(options))
            .args([OsStr::new(name), image.as_os_str()])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        Self(name.to_owned())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let destroyed = Command::new("zpool")
            .args(["destroy", "-f", &self.0])
            .status();
        let is_gone = destroyed.is_ok_and(|status| status.success());
        assert!(is_gone || std::thread::panicking(), "{} is in use", self.0);
    }
}

/// The properties of a pool, where this kind is one.
fn zfs(kind: &str) -> Option<&'static [&'static str]> {
    match kind {
        "zfs" => Some(&["xattr=sa", "acltype=posix"]), // as a root should have them
        "zfs-dir" => Some(&["xattr=dir", "acltype=posix"]), // attributes as files
        "zfs-bare" => Some(&[]),                       // as the pool's maker left it: no ACLs
        _ => None,
    }
}

impl Disk {
    fn new(dir: &Path, kind: &str, name: &str) -> Self {
        let at = dir.join(name);
        fs::create_dir(&at).unwrap();
        let image = dir.join(format!("{name}.img"));
        if let Some(properties) = zfs(kind) {
            let pool = Some(Pool::new(name, &image, &at, properties));
            fs::create_dir(at.join("tree")).unwrap();
            let (guard, device) = (None, None);
            return Self {
                at,
                guard,
                device,
                pool,
            };
        }
        let (mount, device) = match kind {
            "tmpfs" => {
                let size = Some(OsStr::new("256m"));
                (tmpfs(&[("size", size)], Attributes::empty()).unwrap(), None)
            }
            kind => {
                File::create(&image).unwrap().set_len(320 << 20).unwrap();
                let mkfs = format!("mkfs.{kind}");
                // Small images get small blocks and inodes: the attributes need room.
                let options: &[&str] = match kind {
                    "ext4" => &["-q", "-b", "4096", "-I", "256"],
                    _ => &["-q"],
                };
                let image_name = image.to_str().unwrap();
                let made = peers::run(dir, &mkfs, &[options, &[image_name]].concat(), None);
                assert!(made.status.success(), "{mkfs}: {made:?}");
                let device = Loop::attach(&image, false).unwrap();
                let source = Some(device.path().as_os_str());
                let mount = detached(kind, &[("source", source)], Attributes::empty()).unwrap();
                (mount, Some(device))
            }
        };
        let guard = Some(Guard::attach(mount, &at).unwrap());
        fs::create_dir(at.join("tree")).unwrap();
        let pool = None;
        Self {
            at,
            guard,
            device,
            pool,
        }
    }

    fn tree(&self) -> PathBuf {
        self.at.join("tree")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.guard.take());
        drop(self.device.take());
        drop(self.pool.take());
    }
}

/// Prints how `b` differs from `a`: a line each, the path in hexadecimal and the aspect.
const COMPARE: &str = r#"
import fcntl, hashlib, os, stat, struct, sys
FLAGS = 0x20C3C4FF | 0x800000  # those that chattr sets and archives keep
def flags(fd):
    try: return struct.unpack("i", fcntl.ioctl(fd, 0x80086601, b"\0" * 4) [:4])[0] & FLAGS
    except OSError: return 0
def walk(top):
    found, inodes = {}, {}
    def visit(name, path, dirfd):
        os.fchdir(dirfd)
        s = os.lstat(name)
        kind = stat.S_IFMT(s.st_mode)
        fact = {"kind": kind, "owner": (s.st_uid, s.st_gid), "time": s.st_mtime_ns}
        if kind != stat.S_IFLNK: fact["mode"] = stat.S_IMODE(s.st_mode)
        else: fact["target"] = os.readlink(name)
        for key in os.listxattr(name, follow_symlinks=False):
            value = os.getxattr(name, key, follow_symlinks=False)
            key = {b"system.posix_acl_access": "acl", b"system.posix_acl_default": "default-acl"}.get(
                os.fsencode(key), "xattr:" + os.fsencode(key).hex())
            if not key.startswith("xattr:" + b"trusted.SGI_ACL".hex()): fact[key] = value
        if kind != stat.S_IFDIR and s.st_nlink > 1:
            fact["links"] = inodes.setdefault(s.st_ino, path)
            if fact["links"] != path:  # the same inode: all else was said of its first name
                found[path] = {"links": fact["links"]}
                return
        if kind in (stat.S_IFREG, stat.S_IFDIR):
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW)
            fact["flags"] = flags(fd)
            if kind == stat.S_IFREG:
                fact["content"] = hashlib.file_digest(os.fdopen(os.dup(fd), "rb"), "sha256").digest()
                fact["size"] = s.st_size
            else:
                for child in sorted(os.listdir(fd), key=os.fsencode):
                    visit(child, path + b"/" + os.fsencode(child) if path else os.fsencode(child), fd)
            os.close(fd)
        found[path] = fact
    fd = os.open(top, os.O_RDONLY)
    visit(".", b"", fd)
    return found
a, b = walk(sys.argv[1]), walk(sys.argv[2])
left_out = set(map(os.fsencode, sys.argv[3:]))
for path in sorted(a.keys() | b.keys()):
    if path in left_out:
        assert path in a and path not in b
        continue
    x, y = a.get(path), b.get(path)
    if x is None or y is None:
        print(path.hex(), "there")
        continue
    for aspect in sorted(x.keys() | y.keys()):
        if x.get(aspect) != y.get(aspect): print(path.hex(), aspect)
"#;

fn differences(from: &Path, to: &Path) -> BTreeSet<(Vec<u8>, String)> {
    let (from, to) = (from.to_str().unwrap(), to.to_str().unwrap());
    let args = [&["-c", COMPARE, from, to], &extremes::LEFT_OUT[..]].concat();
    let told = peers::quiet(peers::run(Path::new("/"), "python3", &args, None));
    let told = String::from_utf8(told).unwrap();
    let lines = told.lines().map(|line| {
        let (path, aspect) = line.split_once(' ').unwrap();
        let digits = path.as_bytes().chunks(2);
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
        (
            digits.map(|pair| byte(pair).unwrap()).collect(),
            aspect.to_owned(),
        )
    });
    lines.collect()
}

/// The aspect in the words of the comparer.
fn word(aspect: &Aspect) -> String {
    match aspect {
        Aspect::Owner => "owner".into(),
        Aspect::Mode => "mode".into(),
        Aspect::Time => "time".into(),
        Aspect::Acl => "acl".into(),
        Aspect::DefaultAcl => "default-acl".into(),
        Aspect::Flags => "flags".into(),
        Aspect::Links => "links".into(),
        Aspect::Attribute(name) => format!("xattr:{}", state::archive::manifest::hex(name)),
    }
}

/// Archives a tree of this seed that `from` holds, and restores it to each of the others: in what
/// they differ, and no more, is reported. Says what was lost on a filesystem of the same kind.
fn carry(from: &str, to: &[&str], seed: u64, entries: u64) -> BTreeSet<String> {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::new(dir.path(), from, "from");
    hostile::grow(&disk.tree(), seed, entries);
    extremes::add(&disk.tree(), &mut Random(seed));
    let made = archive(&[("/persist", &disk.tree())]);
    assert_eq!(made.written.incomplete, [], "{from}");
    let left_out = made.written.left_out.iter().map(|m| &m.path.0[2..]);
    let left_out: BTreeSet<_> = left_out.collect();
    let mut wanted: BTreeSet<_> = extremes::LEFT_OUT.iter().map(|p| p.as_bytes()).collect();
    if from == "ext4" || zfs(from).is_some() {
        wanted.insert(b"x/d-project-inherit"); // its number; btrfs and tmpfs have no such flag
    }
    assert_eq!(left_out, wanted, "{from}");
    let mut lost = BTreeSet::new();
    for other in to {
        let to = Disk::new(dir.path(), other, &format!("to-{other}"));
        let reported: BTreeSet<_> = (extract(&made, 0, &to.tree()).into_iter())
            .map(|loss| (loss.path, word(&loss.aspect)))
            .collect();
        let found = differences(&disk.tree(), &to.tree());
        let shown = |(path, aspect): &(Vec<u8>, String)| {
            format!("{}: {aspect}", String::from_utf8_lossy(path))
        };
        let silent: Vec<_> = found.difference(&reported).map(shown).collect();
        assert_eq!(silent, [""; 0], "silently lost, {from} to {other}");
        let untrue: Vec<_> = reported.difference(&found).map(shown).collect();
        assert_eq!(untrue, [""; 0], "not lost at all, {from} to {other}");
        let aspects = found.into_iter().map(|(_, aspect)| aspect);
        lost.extend(aspects.filter(|_| from == *other));
        extremes::unseal(&to.tree());
    }
    extremes::unseal(&disk.tree());
    lost
}

/// A filesystem holds what it held; of other machines' security attributes nothing comes back.
fn all_that_is_lost() -> BTreeSet<String> {
    let foreign = Aspect::Attribute(b"security.state-test".to_vec());
    BTreeSet::from([word(&foreign)])
}

#[test]
#[ignore = "needs root, loop devices and python3"]
fn loop_every_filesystem_to_every_other_one() {
    for (seed, from) in (300..).zip(["btrfs", "ext4", "tmpfs"]) {
        let lost = carry(from, &["btrfs", "ext4", "tmpfs", "xfs"], seed, 120);
        assert_eq!(lost, all_that_is_lost(), "{from}");
    }
}

#[test]
#[ignore = "needs root, real ZFS and python3"]
fn vm_zfs_to_zfs_and_from_elsewhere() {
    let lost = carry("zfs", &["zfs", "zfs-bare"], 310, 60);
    assert_eq!(lost, all_that_is_lost());
    carry("ext4", &["zfs-dir"], 311, 60);
}
