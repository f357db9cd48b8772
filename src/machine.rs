//! The machine as it stands below the root directory: what is mounted, what starts it, whose it
//! is. Looks and changes nothing; `init` and `doctor` judge.

mod fstab;
mod os_release;

pub use fstab::FstabLine;
pub use os_release::Distribution;

use crate::context::Context;
use state_linux::mountinfo::{self, Mount};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Filesystems that can hold a store.
pub const STORES: [&str; 8] = [
    "bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "xfs", "zfs",
];

const MOUNTS: &str = "/proc/self/mountinfo";

/// What was seen.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The mounts, by where they are on the machine, in the order they were made.
    pub mounts: Vec<Mount>,
    /// The lines of fstab(5).
    pub fstab: Vec<FstabLine>,
    /// Whether this is the machine that runs (or a fixture of one), not one that lies below some
    /// directory: it has a /proc.
    pub is_running: bool,
    /// The kernel command line.
    pub command_line: String,
    /// What the machine calls itself.
    pub hostname: Option<String>,
    /// What is installed on it.
    pub distribution: Distribution,
    /// People: users with a home of their own, by name.
    pub people: Vec<Person>,
}

/// A user who is a person, as numbers go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The name.
    pub name: String,
    /// The home directory.
    pub home: PathBuf,
}

/// A file's bytes; `None` if there is no such file.
fn optional(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(io::Error::new(
            error.kind(),
            format!("{}: {error}", path.display()),
        )),
    }
}

fn optional_text(path: &Path) -> io::Result<String> {
    let bytes = optional(path)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

impl Machine {
    /// Looks at the machine below the root directory.
    ///
    /// # Errors
    /// A file is there and cannot be read. What is not there is no error.
    pub fn look(cx: &Context) -> io::Result<Self> {
        let text = |path: &str| optional_text(&cx.rooted(path));
        let has_proc = has_proc(cx);
        let of_kernel = |path: &str| match has_proc {
            true => text(path),
            false => Ok(String::new()),
        };
        let os_release = match text("/etc/os-release")? {
            empty if empty.is_empty() => text("/usr/lib/os-release")?,
            found => found,
        };
        let is_nixos = cx.rooted("/etc/NIXOS").exists();
        let mut hostname = text("/etc/hostname")?;
        if hostname.trim().is_empty() {
            hostname = of_kernel("/proc/sys/kernel/hostname")?;
        }
        let hostname = hostname
            .lines()
            .map(str::trim)
            .find(|line| !line.is_empty() && !line.starts_with('#'));
        Ok(Self {
            mounts: mounts(cx)?,
            is_running: has_proc,
            fstab: FstabLine::parse(&optional(&cx.rooted("/etc/fstab"))?.unwrap_or_default()),
            command_line: of_kernel("/proc/cmdline")?.trim().to_owned(),
            hostname: hostname.map(str::to_owned),
            distribution: Distribution::parse(&os_release, is_nixos),
            people: people(&text("/etc/passwd")?),
        })
    }

    /// The topmost mount at exactly `at`.
    pub fn mount_at(&self, at: &Path) -> Option<&Mount> {
        self.mounts.iter().rev().find(|mount| mount.at == at)
    }

    /// The mount that holds `path`: the innermost one, the last made of those.
    pub fn mount_of(&self, path: &Path) -> Option<&Mount> {
        path.ancestors().find_map(|at| self.mount_at(at))
    }

    /// The mount of root.
    pub fn root(&self) -> Option<&Mount> {
        self.mount_at(Path::new("/"))
    }

    /// The line of fstab(5) that mounts what holds `path`. Root's own does not count.
    pub fn line_of(&self, path: &Path) -> Option<&FstabLine> {
        let below_root = path.ancestors().filter(|at| at.parent().is_some());
        below_root
            .into_iter()
            .find_map(|at| self.fstab.iter().find(|line| line.at == at))
    }

    /// What mounts root by the id of its subvolume, which the first reset changes.
    pub fn root_by_id(&self) -> Vec<&'static str> {
        let mut who = Vec::new();
        if self.fstab.iter().any(FstabLine::is_root_by_id) {
            who.push("/etc/fstab");
        }
        let flags = |word: &str| word.strip_prefix("rootflags=").is_some_and(fstab::is_by_id);
        if self.command_line.split_whitespace().any(flags) {
            who.push("the kernel command line");
        }
        who
    }

    /// Whether both are one volume: the same filesystem and the same subvolume or dataset.
    pub fn is_same_volume(a: &Mount, b: &Mount) -> bool {
        let volume = |mount: &Mount| match mount.filesystem.to_str() {
            Some("btrfs") => mount.filesystem_option("subvolid").map(ToOwned::to_owned),
            _ => None,
        };
        a.device == b.device && volume(a) == volume(b)
    }
}

/// Whether the machine below the root directory has a /proc of its own. One that is only mounted
/// there, for a chroot, is that of the machine which looks.
fn has_proc(cx: &Context) -> bool {
    let is_mounted = || {
        let proc = rustix::fs::statfs(cx.rooted("/proc"));
        proc.is_ok_and(|proc| proc.f_type == rustix::fs::PROC_SUPER_MAGIC)
    };
    cx.rooted(MOUNTS).exists() && (cx.root_dir == Path::new("/") || !is_mounted())
}

/// The mounts below the root directory, by where they are on the machine. A root directory with
/// a /proc of its own (a whole machine, or a fixture of one) speaks for itself.
///
/// # Errors
/// The list cannot be read.
pub fn mounts(cx: &Context) -> io::Result<Vec<Mount>> {
    let (file, prefix) = match has_proc(cx) {
        true => (cx.rooted(MOUNTS), Path::new("/")),
        false => (MOUNTS.into(), cx.root_dir.as_path()),
    };
    let text = optional(&file)?.unwrap_or_default();
    let mut mounts = mountinfo::parse(&text).map_err(io::Error::other)?;
    mounts.retain_mut(|mount| match mount.at.strip_prefix(prefix) {
        Ok(below) => {
            mount.at = Path::new("/").join(below);
            true
        }
        Err(_) => false,
    });
    Ok(mounts)
}

fn people(passwd: &str) -> Vec<Person> {
    let mut people: Vec<Person> = passwd
        .lines()
        .filter_map(|line| {
            let fields: Vec<_> = line.split(':').collect();
            let [name, _, uid, _, _, home, _] = fields[..] else {
                return None;
            };
            let uid: u32 = uid.parse().ok()?;
            let is_person = (1000..30000).contains(&uid) && home.len() > 1 && home.starts_with('/');
            is_person.then(|| Person {
                name: name.to_owned(),
                home: home.into(),
            })
        })
        .collect();
    people.sort_by(|a, b| a.name.cmp(&b.name));
    people
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_have_homes_and_numbers_of_people() {
        let passwd = "root:x:0:0::/root:/bin/sh\nann:x:1000:100::/home/ann:/bin/sh\n\
                      nobody:x:65534:65534::/nonexistent:/bin/false\nnixbld1:x:30001:30000::/var/empty:/x\nodd\n\
                      bob:x:1001:100::/:/bin/sh\n";
        let names: Vec<_> = people(passwd)
            .into_iter()
            .map(|person| person.name)
            .collect();
        assert_eq!(names, ["ann"]);
    }
}
