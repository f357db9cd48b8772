//! The subvolumes of a filesystem, by the tree of all trees' roots.

use super::items::u64_at;
use super::search::{Key, Range, Searcher};
use super::{SubvolumeInfo, TOP_LEVEL};
use linux_raw_sys::btrfs as b;
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::offset_of;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;

/// The tree of all trees' roots.
const ROOT_TREE: u64 = b::BTRFS_ROOT_TREE_OBJECTID as u64;
/// The tree that finds subvolumes by their UUIDs.
const UUID_TREE: u64 = b::BTRFS_UUID_TREE_OBJECTID as u64;

/// A subvolume's place in the one around it, from a ROOT_REF or ROOT_BACKREF item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The subvolume at the other end: the child of a ROOT_REF, the parent of a ROOT_BACKREF.
    pub id: u64,
    /// The inode of the directory that the name is in, in the parent.
    pub directory: u64,
    /// The name.
    pub name: OsString,
}

/// The subvolumes directly inside another, by id.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN.
pub fn references(file: impl AsFd, parent: u64) -> io::Result<Vec<Reference>> {
    references_of(file, parent, b::BTRFS_ROOT_REF_KEY)
}

/// Where a subvolume lies; none for the top level and for one being deleted.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN.
pub fn back_reference(file: impl AsFd, child: u64) -> io::Result<Option<Reference>> {
    Ok(references_of(file, child, b::BTRFS_ROOT_BACKREF_KEY)?.pop())
}

fn references_of(file: impl AsFd, of: u64, kind: u32) -> io::Result<Vec<Reference>> {
    let mut found = Vec::new();
    search(file, ROOT_TREE, of, kind, |(_, _, offset), data| {
        let name_at = size_of::<b::btrfs_root_ref>();
        if let (Some(directory), Some(name)) = (u64_at(data, 0), data.get(name_at..)) {
            found.push(Reference {
                id: offset,
                directory,
                name: OsStr::from_bytes(name).to_owned(),
            });
        }
    })?;
    Ok(found)
}

/// The id of the default subvolume.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN.
pub fn default_subvolume(file: impl AsFd) -> io::Result<u64> {
    let directory = b::BTRFS_ROOT_TREE_DIR_OBJECTID.into();
    let mut default = TOP_LEVEL;
    search(
        file,
        ROOT_TREE,
        directory,
        b::BTRFS_DIR_ITEM_KEY,
        |_, data| {
            let name = data.get(size_of::<b::btrfs_dir_item>()..);
            let location = offset_of!(b::btrfs_dir_item, location);
            if let (Some(b"default"), Some(id)) = (name, u64_at(data, location)) {
                default = id;
            }
        },
    )?;
    Ok(default)
}

/// Describes the subvolume with this UUID; `None` if there is none (any more).
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN.
pub fn subvolume_by_uuid(file: impl AsFd, uuid: [u8; 16]) -> io::Result<Option<SubvolumeInfo>> {
    let (object, offset) = (u64_at(&uuid, 0), u64_at(&uuid, 8));
    let mut ids = Vec::new();
    let found = search(
        &file,
        UUID_TREE,
        object.unwrap_or_default(),
        b::BTRFS_UUID_KEY_SUBVOL,
        |key, data| {
            if Some(key.2) == offset {
                ids.extend(data.chunks_exact(8).filter_map(|id| u64_at(id, 0)));
            }
        },
    );
    match found {
        // A filesystem older than that tree.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NOENT) => return Ok(None),
        found => found?,
    }
    for id in ids {
        let mut last = None;
        search(&file, ROOT_TREE, id, b::BTRFS_ROOT_ITEM_KEY, |_, data| {
            last = root_item(id, data);
        })?;
        if last.as_ref().is_some_and(|info| info.uuid == uuid) {
            return Ok(last);
        }
    }
    Ok(None)
}

/// Reads a ROOT_ITEM of the kind that has a UUID.
fn root_item(id: u64, data: &[u8]) -> Option<SubvolumeInfo> {
    let uuid_at = |at: usize| data.get(at..)?.first_chunk().copied();
    let flags = u64_at(data, offset_of!(b::btrfs_root_item, flags))?;
    Some(SubvolumeInfo {
        id,
        uuid: uuid_at(offset_of!(b::btrfs_root_item, uuid))?,
        parent_uuid: uuid_at(offset_of!(b::btrfs_root_item, parent_uuid))?,
        is_read_only: flags & u64::from(b::BTRFS_ROOT_SUBVOL_RDONLY) != 0,
        ctransid: u64_at(data, offset_of!(b::btrfs_root_item, ctransid))?,
        otransid: u64_at(data, offset_of!(b::btrfs_root_item, otransid))?,
        otime_seconds: u64_at(data, offset_of!(b::btrfs_root_item, otime))?.cast_signed(),
    })
}

/// Calls `found` with key and data of every item `(object, kind, *)` of a tree.
fn search(
    file: impl AsFd,
    tree: u64,
    object: u64,
    kind: u32,
    mut found: impl FnMut(Key, &[u8]),
) -> io::Result<()> {
    let kind = u8::try_from(kind).map_err(|_| Errno::INVAL)?;
    let range = Range {
        tree,
        from: (object, kind, 0),
        to: (object, kind, u64::MAX),
        since: 0,
    };
    Searcher::new(file).search(range, |key, data| {
        found(key, data);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_structures_have_the_size_they_have_on_disk() {
        assert_eq!(size_of::<b::btrfs_root_ref>(), 18);
        assert_eq!(size_of::<b::btrfs_dir_item>(), 30);
        assert_eq!(size_of::<b::btrfs_inode_ref>(), 10);
        assert_eq!(size_of::<b::btrfs_inode_item>(), 160);
        assert_eq!(size_of::<b::btrfs_root_item>(), 439);
    }
}
