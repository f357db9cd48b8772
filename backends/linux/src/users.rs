//! Who uses a directory: mounts made from it or in it, and processes that are in it.

use crate::mountinfo::{self, Mount};
use crate::stat::FileId;
use rustix::fs::OFlags;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A mount or a process that would go on using a tree after it was exchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum User {
    /// A mount of something inside the directory, or on something inside it.
    Mount(PathBuf),
    /// A process with its root, its working directory or an open file in it.
    Process {
        /// Its id.
        pid: u32,
        /// Its name, as `ps` shows it.
        name: String,
    },
    /// The kernel, which swaps to this file.
    Swap(PathBuf),
}

impl std::fmt::Display for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mount(at) => write!(f, "a mount at {}", at.display()),
            Self::Process { pid, name } => write!(f, "{name} (process {pid})"),
            Self::Swap(file) => write!(f, "the swapfile {}", file.display()),
        }
    }
}

/// The mount that `path` lies on: the innermost, and of several on one point the uppermost.
pub fn mount_of<'m>(path: &Path, mounts: &'m [Mount]) -> Option<&'m Mount> {
    let over = mounts.iter().filter(|mount| path.starts_with(&mount.at));
    // Later mounts cover earlier ones: `max_by_key` gives the last of equals.
    over.max_by_key(|mount| mount.at.components().count())
}

/// Who uses the directory `path` (absolute, without symlinks), this process left out. Processes
/// are found by the paths they show in `/proc`, so this sees what root sees.
///
/// # Errors
/// `/proc` cannot be read.
pub fn of(path: &Path) -> io::Result<Vec<User>> {
    let (ours, all) = (mountinfo::read()?, mountinfo::read_everywhere()?);
    let place = Place::of(path, &ours, &all);
    let mut users = place.mounts(&all);
    users.extend(place.processes()?);
    users.extend(place.swapfiles(&swaps()?));
    Ok(users)
}

/// A directory, as mounts and processes show it.
struct Place {
    path: PathBuf,
    /// The filesystem that it is on, and where it is in it.
    inside: Option<((u32, u32), PathBuf)>,
    /// What it is called: by `path`, and below every mount of something that it lies in. Who came to it
    /// through such a mount shows that name. A name that means something else in another namespace makes
    /// one user too many.
    names: BTreeSet<PathBuf>,
}

impl Place {
    /// Pure: `ours` are this namespace's mounts, `all` those of every namespace.
    fn of(path: &Path, ours: &[Mount], all: &[Mount]) -> Self {
        let inside = mount_of(path, ours).map(|mount| {
            let below = path.strip_prefix(&mount.at).unwrap_or(path);
            (mount.device, mount.root.join(below))
        });
        let mut names = BTreeSet::from([path.to_owned()]);
        if let Some((device, root)) = &inside {
            let mounts = all.iter().filter(|mount| mount.device == *device);
            names.extend(mounts.filter_map(|mount| {
                let below = root.strip_prefix(&mount.root).ok()?;
                Some(mount.at.join(below))
            }));
        }
        Self {
            path: path.to_owned(),
            inside,
            names,
        }
    }

    fn has(&self, path: &Path) -> bool {
        self.names.iter().any(|name| path.starts_with(name))
    }

    fn mounts(&self, all: &[Mount]) -> Vec<User> {
        let mut found: Vec<User> = all
            .iter()
            .filter(|mount| {
                let is_made_of_it = self.inside.as_ref().is_some_and(|(device, root)| {
                    mount.device == *device && mount.root.starts_with(root) && mount.at != self.path
                        // The whole filesystem mounted a second time uses nothing in particular.
                        && mount.root != Path::new("/")
                });
                let lies_in = |name: &PathBuf| mount.at.starts_with(name) && mount.at != *name;
                is_made_of_it || self.names.iter().any(lies_in)
            })
            .map(|mount| User::Mount(mount.at.clone()))
            .collect();
        found.dedup();
        found
    }

    fn swapfiles(&self, swaps: &[u8]) -> Vec<User> {
        let lines = swaps.split(|byte| *byte == b'\n').skip(1);
        lines
            .filter_map(|line| line.split(|byte| *byte == b' ' || *byte == b'\t').next())
            .map(|name| PathBuf::from(OsString::from_vec(mountinfo::unescape(name))))
            .filter(|file| self.has(file))
            .map(User::Swap)
            .collect()
    }

    fn processes(&self) -> io::Result<Vec<User>> {
        processes(|process| self.has_process(process))
    }

    /// Whether the process shows a path in it. One that ends meanwhile, or that we may not look at,
    /// shows none.
    fn has_process(&self, process: &Path) -> bool {
        let shows = |link: PathBuf| fs::read_link(link).is_ok_and(|to| self.has(&to));
        ["cwd", "root", "exe"]
            .iter()
            .any(|link| shows(process.join(link)))
            || fs::read_dir(process.join("fd"))
                .is_ok_and(|fds| fds.flatten().any(|fd| shows(fd.path())))
    }
}

/// What the kernel swaps to (`proc(5)`).
fn swaps() -> io::Result<Vec<u8>> {
    match fs::read("/proc/swaps") {
        // A kernel without swap has no such file.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read,
    }
}

/// The other processes of which `is_user` says so, by their directory in `/proc`.
fn processes(is_user: impl Fn(&Path) -> bool) -> io::Result<Vec<User>> {
    let mut users = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let dir = entry?.path();
        let pid = dir.file_name().and_then(|name| name.to_str()?.parse().ok());
        let Some(pid) = pid.filter(|pid| *pid != std::process::id()) else {
            continue;
        };
        if is_user(&dir) && !is_unborn(&dir) {
            let name = fs::read_to_string(dir.join("comm")).unwrap_or_default();
            users.push(User::Process {
                pid,
                name: name.trim_end().to_owned(),
            });
        }
    }
    Ok(users)
}

/// The processes that have the file `file` open for writing, this process left out: what is in it
/// need not be whole. Sees what root sees.
///
/// # Errors
/// `/proc` cannot be read.
pub fn writers(file: FileId) -> io::Result<Vec<User>> {
    writers_where(&|fd| {
        let id = |is: fs::Metadata| FileId {
            device: is.dev(),
            inode: is.ino(),
        };
        fs::metadata(fd).is_ok_and(|is| id(is) == file)
    })
}

/// The processes that have a file in the directory `path` (absolute, without symlinks) open for
/// writing, this process left out.
///
/// # Errors
/// `/proc` cannot be read.
pub fn writers_in(path: &Path) -> io::Result<Vec<User>> {
    writers_where(&|fd| {
        fs::read_link(fd).is_ok_and(|to| to.starts_with(path))
            && fs::metadata(fd).is_ok_and(|is| is.is_file())
    })
}

/// The processes with a descriptor that may write and of which `is_meant` says so, by its link in
/// `/proc`.
fn writers_where(is_meant: &dyn Fn(&Path) -> bool) -> io::Result<Vec<User>> {
    let may_write = |process: &Path, number: &OsStr| {
        let info = fs::read_to_string(process.join("fdinfo").join(number)).unwrap_or_default();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = flags.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok());
        flags.is_some_and(|flags| flags & (OFlags::WRONLY | OFlags::RDWR).bits() != 0)
    };
    processes(|process| {
        fs::read_dir(process.join("fd")).is_ok_and(|fds| {
            fds.flatten()
                .any(|fd| is_meant(&fd.path()) && may_write(process, &fd.file_name()))
        })
    })
}

/// Whether this is a program that we are just starting: until its `exec` it is a copy of us, with
/// our open files.
fn is_unborn(process: &Path) -> bool {
    let ours = format!("PPid:\t{}\n", std::process::id());
    let is_child = fs::read_to_string(process.join("status")).is_ok_and(|s| s.contains(&ours));
    let exe = |of: &Path| fs::read_link(of.join("exe")).ok();
    is_child && exe(process) == exe(Path::new("/proc/self"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_and_in_a_store_use_it() {
        let text = "\
20 1 8:1 / / rw - ext4 /dev/sda1 rw
21 20 8:2 / /persist rw - ext4 /dev/sdb1 rw
22 20 8:2 /var/lib/foo /var/lib/foo rw - ext4 /dev/sdb1 rw
23 21 0:9 / /persist/run rw - tmpfs none rw
24 20 8:2 / /mnt/again rw - ext4 /dev/sdb1 rw
25 20 8:1 /home/data /srv rw - ext4 /dev/sda1 rw
";
        let mounts = mountinfo::parse(text.as_bytes()).unwrap();
        let users = |path: &str| Place::of(Path::new(path), &mounts, &mounts).mounts(&mounts);
        let at = |path: &str| User::Mount(path.into());
        assert_eq!(users("/persist"), [at("/var/lib/foo"), at("/persist/run")]);
        assert_eq!(users("/home/data"), [at("/srv")]);
        assert_eq!(users("/home/other"), []);
        let on = mount_of(Path::new("/persist/x"), &mounts).unwrap();
        assert_eq!(on.id, 21);
    }

    #[test]
    fn what_is_below_a_mount_of_more_has_that_name_too() {
        let text = "\
20 1 8:1 / / rw - ext4 /dev/sda1 rw
21 20 8:2 / /persist rw - ext4 /dev/sdb1 rw
22 20 8:2 /var/lib/pg /var/lib/pg rw - ext4 /dev/sdb1 rw
23 22 0:9 / /var/lib/pg/16/run rw - tmpfs none rw
24 20 8:2 /var/lib/pg/15 /srv rw - ext4 /dev/sdb1 rw
";
        let mounts = mountinfo::parse(text.as_bytes()).unwrap();
        let names = ["/persist/var/lib/pg/16", "/var/lib/pg/16"].map(PathBuf::from);
        let place = Place::of(&names[0], &mounts, &mounts);
        assert_eq!(place.names, names.into());
        let run = User::Mount("/var/lib/pg/16/run".into());
        assert_eq!(place.mounts(&mounts), [run]);
    }

    #[test]
    fn a_process_with_an_open_file_uses_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        let file = fs::File::create(path.join("file")).unwrap();
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .stdin(file)
            .spawn()
            .unwrap();
        let place = Place::of(&path, &[], &[]);
        let users = place.processes().unwrap();
        let id = crate::stat::Stat::of(rustix::fs::CWD, path.join("file")).map(|stat| stat.id);
        let id = id.unwrap();
        let (writing, writing_in) = (writers(id).unwrap(), writers_in(&path).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        let pid = child.id();
        // It was opened by a name that may write.
        assert_eq!((writing, writing_in), (users.clone(), users.clone()));
        assert_eq!(writers(id).unwrap(), []);
        // Between fork and exec it still has our name.
        let [User::Process { pid: found, .. }] = &users[..] else {
            panic!("{users:?}");
        };
        assert_eq!(*found, pid);
        assert_eq!(place.processes().unwrap(), []);
    }
}
