//! The items of a subvolume's tree, read strictly from their bytes as `linux/btrfs_tree.h` lays
//! them out. `None`: this is no such item.

use linux_raw_sys::btrfs as b;
use std::ffi::{OsStr, OsString};
use std::mem::offset_of;
use std::os::unix::ffi::OsStrExt as _;

/// What we need of an INODE_ITEM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InodeItem {
    /// Tells two uses of one number apart.
    pub generation: u64,
    /// The transaction that last changed anything of it.
    pub transid: u64,
    /// Whether it is a directory.
    pub is_directory: bool,
    /// The whole item but for `transid` and the time of the last access: what is the same in two
    /// items of one inode, of which one was left alone since they were one, says that only
    /// looking has happened to the other. All else moves at least `sequence` and ctime.
    pub rest: Rest,
}

/// See [`InodeItem::rest`].
pub type Rest = [u8; size_of::<b::btrfs_inode_item>()];

/// A name of an inode: the directory it is in, by inode number, and the name.
pub type Name = (u64, OsString);

/// What a directory's entry leads to: the object and the type of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The inode, or the id of a nested subvolume.
    pub object: u64,
    /// Whether it is a nested subvolume.
    pub is_subvolume: bool,
}

pub(super) fn u64_at(data: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*data.get(at..)?.first_chunk()?))
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*data.get(at..)?.first_chunk()?))
}

fn u16_at(data: &[u8], at: usize) -> Option<usize> {
    Some(u16::from_le_bytes(*data.get(at..)?.first_chunk()?).into())
}

/// Reads an INODE_ITEM.
pub fn inode_item(data: &[u8]) -> Option<InodeItem> {
    const FORMAT: u32 = 0o170_000;
    const DIRECTORY: u32 = 0o040_000;
    let mode = u32_at(data, offset_of!(b::btrfs_inode_item, mode))?;
    let mut rest: Rest = *data.first_chunk()?;
    for (at, length) in [
        (offset_of!(b::btrfs_inode_item, transid), size_of::<u64>()),
        (
            offset_of!(b::btrfs_inode_item, atime),
            size_of::<b::btrfs_timespec>(),
        ),
    ] {
        rest[at..at + length].fill(0);
    }
    Some(InodeItem {
        generation: u64_at(data, offset_of!(b::btrfs_inode_item, generation))?,
        transid: u64_at(data, offset_of!(b::btrfs_inode_item, transid))?,
        is_directory: mode & FORMAT == DIRECTORY,
        rest,
    })
}

/// Reads an INODE_REF: the names of an inode in the directory that the key's offset says.
pub fn inode_refs(parent: u64, data: &[u8]) -> Option<Vec<Name>> {
    let length_at = offset_of!(b::btrfs_inode_ref, name_len);
    let mut names = Vec::new();
    let mut rest = data;
    while !rest.is_empty() {
        let length = u16_at(rest, length_at)?;
        let (name, after) = rest
            .get(size_of::<b::btrfs_inode_ref>()..)?
            .split_at_checked(length)?;
        names.push((parent, valid(name)?));
        rest = after;
    }
    Some(names)
}

/// Reads an INODE_EXTREF: names of an inode that has too many in one directory.
pub fn inode_extrefs(data: &[u8]) -> Option<Vec<Name>> {
    let length_at = offset_of!(b::btrfs_inode_extref, name_len);
    let mut names = Vec::new();
    let mut rest = data;
    while !rest.is_empty() {
        let parent = u64_at(rest, 0)?;
        let length = u16_at(rest, length_at)?;
        let (name, after) = rest
            .get(offset_of!(b::btrfs_inode_extref, name)..)?
            .split_at_checked(length)?;
        names.push((parent, valid(name)?));
        rest = after;
    }
    Some(names)
}

/// Reads a DIR_INDEX: one entry of a directory.
pub fn dir_index(data: &[u8]) -> Option<(OsString, Target)> {
    let kind_at = offset_of!(b::btrfs_dir_item, location) + size_of::<u64>();
    let length = u16_at(data, offset_of!(b::btrfs_dir_item, name_len))?;
    let name = data.get(size_of::<b::btrfs_dir_item>()..)?.get(..length)?;
    let target = Target {
        object: u64_at(data, offset_of!(b::btrfs_dir_item, location))?,
        is_subvolume: match u32::from(*data.get(kind_at)?) {
            b::BTRFS_INODE_ITEM_KEY => false,
            b::BTRFS_ROOT_ITEM_KEY => true,
            _ => return None,
        },
    };
    Some((valid(name)?, target))
}

/// A name that a directory can have.
fn valid(name: &[u8]) -> Option<OsString> {
    let is_one = !matches!(name, b"" | b"." | b"..")
        && name.len() <= 255
        && !name.iter().any(|byte| matches!(byte, 0 | b'/'));
    is_one.then(|| OsStr::from_bytes(name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ref_item(name: &[u8]) -> Vec<u8> {
        let length = u16::try_from(name.len()).unwrap().to_le_bytes();
        [&7_u64.to_le_bytes()[..], &length, name].concat()
    }

    fn extref_item(parent: u64, name: &[u8]) -> Vec<u8> {
        [&parent.to_le_bytes()[..], &ref_item(name)].concat()
    }

    fn dir_item(object: u64, kind: u8, name: &[u8]) -> Vec<u8> {
        let length = u16::try_from(name.len()).unwrap().to_le_bytes();
        let mut item = object.to_le_bytes().to_vec();
        item.push(kind);
        item.extend_from_slice(&[0; 8]); // offset
        item.extend_from_slice(&[1; 8]); // transid
        item.extend_from_slice(&[0, 0]); // length of data
        item.extend_from_slice(&length);
        item.push(1);
        item.extend_from_slice(name);
        item
    }

    #[test]
    fn items_are_read() {
        let two = [ref_item(b"a b\n"), ref_item(b"\xff")].concat();
        let name = |parent, name: &[u8]| (parent, OsStr::from_bytes(name).to_owned());
        let expected = vec![name(256, b"a b\n"), name(256, b"\xff")];
        assert_eq!(inode_refs(256, &two), Some(expected));
        let two = [extref_item(256, b"x"), extref_item(257, b"y")].concat();
        let expected = vec![name(256, b"x"), name(257, b"y")];
        assert_eq!(inode_extrefs(&two), Some(expected));
        for (kind, is_subvolume) in [(1, false), (132, true)] {
            let target = Target {
                object: 300,
                is_subvolume,
            };
            let expected = Some(("n".into(), target));
            assert_eq!(dir_index(&dir_item(300, kind, b"n")), expected);
        }
        let mut inode = vec![0; size_of::<b::btrfs_inode_item>()];
        inode[0] = 5;
        inode[8] = 9;
        inode[52..56].copy_from_slice(&0o040_755_u32.to_le_bytes());
        let mut rest: Rest = *inode.first_chunk().unwrap();
        rest[8] = 0;
        let expected = InodeItem {
            generation: 5,
            transid: 9,
            is_directory: true,
            rest,
        };
        assert_eq!(inode_item(&inode), Some(expected));
        // Reading moves the time of the last access, and nothing else.
        let atime = offset_of!(b::btrfs_inode_item, atime);
        inode[atime] = 1;
        inode[atime + 8] = 1;
        assert_eq!(inode_item(&inode), Some(expected));
        inode[offset_of!(b::btrfs_inode_item, sequence)] = 1;
        assert_ne!(inode_item(&inode), Some(expected));
        inode[52..56].copy_from_slice(&0o100_644_u32.to_le_bytes());
        assert!(!inode_item(&inode).unwrap().is_directory);
    }

    #[test]
    fn what_was_cut_or_is_no_name_is_no_item() {
        let two = [ref_item(b"one"), ref_item(b"two")].concat();
        let whole = [13, 26];
        for length in 1..two.len() {
            let is_whole = whole.contains(&length);
            assert_eq!(inode_refs(256, &two[..length]).is_some(), is_whole);
        }
        let item = extref_item(256, b"name");
        for length in 1..item.len() {
            assert_eq!(inode_extrefs(&item[..length]), None);
        }
        let item = dir_item(300, 1, b"name");
        for length in 0..item.len() {
            assert_eq!(dir_index(&item[..length]), None);
        }
        assert_eq!(dir_index(&dir_item(300, 84, b"name")), None);
        for name in [&b""[..], b".", b"..", b"a/b", b"nul\0", &[b'x'; 256]] {
            assert_eq!(inode_refs(256, &ref_item(name)), None);
            assert_eq!(inode_extrefs(&extref_item(256, name)), None);
            assert_eq!(dir_index(&dir_item(300, 1, name)), None);
        }
        assert_eq!(inode_item(&[0; 52]), None);
    }
}
