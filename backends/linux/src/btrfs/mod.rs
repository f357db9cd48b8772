//! btrfs through its ioctls, as `linux/btrfs.h` and `linux/btrfs_tree.h` declare them.
//!
//! Everything goes through descriptors and subvolume ids. Searches, lookups and deletions by id
//! need CAP_SYS_ADMIN.

mod inode;
pub mod items;
mod search;
mod volume;

pub use inode::{Inode, changed_inodes, entries, inode};
pub use search::Searcher;
pub use volume::{Reference, back_reference, default_subvolume, references, subvolume_by_uuid};

use linux_raw_sys::btrfs as b;
use linux_raw_sys::ioctl as ops;
use rustix::fs::{fstatfs, statx};
use rustix::io::Errno;
use rustix::ioctl::{self, Getter, NoArg, Setter, Updater};
use std::ffi::{OsStr, OsString, c_char};
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// `BTRFS_SUPER_MAGIC` in `linux/magic.h`.
const MAGIC: u64 = 0x9123_683E;
/// The id of the top-level subvolume.
pub const TOP_LEVEL: u64 = b::BTRFS_FS_TREE_OBJECTID as u64;
/// The inode number of every subvolume's top directory.
pub const TOP_INODE: u64 = b::BTRFS_FIRST_FREE_OBJECTID as u64;

/// Whether a file is on btrfs.
///
/// # Errors
/// What the kernel says.
pub fn is_btrfs(file: impl AsFd) -> io::Result<bool> {
    // The type's width and sign differ between architectures.
    Ok(fstatfs(file)?.f_type as u64 & 0xFFFF_FFFF == MAGIC)
}

/// What `BTRFS_IOC_GET_SUBVOL_INFO` tells, as far as we need it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct SubvolumeInfo {
    pub id: u64,
    pub uuid: [u8; 16],
    pub parent_uuid: [u8; 16],
    pub is_read_only: bool,
    /// The transaction that last changed an inode in it.
    pub ctransid: u64,
    /// The transaction that made it.
    pub otransid: u64,
    pub otime_seconds: i64,
}

/// Describes the subvolume that a file or directory is in.
///
/// # Errors
/// `ENOTTY` outside btrfs.
pub fn subvolume_info(file: impl AsFd) -> io::Result<SubvolumeInfo> {
    // SAFETY: the structure is plain integers, for which all zeros are a value.
    let mut info: b::btrfs_ioctl_get_subvol_info_args = unsafe { zeroed() };
    // SAFETY: the opcode's argument is this structure, which the call fills in.
    unsafe {
        ioctl::ioctl(
            file,
            Updater::<{ ops::BTRFS_IOC_GET_SUBVOL_INFO }, _>::new(&mut info),
        )
    }?;
    Ok(SubvolumeInfo {
        id: info.treeid,
        uuid: info.uuid,
        parent_uuid: info.parent_uuid,
        is_read_only: info.flags & u64::from(b::BTRFS_ROOT_SUBVOL_RDONLY) != 0,
        ctransid: info.ctransid,
        otransid: info.otransid,
        otime_seconds: info.otime.sec.cast_signed(),
    })
}

/// Whether a directory is the top of a subvolume.
///
/// # Errors
/// What the kernel says.
pub fn is_subvolume_top(dir: impl AsFd) -> io::Result<bool> {
    let flags = rustix::fs::AtFlags::EMPTY_PATH;
    let found = statx(&dir, "", flags, rustix::fs::StatxFlags::INO)?;
    Ok(found.stx_ino == TOP_INODE && is_btrfs(dir)?)
}

fn volume_args(name: &OsStr) -> io::Result<b::btrfs_ioctl_vol_args_v2> {
    // SAFETY: the structure is plain integers and arrays of them; all zeros are a value.
    let mut args: b::btrfs_ioctl_vol_args_v2 = unsafe { zeroed() };
    let name = name.as_bytes();
    if name.len() > 255 {
        return Err(Errno::NAMETOOLONG.into());
    }
    if name.contains(&0) {
        return Err(Errno::INVAL.into());
    }
    let mut field = [0; 4040];
    for (to, from) in field.iter_mut().zip(name) {
        *to = *from as c_char;
    }
    args.__bindgen_anon_2.name = field;
    Ok(args)
}

/// Makes an empty subvolume called `name` in `parent`.
///
/// # Errors
/// `EEXIST`, `EROFS`, `ENOSPC`.
pub fn create(parent: impl AsFd, name: &OsStr) -> io::Result<()> {
    let args = volume_args(name)?;
    // SAFETY: the opcode's argument is this structure, which the call only reads.
    unsafe {
        ioctl::ioctl(
            parent,
            Setter::<{ ops::BTRFS_IOC_SUBVOL_CREATE_V2 }, _>::new(args),
        )
    }?;
    Ok(())
}

/// Makes a snapshot of the subvolume whose top `source` is, called `name`, in `parent`. Ends with
/// a commit of the filesystem.
///
/// # Errors
/// `EEXIST`; `EINVAL` if `source` is not a subvolume's top; `ETXTBSY` if it holds an active
/// swapfile; `EXDEV` if it is on another filesystem.
pub fn snapshot(
    source: impl AsFd,
    parent: impl AsFd,
    name: &OsStr,
    read_only: bool,
) -> io::Result<()> {
    let mut args = volume_args(name)?;
    args.fd = source.as_fd().as_raw_fd().into();
    if read_only {
        args.flags = b::BTRFS_SUBVOL_RDONLY.into();
    }
    // SAFETY: the opcode's argument is this structure, whose descriptor is open; it is only read.
    unsafe {
        ioctl::ioctl(
            parent,
            Setter::<{ ops::BTRFS_IOC_SNAP_CREATE_V2 }, _>::new(args),
        )
    }?;
    Ok(())
}

/// Deletes a subvolume by its id; `top` is the mounted top level. Its space is freed later.
///
/// # Errors
/// `ENOENT`; `ENOTEMPTY` while subvolumes lie in it; `EPERM` for the default subvolume, during a
/// send of it and while it holds an active swapfile; `EROFS` in a read-only subvolume.
pub fn delete(top: impl AsFd, id: u64) -> io::Result<()> {
    let mut args = volume_args(OsStr::new(""))?;
    args.flags = b::BTRFS_SUBVOL_SPEC_BY_ID.into();
    args.__bindgen_anon_2.subvolid = id;
    // SAFETY: the opcode's argument is this structure, which the call only reads.
    unsafe {
        ioctl::ioctl(
            top,
            Setter::<{ ops::BTRFS_IOC_SNAP_DESTROY_V2 }, _>::new(args),
        )
    }?;
    Ok(())
}

/// Sets or clears the read-only flag of the subvolume whose top `subvolume` is. Says whether that
/// changed it.
///
/// # Errors
/// `EPERM` during a send of it, `EROFS` on a read-only filesystem.
pub fn set_read_only(subvolume: impl AsFd, read_only: bool) -> io::Result<bool> {
    // SAFETY: the opcode's argument is a 64-bit number, which the call fills in.
    let old: u64 = unsafe {
        ioctl::ioctl(
            &subvolume,
            Getter::<{ ops::BTRFS_IOC_SUBVOL_GETFLAGS }, u64>::new(),
        )
    }?;
    let flag = u64::from(b::BTRFS_SUBVOL_RDONLY);
    let new = if read_only { old | flag } else { old & !flag };
    if new == old {
        return Ok(false);
    }
    // SAFETY: the opcode's argument is a 64-bit number, which the call only reads.
    unsafe {
        ioctl::ioctl(
            &subvolume,
            Setter::<{ ops::BTRFS_IOC_SUBVOL_SETFLAGS }, u64>::new(new),
        )
    }?;
    Ok(true)
}

/// Makes a subvolume the one that a mount without `subvol=` gets.
///
/// # Errors
/// `ENOENT` if there is none with this id.
pub fn set_default(top: impl AsFd, id: u64) -> io::Result<()> {
    // SAFETY: the opcode's argument is a 64-bit number, which the call only reads.
    unsafe {
        ioctl::ioctl(
            top,
            Setter::<{ ops::BTRFS_IOC_DEFAULT_SUBVOL }, u64>::new(id),
        )
    }?;
    Ok(())
}

/// Writes out what programs wrote, commits the running transaction, and waits for both.
///
/// # Errors
/// `EROFS` after the filesystem gave up because of an earlier failure, `EIO`, `ENOSPC`.
pub fn commit(file: impl AsFd) -> io::Result<()> {
    // SAFETY: the opcode takes no argument.
    Ok(unsafe { ioctl::ioctl(file, NoArg::<{ ops::BTRFS_IOC_SYNC }>::new()) }?)
}

/// The UUID of the filesystem.
///
/// # Errors
/// `ENOTTY` outside btrfs.
pub fn filesystem_uuid(file: impl AsFd) -> io::Result<[u8; 16]> {
    Ok(filesystem_info(file)?.fsid)
}

fn filesystem_info(file: impl AsFd) -> io::Result<b::btrfs_ioctl_fs_info_args> {
    // SAFETY: the structure is plain integers, for which all zeros are a value.
    let mut info: b::btrfs_ioctl_fs_info_args = unsafe { zeroed() };
    // SAFETY: the opcode's argument is this structure, which the call fills in.
    unsafe {
        ioctl::ioctl(
            file,
            Updater::<{ ops::BTRFS_IOC_FS_INFO }, _>::new(&mut info),
        )
    }?;
    Ok(info)
}

/// The devices of the filesystem, by the paths that the kernel knows them by (and shows as a
/// mount's source). Missing ones are left out.
///
/// # Errors
/// `ENOTTY` outside btrfs.
pub fn devices(file: impl AsFd) -> io::Result<Vec<PathBuf>> {
    let last = filesystem_info(&file)?.max_id;
    let mut devices = Vec::new();
    for id in 1..=last {
        // SAFETY: the structure is plain integers and arrays of them; all zeros are a value.
        let mut info: b::btrfs_ioctl_dev_info_args = unsafe { zeroed() };
        info.devid = id;
        // SAFETY: the opcode's argument is this structure, which the call fills in.
        let found = unsafe {
            ioctl::ioctl(
                &file,
                Updater::<{ ops::BTRFS_IOC_DEV_INFO }, _>::new(&mut info),
            )
        };
        match found {
            Ok(()) => {}
            Err(Errno::NODEV) => continue, // a number that is not in use
            Err(errno) => return Err(errno.into()),
        }
        let path: Vec<u8> = info
            .path
            .into_iter()
            .take_while(|byte| *byte != 0)
            .collect();
        if !path.is_empty() {
            devices.push(PathBuf::from(OsString::from_vec(path)));
        }
    }
    Ok(devices)
}

/// The path of a directory from the top of its subvolume, without slashes at its ends, and the id
/// of that subvolume; `tree` 0 is the one that `file` is in.
///
/// # Errors
/// `ENOENT`; `ENAMETOOLONG` for a path of more than about 4000 bytes.
pub fn directory_path(file: impl AsFd, tree: u64, inode: u64) -> io::Result<(u64, PathBuf)> {
    // SAFETY: the structure is plain integers and arrays of them; all zeros are a value.
    let mut args: b::btrfs_ioctl_ino_lookup_args = unsafe { zeroed() };
    args.treeid = tree;
    args.objectid = inode;
    // SAFETY: the opcode's argument is this structure, which the call fills in.
    unsafe {
        ioctl::ioctl(
            file,
            Updater::<{ ops::BTRFS_IOC_INO_LOOKUP }, _>::new(&mut args),
        )
    }?;
    let mut path: Vec<u8> = args
        .name
        .into_iter()
        .take_while(|byte| *byte != 0)
        .map(|byte| byte as u8)
        .collect();
    if path.last() == Some(&b'/') {
        path.pop();
    }
    Ok((args.treeid, PathBuf::from(OsString::from_vec(path))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_subvolume_can_have_are_refused() {
        for name in [&b"nul\0inside"[..], &[b'x'; 256]] {
            assert!(volume_args(OsStr::from_bytes(name)).is_err());
        }
    }
}
