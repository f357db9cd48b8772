//! What a directory tree tells of the system that is installed in it.

use crate::stat::Stat;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use std::fmt::Write as _;
use std::io;
use std::os::fd::AsFd;

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
