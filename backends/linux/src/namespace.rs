//! Mount namespaces of our own: what is mounted there ends with the process, however it ends.

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{getegid, geteuid};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::fs;
use std::io;

/// From now on this process sees mounts of its own; what it mounts, nobody else sees.
///
/// # Errors
/// This is not root.
pub fn own_mounts() -> io::Result<()> {
    // SAFETY: only sharing descriptors or memory is unsafe to end; neither flag is given.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
    private()
}

/// The same for somebody who stays long: what is mounted and unmounted elsewhere is here too, or a
/// disk that people want to take away would be in use as long as this thread lives.
///
/// # Errors
/// This is not root.
pub fn own_mounts_that_follow() -> io::Result<()> {
    // SAFETY: as above.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    Ok(mount_change("/", flags)?)
}

/// The same for an ordinary user: in a user namespace of one user, who is root in it. Must be
/// called while the process has one thread.
///
/// # Errors
/// The kernel or the distribution forbids it to ordinary users.
pub fn own_user_and_mounts() -> io::Result<()> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    // SAFETY: as above.
    unsafe { unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNS) }?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    private()
}

/// Otherwise mounts would propagate to where the namespace came from.
fn private() -> io::Result<()> {
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    Ok(mount_change("/", flags)?)
}
