//! What a directory tree tells of the system that is installed in it.

use crate::stat::Stat;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd;
use std::path::Path;

/// No file that is read is longer.
const MOST_BYTES: u64 = 1 << 20;

/// Where distributions keep their init, relative to root.
pub const INITS: [&str; 3] = ["sbin/init", "usr/lib/systemd/systemd", "init"];
/// Directories that an installation, a removal or an upgrade of programs changes.
const TELLTALES: [&str; 6] = [
    "",
    "etc",
    "usr/bin",
    "var/lib/dpkg",
    "var/lib/rpm",
    "var/lib/pacman/local",
];

/// Whether the tree at `top` holds an init. Links in it lead to where they do once it is root.
///
/// # Errors
/// It cannot be looked at.
pub fn has_init(top: impl AsFd) -> io::Result<bool> {
    for path in INITS {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        match openat2(&top, path, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
            Ok(_) => return Ok(true),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(false)
}

/// What the file at `path` in the tree at `top` holds, as it is found once that tree is root; `None`
/// if there is none.
///
/// # Errors
/// It cannot be read.
pub fn read(top: impl AsFd, path: &Path) -> io::Result<Option<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match openat2(top, path, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    let mut text = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut text)?;
    Ok(Some(text))
}

/// A text that is another one after programs were installed in the tree at `top`, removed or
/// upgraded; `None`: there is nothing of a system in it.
pub fn identity(top: impl AsFd) -> Option<String> {
    let mut parts = Vec::new();
    for telltale in TELLTALES {
        if let Ok(stat) = Stat::of(&top, telltale) {
            parts.push(mark(&stat));
        }
    }
    (parts.len() > 1).then(|| parts.join("-"))
}

/// A text that is another one after the inode itself was changed or replaced.
pub fn mark(stat: &Stat) -> String {
    let mut mark = String::new();
    let (inode, changed) = (stat.id.inode, stat.changed);
    write!(
        mark,
        "{inode:x}.{:x}.{:x}",
        changed.seconds, changed.nanoseconds
    )
    .expect("a string takes everything");
    mark
}
