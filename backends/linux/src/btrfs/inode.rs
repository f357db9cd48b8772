//! The inodes of a subvolume, by its tree.

use super::TOP_INODE;
use super::items::{self, InodeItem, Name, Target};
use super::search::{Range, Searcher};
use linux_raw_sys::btrfs as b;
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;

const ITEM: u8 = b::BTRFS_INODE_ITEM_KEY as u8;
const REF: u8 = b::BTRFS_INODE_REF_KEY as u8;
const EXTREF: u8 = b::BTRFS_INODE_EXTREF_KEY as u8;
const DIR_INDEX: u8 = b::BTRFS_DIR_INDEX_KEY as u8;

/// An inode with all its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inode {
    /// What it is.
    pub item: InodeItem,
    /// Where it is found; nowhere for the subvolume's top, and for a file that was deleted while
    /// it is open.
    pub names: Vec<Name>,
}

/// The numbers of the inodes that a transaction after `since` changed in any respect: content,
/// owner, mode, attributes, names, and of a directory the names in it. All of them write the
/// inode's item. What is deleted is found in the directory it was in.
///
/// # Errors
/// `ENOENT` if there is no such tree, `EPERM` without CAP_SYS_ADMIN, `E2BIG` if there are more
/// than `limit`.
pub fn changed_inodes(
    on: &mut Searcher<impl AsFd>,
    tree: u64,
    since: u64,
    limit: usize,
) -> io::Result<BTreeSet<u64>> {
    let mut changed = BTreeSet::new();
    let Some(since) = since.checked_add(1) else {
        return Ok(changed);
    };
    let range = Range {
        tree,
        from: (TOP_INODE, 0, 0),
        to: (b::BTRFS_LAST_FREE_OBJECTID as u64, u8::MAX, u64::MAX),
        since,
    };
    on.search(range, |(object, kind, _), data| {
        // A block that was written anew also holds what did not change.
        if kind == ITEM && items::inode_item(data).ok_or(Errno::IO)?.transid >= since {
            changed.insert(object);
            if changed.len() > limit {
                return Err(Errno::TOOBIG.into());
            }
        }
        Ok(())
    })?;
    Ok(changed)
}

/// An inode by its number; `None` if there is none.
///
/// # Errors
/// As [`changed_inodes`].
pub fn inode(on: &mut Searcher<impl AsFd>, tree: u64, number: u64) -> io::Result<Option<Inode>> {
    let mut found = None;
    let mut names = Vec::new();
    let range = Range {
        tree,
        from: (number, ITEM, 0),
        to: (number, EXTREF, u64::MAX),
        since: 0,
    };
    on.search(range, |(_, kind, offset), data| {
        match kind {
            ITEM => found = Some(items::inode_item(data).ok_or(Errno::IO)?),
            // The top's own name is `..`, in itself.
            REF if number != TOP_INODE => {
                names.extend(items::inode_refs(offset, data).ok_or(Errno::IO)?);
            }
            EXTREF => names.extend(items::inode_extrefs(data).ok_or(Errno::IO)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(found.map(|item| Inode { item, names }))
}

/// What is in a directory, by its inode number.
///
/// # Errors
/// As [`changed_inodes`].
pub fn entries(
    on: &mut Searcher<impl AsFd>,
    tree: u64,
    directory: u64,
) -> io::Result<BTreeMap<OsString, Target>> {
    let mut entries = BTreeMap::new();
    let range = Range {
        tree,
        from: (directory, DIR_INDEX, 0),
        to: (directory, DIR_INDEX, u64::MAX),
        since: 0,
    };
    on.search(range, |_, data| {
        entries.extend([items::dir_index(data).ok_or(Errno::IO)?]);
        Ok(())
    })?;
    Ok(entries)
}
