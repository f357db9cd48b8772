//! A read-only subvolume read from its tree.
//!
//! One search tells of an inode what five system calls tell, and brings no inode into memory that
//! has to be thrown away with the snapshot. What is not plain is not told: it is read as
//! everywhere else.

use super::items;
use super::search::{Range, Searcher};
use super::{inode, subvolume_info};
use crate::metadata::{Flags, Metadata};
use crate::stat::{FileId, Kind, Stat};
use linux_raw_sys::btrfs as b;
use rustix::io::Errno;
use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

const ITEM: u8 = b::BTRFS_INODE_ITEM_KEY as u8;
const XATTR: u8 = b::BTRFS_XATTR_ITEM_KEY as u8;
const EXTENT: u8 = b::BTRFS_EXTENT_DATA_KEY as u8;

/// The room for what is told of one inode.
const ROOM: usize = 16 << 10;

/// A read-only subvolume.
pub(crate) struct Frozen {
    inodes: Searcher<OwnedFd>,
    names: Searcher<OwnedFd>,
    tree: u64,
    device: u64,
    sector_bytes: u64,
}

/// What is known of an inode.
pub(crate) struct Found {
    pub(crate) stat: Stat,
    /// Not if it has attributes that the kernel shows otherwise than they are stored.
    pub(crate) metadata: Option<Metadata>,
    /// The content of a small file, or where a symlink points.
    pub(crate) content: Option<Vec<u8>>,
}

impl Frozen {
    /// The subvolume whose directory this is. `None`: it can change, it is none of btrfs, or its
    /// tree may not be read.
    pub(crate) fn of(dir: &OwnedFd) -> Option<Self> {
        let info = subvolume_info(dir).ok().filter(|info| info.is_read_only)?;
        let stat = Stat::of_open(dir).ok()?;
        let mut frozen = Self {
            inodes: Searcher::new(dir.try_clone().ok()?).with_room(ROOM),
            names: Searcher::new(dir.try_clone().ok()?),
            tree: info.id,
            device: stat.id.device,
            sector_bytes: super::filesystem_info(dir).ok()?.sectorsize.into(),
        };
        let found = frozen.inode(stat.id.inode).ok()??;
        (found.stat.id == stat.id).then_some(frozen)
    }

    /// The names in a directory with the inodes that they lead to; none for a nested subvolume.
    pub(crate) fn names(&mut self, directory: u64) -> io::Result<Vec<(CString, Option<u64>)>> {
        let entries = inode::entries(&mut self.names, self.tree, directory)?;
        let name = |(name, target): (std::ffi::OsString, items::Target)| {
            let name = CString::new(name.as_bytes()).map_err(|_| Errno::IO)?;
            Ok((name, (!target.is_subvolume).then_some(target.object)))
        };
        entries.into_iter().map(name).collect()
    }

    /// An inode by its number; `None` if it is not one that can be told of.
    pub(crate) fn inode(&mut self, number: u64) -> io::Result<Option<Found>> {
        let mut found = None;
        let mut metadata = Some(Metadata::default());
        let mut content = None;
        let range = Range {
            tree: self.tree,
            from: (number, ITEM, 0),
            // Of content only what begins the file: what comes behind it is not stored here.
            to: (number, EXTENT, 0),
            since: 0,
        };
        let (device, sector_bytes) = (self.device, self.sector_bytes);
        self.inodes.search(range, |(_, kind, _), data| {
            match kind {
                ITEM => {
                    let facts = items::facts(data).ok_or(Errno::IO)?;
                    if let Some(metadata) = &mut metadata {
                        metadata.flags = Flags::of_btrfs(facts.flags);
                    }
                    let id = FileId {
                        device,
                        inode: number,
                    };
                    found = stat(&facts, id, sector_bytes);
                }
                XATTR => {
                    for (name, value) in items::xattrs(data).ok_or(Errno::IO)? {
                        if name.starts_with(b"security.") {
                            metadata = None;
                        } else if let Some(metadata) = &mut metadata {
                            metadata.insert(name, value.to_vec())?;
                        }
                    }
                }
                EXTENT => {
                    let size = found.map_or(0, |stat: Stat| stat.size);
                    content = items::inline(data, size).map(<[u8]>::to_vec);
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(found.map(|stat| Found {
            stat,
            metadata,
            // Nothing is stored of an empty file.
            content: content.or_else(|| (stat.size == 0).then(Vec::new)),
        }))
    }
}

fn stat(facts: &items::Facts, id: FileId, sector_bytes: u64) -> Option<Stat> {
    const FORMAT: u32 = 0o170_000;
    let kind = match facts.mode & FORMAT {
        0o100_000 => Kind::File,
        0o040_000 => Kind::Directory,
        0o120_000 => Kind::Symlink,
        0o010_000 => Kind::Fifo,
        0o140_000 => Kind::Socket,
        _ => return None, // device nodes
    };
    Some(Stat {
        kind,
        mode: facts.mode & 0o7777,
        uid: facts.uid,
        gid: facts.gid,
        size: facts.size,
        allocated_bytes: facts.stored_bytes.next_multiple_of(sector_bytes.max(1)),
        links: facts.links,
        id,
        device_number: 0,
        accessed: facts.accessed,
        modified: facts.modified,
        changed: facts.changed,
        born: Some(facts.born),
        is_mount_point: false,
    })
}
