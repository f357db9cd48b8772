//! What other readers see in an archive.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use sha2::{Digest as _, Sha256};

/// What is seen, by path.
pub(crate) type Tree = BTreeMap<Vec<u8>, Entry>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File { size: u64, sha256: String },
    Symlink { target: Vec<u8> },
    Link { target: Vec<u8> },
    Fifo,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
}

/// What each peer sees in each of the archives `0.tar.zst` and so on.
pub(crate) fn see(dir: &Path, count: usize) -> [(&'static str, Vec<Result<Tree, String>>); 3] {
    unpack(dir, count);
    thread::scope(|scope| {
        // The two that write trees one after the other: there are two cores in all.
        let trees = scope.spawn(|| {
            let tar = [
                "tar",
                "--warning=no-unknown-keyword",
                "--warning=no-timestamp",
                "-xpf",
            ];
            // Behind `p`, which would bring them back.
            let bsdtar = ["bsdtar", "-xp", "--no-xattrs", "-f"];
            (extracted(dir, count, &tar), extracted(dir, count, &bsdtar))
        });
        let python = listed(dir, count);
        let (tar, bsdtar) = trees.join().unwrap();
        [("GNU tar", tar), ("bsdtar", bsdtar), ("Python", python)]
    })
}

fn unpack(dir: &Path, count: usize) {
    let names: Vec<String> = (0..count).map(|n| format!("{n}.tar.zst")).collect();
    for names in names.chunks(500) {
        let mut zstd = Command::new("zstd");
        let done = zstd
            .args(["-dq", "--"])
            .args(names)
            .current_dir(dir)
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success() && stderr.is_empty(), "zstd: {stderr}");
    }
}

fn extracted(dir: &Path, count: usize, program: &[&str]) -> Vec<Result<Tree, String>> {
    let one = |n: usize| {
        let to = tempfile::tempdir().unwrap();
        let done = Command::new(program[0])
            .args(&program[1..])
            .arg(dir.join(format!("{n}.tar")))
            .args(["--numeric-owner", "-C"])
            .arg(to.path())
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&done.stderr);
        match done.status.success() && stderr.is_empty() {
            true => Ok(walked(to.path())),
            false => Err(stderr.into_owned()),
        }
    };
    (0..count).map(one).collect()
}

/// A tree as it lies there. Of several names of an inode the first is the file.
fn walked(top: &Path) -> Tree {
    let (mut tree, mut inodes) = (Tree::new(), BTreeMap::new());
    let mut rest = vec![top.to_owned()];
    while let Some(dir) = rest.pop() {
        for found in fs::read_dir(dir).unwrap() {
            let at = found.unwrap().path();
            let path = at
                .strip_prefix(top)
                .unwrap()
                .as_os_str()
                .as_bytes()
                .to_vec();
            if path == b".state" {
                continue;
            }
            let stat = at.symlink_metadata().unwrap();
            let kind = stat.file_type();
            let kind = if kind.is_dir() {
                rest.push(at);
                Kind::Directory
            } else if kind.is_symlink() {
                let target = fs::read_link(at).unwrap().into_os_string().into_vec();
                Kind::Symlink { target }
            } else if kind.is_fifo() {
                Kind::Fifo
            } else {
                assert!(kind.is_file(), "{}", at.display());
                let (mut content, mut file) = (Vec::new(), fs::File::open(at).unwrap());
                file.read_to_end(&mut content).unwrap();
                Kind::File {
                    size: stat.len(),
                    sha256: hex(&Sha256::digest(content)),
                }
            };
            if stat.nlink() > 1 && !matches!(kind, Kind::Directory) {
                let names: &mut Vec<Vec<u8>> = inodes.entry(stat.ino()).or_default();
                names.push(path.clone());
            }
            let entry = Entry {
                kind,
                mode: stat.mode() & 0o7777,
                owner: (stat.uid(), stat.gid()),
            };
            tree.insert(path, entry);
        }
    }
    for mut names in inodes.into_values() {
        names.sort_by(|a, b| state::archive::manifest::order(a, b));
        for name in &names[1..] {
            let target = names[0].clone();
            tree.get_mut(name).unwrap().kind = Kind::Link { target };
        }
    }
    tree
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
    text.as_bytes()
        .chunks(2)
        .map(|pair| byte(pair).unwrap())
        .collect()
}

/// Prints the members of each archive: a line each, with all names in hexadecimal; or what went
/// wrong with it.
const PYTHON: &str = r#"
import hashlib, sys, tarfile
raw = lambda text: text.encode("utf-8", "surrogateescape")
kinds = {tarfile.DIRTYPE: "d", tarfile.REGTYPE: "f", tarfile.SYMTYPE: "s", tarfile.LNKTYPE: "l",
         tarfile.FIFOTYPE: "p", tarfile.GNUTYPE_SPARSE: "f"}
for n in range(int(sys.argv[1])):
    print("archive", n)
    try:
        with tarfile.open("%d.tar" % n, encoding="utf-8", errors="surrogateescape") as tar:
            for m in tar:
                kind = kinds[m.type]
                what = raw(m.linkname).hex() if kind in "sl" else ""
                if kind == "f":
                    content = tar.extractfile(m).read()
                    what = hashlib.sha256(content).hexdigest() + " %d" % len(content)
                print("member", kind, m.mode, m.uid, m.gid, "=" + raw(m.name).hex(), what)
    except Exception as error: print("error", repr(error))
"#;

fn listed(dir: &Path, count: usize) -> Vec<Result<Tree, String>> {
    let mut python = Command::new("python3");
    let done = python
        .args(["-c", PYTHON, &count.to_string()])
        .current_dir(dir);
    let done = done.output().unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let mut all: Vec<Result<Tree, String>> = Vec::new();
    for line in String::from_utf8(done.stdout).unwrap().lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[0] {
            "archive" => all.push(Ok(Tree::new())),
            "error" => *all.last_mut().unwrap() = Err(line.to_owned()),
            _ => {
                let path = unhex(words[5].trim_start_matches('='));
                let path = path.strip_prefix(b"./").unwrap_or_default();
                if path.is_empty() || path.starts_with(b".state/") {
                    continue;
                }
                let target = || unhex(words[6]);
                let kind = match words[1] {
                    "d" => Kind::Directory,
                    "p" => Kind::Fifo,
                    "s" => Kind::Symlink { target: target() },
                    "l" => Kind::Link {
                        target: target().strip_prefix(b"./").unwrap().to_vec(),
                    },
                    _ => Kind::File {
                        sha256: words[6].to_owned(),
                        size: words[7].parse().unwrap(),
                    },
                };
                let number = |n: usize| words[n].parse().unwrap();
                let entry = Entry {
                    kind,
                    mode: number(2),
                    owner: (number(3), number(4)),
                };
                if let Ok(tree) = all.last_mut().unwrap() {
                    tree.insert(path.to_vec(), entry);
                }
            }
        }
    }
    all
}

/// In what a peer's tree differs from ours.
pub(crate) fn differences(ours: &Tree, theirs: &Tree) -> Vec<String> {
    let paths = ours
        .keys()
        .chain(theirs.keys().filter(|path| !ours.contains_key(*path)));
    let shown = |path: &Vec<u8>| Path::new(OsStr::from_bytes(path)).display().to_string();
    let differ = |path: &&Vec<u8>| match (ours.get(*path), theirs.get(*path)) {
        (Some(our), Some(their)) => {
            let mut their = their.clone();
            // Nobody sets the mode of a symlink, and a further name has its inode's.
            if matches!(our.kind, Kind::Symlink { .. } | Kind::Link { .. }) {
                their.mode = our.mode;
            }
            if matches!(our.kind, Kind::Link { .. }) {
                their.owner = our.owner;
            }
            *our != their
        }
        _ => true,
    };
    let paths = paths.filter(differ);
    paths
        .map(|path| {
            format!(
                "{}: {:?}, not {:?}",
                shown(path),
                theirs.get(path),
                ours.get(path)
            )
        })
        .collect()
}
