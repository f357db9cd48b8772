//! Mounting through file descriptors.
//!
//! A mount begins detached: it belongs to a descriptor, has no mount point, is in nobody's
//! namespace, and is gone with its last descriptor, also when the process is killed. Only
//! [`attach`] makes it visible. Nothing here passes an option string for the kernel to take apart,
//! so commas and spaces in names mean nothing.

use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
    open_tree,
};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

pub use rustix::mount::MountAttrFlags as Attributes;

/// An option of a filesystem: a flag, or a key with its value.
pub type FilesystemOption<'a> = (&'a str, Option<&'a OsStr>);

/// Mounts a filesystem, detached.
///
/// ```no_run
/// # use state_linux::mount::{Attributes, detached};
/// let device = std::ffi::OsStr::new("/dev/sda2");
/// let top_level = detached(
///     "btrfs",
///     &[("source", Some(device)), ("subvolid", Some("5".as_ref()))],
///     Attributes::MOUNT_ATTR_NOATIME,
/// )?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// What the kernel says, with the lines that the filesystem added to it, if any.
pub fn detached(
    filesystem: &str,
    options: &[FilesystemOption<'_>],
    attributes: Attributes,
) -> io::Result<OwnedFd> {
    let context = fsopen(filesystem, FsOpenFlags::FSOPEN_CLOEXEC)?;
    let made = configure(&context, options)
        .and_then(|()| fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes));
    made.map_err(|errno| explained(errno, &context))
}

fn configure(context: &OwnedFd, options: &[FilesystemOption<'_>]) -> Result<(), Errno> {
    for (key, value) in options {
        match value {
            Some(value) => fsconfig_set_string(context, *key, *value)?,
            None => fsconfig_set_flag(context, *key)?,
        }
    }
    fsconfig_create(context)
}

/// A failure of a filesystem with the kernel's own explanation beside the errno.
#[derive(Debug)]
struct Explained {
    errno: Errno,
    messages: String,
}

impl std::fmt::Display for Explained {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", io::Error::from(self.errno), self.messages)
    }
}

impl std::error::Error for Explained {}

/// The errno, with the messages that a filesystem left in its context: without any, the bare
/// errno.
fn explained(errno: Errno, context: &OwnedFd) -> io::Error {
    let mut messages = Vec::new();
    let mut buffer = [0; 1024];
    // Each read gives one message, `e `, `w ` or `i ` in front; ENODATA ends them.
    while let Ok(len) = rustix::io::read(context, &mut buffer) {
        let message = String::from_utf8_lossy(&buffer[..len]);
        let message = message.trim_end();
        messages.push(message.get(2..).unwrap_or(message).to_owned());
        if messages.len() == 8 {
            break;
        }
    }
    if messages.is_empty() {
        return errno.into();
    }
    let kind = io::Error::from(errno).kind();
    let messages = messages.join("; ");
    io::Error::new(kind, Explained { errno, messages })
}

/// Mounts what is on `device`, detached: whichever of `filesystems` it is, likeliest first.
/// `read_only` keeps the kernel from writing to it as well (a journal is not replayed).
///
/// # Errors
/// What the kernel says: `ENOENT` without the device, `ENODEV` if it holds none of these.
pub fn of_device(device: &Path, filesystems: &[&str], read_only: bool) -> io::Result<OwnedFd> {
    if !device.exists() {
        return Err(Errno::NOENT.into());
    }
    let mut options = vec![("source", Some(device.as_os_str()))];
    if read_only {
        options.push(("ro", None));
    }
    let mut last = Errno::NODEV.into();
    // The kernel tells the whole console of each that it is not.
    let told = magic(device)?;
    let likely = filesystems.iter().filter(|name| told.contains(name));
    for filesystem in likely {
        match detached(filesystem, &options, Attributes::MOUNT_ATTR_NOATIME) {
            Ok(mount) => return Ok(mount),
            // Not this one's; or this kernel has none of it.
            Err(error)
                if matches!(
                    Errno::from_io_error(&error),
                    Some(Errno::INVAL | Errno::NODEV)
                ) => {}
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Filesystems by the signs in their superblocks: the offset, and the bytes that stand there.
const MAGIC: [(&str, usize, &[u8]); 6] = [
    ("btrfs", 0x1_0040, b"_BHRfS_M"),
    ("erofs", 0x400, &[0xE2, 0xE1, 0xF5, 0xE0]),
    ("ext4", 0x438, &[0x53, 0xEF]),
    ("f2fs", 0x400, &[0x10, 0x20, 0xF5, 0xF2]),
    ("squashfs", 0, b"hsqs"),
    ("xfs", 0, b"XFSB"),
];

/// What a device may hold, by its first bytes.
fn magic(device: &Path) -> io::Result<Vec<&'static str>> {
    let mut first = Vec::new();
    io::Read::take(std::fs::File::open(device)?, 0x1_0048).read_to_end(&mut first)?;
    let has = |(_, at, sign): &&(&str, usize, &[u8])| {
        first.get(*at..).is_some_and(|rest| rest.starts_with(sign))
    };
    Ok(MAGIC.iter().filter(has).map(|(name, ..)| *name).collect())
}

/// A detached tmpfs. `options` as in tmpfs(5); give `mode`, or everybody may write to it.
///
/// # Errors
/// What the kernel says.
pub fn tmpfs(options: &[FilesystemOption<'_>], attributes: Attributes) -> io::Result<OwnedFd> {
    detached("tmpfs", options, attributes)
}

/// A detached overlay of `upper` over `lower` (topmost first); `work` must be an empty directory
/// on the filesystem of `upper`. Its features are named explicitly: their defaults differ between
/// kernels, and an upper layer that outlives the mount must not depend on them.
///
/// # Errors
/// What the kernel says.
pub fn overlay(lower: &[&Path], upper: Option<(&Path, &Path)>) -> io::Result<OwnedFd> {
    let mut lowers = OsString::new();
    for (n, dir) in lower.iter().enumerate() {
        if n > 0 {
            lowers.push(":");
        }
        // The separator inside a name is escaped by a backslash, which therefore is as well.
        let name = dir.as_os_str().as_encoded_bytes();
        for byte in name {
            if matches!(byte, b':' | b'\\') {
                lowers.push("\\");
            }
            lowers.push(
                std::os::unix::ffi::OsStrExt::from_bytes(std::slice::from_ref(byte)) as &OsStr,
            );
        }
    }
    let off = Some(OsStr::new("off"));
    let mut options = vec![
        ("source", Some(OsStr::new("state"))),
        ("lowerdir", Some(lowers.as_os_str())),
    ];
    if let Some((upper, work)) = upper {
        options.extend([
            ("upperdir", Some(upper.as_os_str())),
            ("workdir", Some(work.as_os_str())),
            ("redirect_dir", off),
            ("metacopy", off),
            ("index", off),
        ]);
    }
    detached("overlay", &options, Attributes::empty())
}

/// A detached copy of the mount at `path` in `dir` (of what is mounted in it too, if `recursive`):
/// what a bind mount is made of. An empty `path` means `dir` itself.
///
/// # Errors
/// What the kernel says.
pub fn clone_tree(dir: impl AsFd, path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(open_tree(dir, path, flags)?)
}

/// Puts a detached mount in place on `path` in `dir`; an empty `path` means `dir` itself. A
/// symlink at the end of `path` is not followed.
///
/// # Errors
/// What the kernel says: `ENOENT`; `ENOTDIR` when one is a directory and the other is not.
pub fn attach(mount: impl AsFd, dir: impl AsFd, path: &Path) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount, "", dir, path, flags)?)
}

/// Binds `source` to `target`, both by path. Symlinks at the end of either are not followed.
///
/// # Errors
/// What the kernel says.
pub fn bind(source: &Path, target: &Path, recursive: bool) -> io::Result<()> {
    attach(clone_tree(CWD, source, recursive)?, CWD, target)
}

/// Sets and clears attributes of a mount, attached or not; of all in it too, if `recursive`.
///
/// # Errors
/// What the kernel says.
pub fn set_attributes(
    mount: impl AsFd,
    set: Attributes,
    clear: Attributes,
    recursive: bool,
) -> io::Result<()> {
    change(
        mount,
        &libc::mount_attr {
            attr_set: set.bits().into(),
            attr_clr: clear.bits().into(),
            propagation: 0,
            userns_fd: 0,
        },
        recursive,
    )
}

/// Cuts a mount off from its peers: what is mounted on one of them does not appear on it as well.
///
/// # Errors
/// What the kernel says.
pub fn make_private(mount: impl AsFd) -> io::Result<()> {
    change(
        mount,
        &libc::mount_attr {
            attr_set: 0,
            attr_clr: 0,
            propagation: libc::MS_PRIVATE,
            userns_fd: 0,
        },
        false,
    )
}

fn change(mount: impl AsFd, attributes: &libc::mount_attr, recursive: bool) -> io::Result<()> {
    let mut flags = AtFlags::EMPTY_PATH.bits();
    if recursive {
        flags |= libc::AT_RECURSIVE.cast_unsigned();
    }
    // SAFETY: the descriptor is open, the path is a string literal with its nul, and the pointer
    // with its size describes a live `mount_attr`, which the call only reads.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A detached mount's top directory, opened for reading and for work in it: what [`detached`]
/// gives is a bare handle on the mount.
///
/// # Errors
/// What the kernel says.
pub fn open_top(mount: impl AsFd) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(mount, ".", flags, Mode::empty())?)
}

/// Takes the topmost mount at `path` away; never follows a symlink at its end.
///
/// # Errors
/// `EBUSY` while anything uses it, `EINVAL` if nothing is mounted there.
pub fn unmount(path: &Path) -> io::Result<()> {
    Ok(rustix::mount::unmount(path, UnmountFlags::NOFOLLOW)?)
}

/// Takes the topmost mount at `path` out of sight, however busy; it ends with its last user.
///
/// # Errors
/// `EINVAL` if nothing is mounted there.
pub fn unmount_lazily(path: &Path) -> io::Result<()> {
    let flags = UnmountFlags::NOFOLLOW | UnmountFlags::DETACH;
    Ok(rustix::mount::unmount(path, flags)?)
}

/// The attributes that a mount's options (`rw,nosuid,noatime`, as mountinfo shows them) stand for.
pub fn attributes(options: &OsStr) -> Attributes {
    let mut attributes = Attributes::empty();
    let mut has_access_times = true;
    for option in crate::mountinfo::split(options) {
        attributes |= match option.as_encoded_bytes() {
            b"ro" => Attributes::MOUNT_ATTR_RDONLY,
            b"nosuid" => Attributes::MOUNT_ATTR_NOSUID,
            b"nodev" => Attributes::MOUNT_ATTR_NODEV,
            b"noexec" => Attributes::MOUNT_ATTR_NOEXEC,
            b"nodiratime" => Attributes::MOUNT_ATTR_NODIRATIME,
            b"nosymfollow" => Attributes::MOUNT_ATTR_NOSYMFOLLOW,
            b"noatime" => {
                has_access_times = false;
                Attributes::MOUNT_ATTR_NOATIME
            }
            b"relatime" => {
                has_access_times = false;
                Attributes::MOUNT_ATTR_RELATIME
            }
            _ => Attributes::empty(),
        };
    }
    if has_access_times {
        attributes |= Attributes::MOUNT_ATTR_STRICTATIME;
    }
    attributes
}

/// A mount in place that is taken away when this is dropped.
#[derive(Debug)]
pub struct Guard(Option<std::path::PathBuf>);

impl Guard {
    /// Puts a detached mount in place on `path`.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn attach(mount: impl AsFd, path: &Path) -> io::Result<Self> {
        attach(mount, CWD, path)?;
        Ok(Self(Some(path.to_owned())))
    }

    /// Takes the mount away now and says whether that worked; on failure it stays.
    ///
    /// # Errors
    /// `EBUSY` while anything uses it.
    pub fn unmount(mut self) -> io::Result<()> {
        match self.0.take() {
            Some(path) => unmount(&path),
            None => Ok(()),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            // Nothing can be said from here; one that is gone already is what was wanted.
            unmount_lazily(&path).ok();
        }
    }
}

/// Attributes that make a mount useless for anything but data.
pub const DATA_ONLY: Attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_attributes() {
        for (options, attributes) in [
            ("rw", Attributes::MOUNT_ATTR_STRICTATIME),
            ("rw,relatime", Attributes::MOUNT_ATTR_RELATIME),
            (
                "ro,nosuid,nodev,noexec,noatime,nodiratime,nosymfollow",
                Attributes::MOUNT_ATTR_RDONLY
                    | DATA_ONLY
                    | Attributes::MOUNT_ATTR_NOATIME
                    | Attributes::MOUNT_ATTR_NODIRATIME
                    | Attributes::MOUNT_ATTR_NOSYMFOLLOW,
            ),
        ] {
            assert_eq!(
                super::attributes(OsStr::new(options)),
                attributes,
                "{options}"
            );
        }
    }
}
