//! Which filesystems are mounted where: `/proc/*/mountinfo`, as proc_pid_mountinfo(5) describes
//! it. Names are raw bytes there, with space, tab, newline and backslash as octal escapes.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Its id, unique while it lives.
    pub id: u64,
    /// The id of the mount it lies on.
    pub parent: u64,
    /// The filesystem's device number, `major:minor`. On btrfs the same for every subvolume, and
    /// not what `stat` says of a file in one.
    pub device: (u32, u32),
    /// The path within the filesystem that is mounted; on btrfs from the top level.
    pub root: PathBuf,
    /// Whether what is mounted has been deleted since.
    pub is_deleted: bool,
    /// Where it is mounted, as the process sees it.
    pub at: PathBuf,
    /// The options of this mount, comma-separated: `rw,noatime`.
    pub options: OsString,
    /// The type of the filesystem, `fuse.sshfs` included.
    pub filesystem: OsString,
    /// What it was mounted from; a device's path, mostly.
    pub source: OsString,
    /// The options of the filesystem, comma-separated: `rw,compress=zstd:3,subvolid=256,subvol=/root`.
    pub filesystem_options: OsString,
}

impl Mount {
    /// Whether writing through this mount is refused, by it or by its filesystem.
    pub fn is_read_only(&self) -> bool {
        [&self.options, &self.filesystem_options]
            .into_iter()
            .any(|options| split(options).any(|option| option == "ro"))
    }

    /// The value of a `key=value` option of the filesystem.
    pub fn filesystem_option(&self, key: &str) -> Option<&OsStr> {
        split(&self.filesystem_options).find_map(|option| {
            let value = option.as_bytes().strip_prefix(key.as_bytes())?;
            Some(OsStr::from_bytes(value.strip_prefix(b"=")?))
        })
    }
}

/// The options of a comma-separated list.
pub fn split(options: &OsStr) -> impl Iterator<Item = &OsStr> {
    options
        .as_bytes()
        .split(|b| *b == b',')
        .map(OsStr::from_bytes)
}

/// A line that has not the form it must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine(pub String);

impl std::fmt::Display for BadLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "not a line of mountinfo: {:?}", self.0)
    }
}

impl std::error::Error for BadLine {}

/// Reads the text of a mountinfo file.
///
/// # Errors
/// A line lacks a field that every kernel writes.
pub fn parse(text: &[u8]) -> Result<Vec<Mount>, BadLine> {
    text.split(|b| *b == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            parse_line(line).ok_or_else(|| BadLine(String::from_utf8_lossy(line).into_owned()))
        })
        .collect()
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|b| *b == b' ');
    let number = |field: &[u8]| std::str::from_utf8(field).ok()?.parse().ok();
    let id = number(fields.next()?)?;
    let parent = number(fields.next()?)?;
    let (major, minor) = std::str::from_utf8(fields.next()?).ok()?.split_once(':')?;
    let device = (major.parse().ok()?, minor.parse().ok()?);
    let mut root = unescape(fields.next()?);
    // A file may really be called `x//deleted`? No: names hold no slash, so the double one is
    // always the kernel's.
    let is_deleted = root.ends_with(b"//deleted");
    if is_deleted {
        root.truncate(root.len() - b"//deleted".len());
    }
    let at = unescape(fields.next()?);
    let options = unescape(fields.next()?);
    // Any number of tags (`shared:1`, `master:2`), ended by a lone `-`.
    fields.by_ref().find(|field| *field == b"-")?;
    let filesystem = unescape(fields.next()?);
    let source = unescape(fields.next()?);
    let filesystem_options = unescape(fields.next()?);
    Some(Mount {
        id,
        parent,
        device,
        root: PathBuf::from(OsString::from_vec(root)),
        is_deleted,
        at: PathBuf::from(OsString::from_vec(at)),
        options: OsString::from_vec(options),
        filesystem: OsString::from_vec(filesystem),
        source: OsString::from_vec(source),
        filesystem_options: OsString::from_vec(filesystem_options),
    })
}

/// Resolves the octal escapes of a field.
pub(crate) fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        match tail {
            [
                a @ b'0'..=b'3',
                b @ b'0'..=b'7',
                c @ b'0'..=b'7',
                after @ ..,
            ] if *first == b'\\' => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

fn read_file(path: &Path) -> io::Result<Vec<Mount>> {
    // Its size is not known beforehand: read into no room, it comes in tiny pieces.
    let mut text = Vec::with_capacity(16 << 10);
    File::open(path)?.read_to_end(&mut text)?;
    parse(&text).map_err(|bad| io::Error::new(io::ErrorKind::InvalidData, bad))
}

/// The mounts that this process sees.
///
/// # Errors
/// `/proc` is not mounted, or what it says is not understood.
pub fn read() -> io::Result<Vec<Mount>> {
    // Of the thread, not the process: a thread may have a mount namespace of its own.
    read_file(Path::new("/proc/thread-self/mountinfo"))
}

/// The mounts that any process sees, ours first: each mount namespace that can be looked into
/// once.
///
/// # Errors
/// Our own mounts cannot be read. Processes that end meanwhile, or that we may not look at, are
/// passed over.
pub fn read_everywhere() -> io::Result<Vec<Mount>> {
    let namespace = |process: &Path| fs::read_link(process.join("ns/mnt")).ok();
    let mut all = read()?;
    let mut seen = BTreeSet::from([namespace(Path::new("/proc/thread-self"))]);
    for process in fs::read_dir("/proc")? {
        let process = process?.path();
        let is_process = process
            .file_name()
            .is_some_and(|name| name.as_bytes().iter().all(u8::is_ascii_digit));
        if !is_process {
            continue;
        }
        let its = namespace(&process);
        if its.is_none() || !seen.insert(its) {
            continue;
        }
        // Gone, or hidden from us: there is nothing to be learned from it.
        if let Ok(mounts) = read_file(&process.join("mountinfo")) {
            all.extend(mounts);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_read_and_names_stay_raw() {
        let text =
            b"36 35 0:42 /@\\040root/a\\134b /mnt/new\\012line rw,noatime shared:1 master:2 - \
                     btrfs /dev/mapper/x\\011y rw,compress=zstd:3,subvolid=256,subvol=/@\\040root\n\
                     37 35 0:43 /gone//deleted /mnt/\xff ro - ext4 /dev/sda1 rw\n";
        assert_eq!(
            parse(text),
            Ok(vec![
                Mount {
                    id: 36,
                    parent: 35,
                    device: (0, 42),
                    root: "/@ root/a\\b".into(),
                    is_deleted: false,
                    at: "/mnt/new\nline".into(),
                    options: "rw,noatime".into(),
                    filesystem: "btrfs".into(),
                    source: "/dev/mapper/x\ty".into(),
                    filesystem_options: "rw,compress=zstd:3,subvolid=256,subvol=/@ root".into(),
                },
                Mount {
                    id: 37,
                    parent: 35,
                    device: (0, 43),
                    root: "/gone".into(),
                    is_deleted: true,
                    at: OsStr::from_bytes(b"/mnt/\xff").into(),
                    options: "ro".into(),
                    filesystem: "ext4".into(),
                    source: "/dev/sda1".into(),
                    filesystem_options: "rw".into(),
                },
            ])
        );
    }

    #[test]
    fn options_are_found_whole() {
        let mounts = parse(b"1 2 0:1 / / rw,relatime - btrfs none ro,subvolid=5,subvol=/").unwrap();
        let mount = &mounts[0];
        assert!(mount.is_read_only());
        assert_eq!(mount.filesystem_option("subvol"), Some(OsStr::new("/")));
        assert_eq!(mount.filesystem_option("subvolid"), Some(OsStr::new("5")));
        assert_eq!(mount.filesystem_option("sub"), None);
    }

    #[test]
    fn escapes_that_are_none_stay() {
        for (field, plain) in [
            ("a\\040b", "a b"),
            ("a\\", "a\\"),
            ("a\\04", "a\\04"),
            ("a\\999", "a\\999"),
            ("\\134040", "\\040"),
            ("", ""),
        ] {
            assert_eq!(unescape(field.as_bytes()), plain.as_bytes(), "{field}");
        }
    }

    #[test]
    fn lines_of_another_form_are_named() {
        for line in [
            "",
            " ",
            "36 35 0:42 / / rw",
            "36 35 0:42 / / rw - btrfs",
            "x 35 0:42 / / rw - a b c",
        ] {
            let read = parse(line.as_bytes());
            match line {
                "" => assert_eq!(read, Ok(vec![])),
                _ => assert_eq!(read, Err(BadLine(line.into()))),
            }
        }
    }

    #[test]
    fn our_own_mounts_are_among_all() {
        let own = read().unwrap();
        let all = read_everywhere().unwrap();
        assert!(own.iter().any(|m| m.at == Path::new("/proc")));
        assert!(all.len() >= own.len());
    }
}
