//! One entry: its member, its content, its line in the sums.

use super::{CHUNK, Progress, Writer, hash_zeros, missing};
use crate::archive::manifest::{Bytes, Digest, What};
use crate::archive::member::{Extra, Kind, Member, padded};
use crate::archive::pax::Time;
use crate::archive::{Error, MOST_SPARSE_BYTES, NAME_MAX, PATH_MAX, Result, sparse, sums};
use sha2::{Digest as _, Sha256};
use state_linux::metadata::{Extent, data_extents};
use state_linux::stat::{self, Stat};
use state_linux::tree::{Boundary, Entry, Unreadable};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

impl Writer<'_, '_> {
    pub(super) fn unreadable(&mut self, error: Unreadable) {
        let why = format!("{}: {}", error.doing, error.source);
        self.missing(error.path.as_os_str().as_bytes(), why);
    }

    pub(super) fn missing(&mut self, path: &[u8], why: impl Into<String>) {
        self.incomplete.push(missing(path, why));
    }

    /// Archives one entry; says where its member is, unless it has none.
    pub(super) fn entry(
        &mut self,
        store: usize,
        entry: &Entry,
        path: &[u8],
        shared: Option<u64>,
    ) -> Result<Option<u64>> {
        if self.interrupt.is_set() {
            return Err(state_api::Error::Interrupted.into());
        }
        (self.watch)(Progress {
            entries: self.totals.entries,
            bytes: self.totals.bytes,
            path,
        });
        let is_directory = entry.stat.kind == stat::Kind::Directory;
        if path.len() > PATH_MAX || entry.name().len() > NAME_MAX {
            self.missing(path, "its path is longer than 4095 bytes");
            return Ok(None);
        }
        match entry.boundary {
            None => {}
            Some(Boundary::Volume) => self.missing(path, "a nested volume that no snapshot has"),
            Some(Boundary::Mount) => {
                self.missing(path, "something is mounted over it");
                if !is_directory {
                    return Ok(None);
                }
            }
        }
        match entry.stat.kind {
            stat::Kind::Socket => {
                self.left_out.push(missing(path, "a socket"));
                Ok(None)
            }
            stat::Kind::CharDevice | stat::Kind::BlockDevice => {
                self.left_out.push(missing(path, "a device node"));
                Ok(None)
            }
            stat::Kind::File => self.file(store, entry, path),
            stat::Kind::Directory => {
                let extra = self.extra(entry, None);
                let what = What::Directory;
                self.bare(store, entry, path, Kind::Directory, what, extra, shared)
            }
            stat::Kind::Symlink | stat::Kind::Fifo => {
                if let Some(offset) = self.further_name(store, entry, path)? {
                    return Ok(Some(offset));
                }
                let (kind, what) = if entry.stat.kind == stat::Kind::Fifo {
                    (Kind::Fifo, What::Fifo)
                } else {
                    let target = match entry.link_target() {
                        Ok(target) => target.into_vec(),
                        Err(error) => {
                            self.unreadable(error);
                            return Ok(None);
                        }
                    };
                    let what = What::Symlink {
                        target: target.clone(),
                    };
                    (Kind::Symlink { target }, what)
                };
                let extra = self.extra(entry, None);
                self.first_name(store, entry, path, None);
                self.bare(store, entry, path, kind, what, extra, None)
            }
        }
    }

    /// Something without content.
    #[allow(clippy::too_many_arguments)]
    fn bare(
        &mut self,
        store: usize,
        entry: &Entry,
        path: &[u8],
        kind: Kind,
        what: What,
        extra: Extra,
        shared: Option<u64>,
    ) -> Result<Option<u64>> {
        let (member, extra) = self.member(entry, path, kind, 0, extra);
        let offset = match shared {
            Some(offset) => offset,
            None => self.headers(&member)?,
        };
        self.record(store, entry, path, what, extra, offset)?;
        Ok(Some(offset))
    }

    fn file(&mut self, store: usize, entry: &Entry, path: &[u8]) -> Result<Option<u64>> {
        if let Some(offset) = self.further_name(store, entry, path)? {
            return Ok(Some(offset));
        }
        let open = match entry.open() {
            Ok(open) => open,
            Err(error) => {
                self.unreadable(error);
                return Ok(None);
            }
        };
        let size = entry.stat.size;
        let mut extents = vec![Extent {
            offset: 0,
            length: size,
        }];
        if entry.stat.allocated_bytes < size {
            match data_extents(&open, size) {
                Ok(found) => extents = found,
                Err(error) => self.missing(path, format!("finding its holes: {error}")),
            }
        }
        let data: u64 = extents.iter().map(|e| e.length).sum();
        let is_sparse = data < size;
        if is_sparse {
            self.sparse_bytes = self.sparse_bytes.saturating_add(size);
            if self.sparse_bytes > MOST_SPARSE_BYTES {
                self.missing(path, "files with holes of more than 4 TiB in all");
                return Ok(None);
            }
        }
        let map = if is_sparse {
            sparse::encode(&extents, size)
        } else {
            Vec::new()
        };
        let kind = if is_sparse {
            Kind::Sparse { real_size: size }
        } else {
            Kind::File
        };
        let extra = self.extra(entry, Some(&open));
        let stored = map.len() as u64 + data;
        let (member, extra) = self.member(entry, path, kind, stored, extra);
        let offset = self.headers(&member)?;
        self.tar.push(&map)?;
        let mut hash = Sha256::new();
        let mut position = 0;
        for extent in extents {
            self.hole(extent.offset - position, &mut hash)?;
            self.data(&open, path, extent, &mut hash)?;
            position = extent.offset + extent.length;
        }
        self.hole(size - position, &mut hash)?;
        self.tar.pad(stored)?;
        match entry.stat_again() {
            Ok(now) if is_same(&now, &entry.stat) => {}
            Ok(_) => self.missing(path, "it changed while it was read"),
            Err(error) => self.missing(path, format!("it went away while it was read: {error}")),
        }
        let sha256 = Digest::from(hash);
        self.first_name(store, entry, path, Some(sha256));
        self.sum(sha256, path)?;
        self.totals.files += 1;
        self.totals.bytes += data;
        let what = What::File {
            size,
            sha256,
            is_sparse,
        };
        self.record(store, entry, path, what, extra, offset)?;
        Ok(Some(offset))
    }

    fn hole(&self, mut length: u64, hash: &mut Sha256) -> Result<()> {
        while length > 0 {
            if self.interrupt.is_set() {
                return Err(state_api::Error::Interrupted.into());
            }
            let now = length.min(64 << 20);
            hash_zeros(hash, now);
            length -= now;
        }
        Ok(())
    }

    /// One stretch of a file's data. What cannot be read becomes zeros: the size is already said.
    fn data(
        &mut self,
        open: &OwnedFd,
        path: &[u8],
        extent: Extent,
        hash: &mut Sha256,
    ) -> Result<()> {
        let (mut at, end) = (extent.offset, extent.offset + extent.length);
        while at < end {
            if self.interrupt.is_set() {
                return Err(state_api::Error::Interrupted.into());
            }
            let room = (end - at).min(CHUNK as u64) as usize;
            let read = match rustix::io::pread(open, &mut self.buffer[..room], at) {
                Err(rustix::io::Errno::INTR) => continue,
                Ok(0) => Err("it became shorter while it was read".to_owned()),
                Ok(read) => Ok(read),
                Err(error) => Err(format!("reading it at byte {at}: {error}")),
            };
            match read {
                Ok(read) => {
                    hash.update(&self.buffer[..read]);
                    self.tar.push(&self.buffer[..read])?;
                    at += read as u64;
                }
                Err(why) => {
                    self.missing(path, why);
                    hash_zeros(hash, end - at);
                    self.tar.zeros(end - at)?;
                    at = end;
                }
            }
        }
        Ok(())
    }

    /// If another name of the same inode is in the archive already: archives this one as a link.
    fn further_name(&mut self, store: usize, entry: &Entry, path: &[u8]) -> Result<Option<u64>> {
        if entry.stat.links < 2 {
            return Ok(None);
        }
        let Some((target, sha256)) = self.links.get(&(store, entry.stat.id)).cloned() else {
            return Ok(None);
        };
        if let Some(sha256) = sha256 {
            self.sum(sha256, path)?;
        }
        let kind = Kind::Link {
            target: target.clone(),
        };
        let what = What::Link { target };
        self.bare(store, entry, path, kind, what, Extra::default(), None)
    }

    fn first_name(&mut self, store: usize, entry: &Entry, path: &[u8], sha256: Option<Digest>) {
        if entry.stat.links > 1 {
            let first = (path.to_vec(), sha256);
            self.links.insert((store, entry.stat.id), first);
        }
    }

    /// Everything that `stat` does not say. What cannot be read is missing by name; the entry
    /// itself is archived all the same.
    fn extra(&mut self, entry: &Entry, open: Option<&OwnedFd>) -> Extra {
        let metadata = match open {
            Some(open) => entry.metadata_of(open),
            None => entry.metadata(),
        };
        match metadata {
            Ok(metadata) => Extra {
                xattrs: (metadata.xattrs.into_iter())
                    .map(|(name, value)| (name.into_vec(), value))
                    .collect(),
                access_acl: metadata.access_acl.map(|acl| acl.to_string()),
                default_acl: metadata.default_acl.map(|acl| acl.to_string()),
                flags: (!metadata.flags.is_none()).then(|| metadata.flags.to_string()),
            },
            Err(error) => {
                self.unreadable(error);
                Extra::default()
            }
        }
    }

    /// The member for an entry, and the attributes that fit into it.
    fn member(
        &mut self,
        entry: &Entry,
        path: &[u8],
        kind: Kind,
        stored_bytes: u64,
        extra: Extra,
    ) -> (Member, Extra) {
        let stat = &entry.stat;
        let owner = |names: &std::collections::BTreeMap<u32, Bytes>, id| {
            names
                .get(&id)
                .map(|name| name.0.clone())
                .unwrap_or_default()
        };
        let mut member = Member {
            path: path.to_vec(),
            kind,
            stored_bytes,
            mode: stat.mode,
            uid: stat.uid,
            gid: stat.gid,
            user: owner(&self.machine.users, stat.uid),
            group: owner(&self.machine.groups, stat.gid),
            modified: time(stat.modified),
            extra,
        };
        if let Err(bad) = member.encode() {
            self.missing(path, bad.to_string());
            member.extra = Extra::default();
        }
        let extra = member.extra.clone();
        (member, extra)
    }

    /// Writes a member's headers and begins a frame if it does not fit into the present one.
    fn headers(&mut self, member: &Member) -> Result<u64> {
        let headers = (member.encode())
            .map_err(|bad| Error::os("encoding a member", std::io::Error::other(bad)))?;
        let length = headers.len() as u64 + padded(member.stored_bytes);
        self.tar.begin(length)?;
        let offset = self.tar.position();
        self.tar.push(&headers)?;
        Ok(offset)
    }

    fn sum(&mut self, sha256: Digest, path: &[u8]) -> Result<()> {
        let mut line = Vec::new();
        sums::push_line(&mut line, sha256, path);
        self.sums.push(&mut self.tar, &line)
    }
}

pub(super) fn time(time: stat::Time) -> Time {
    Time {
        seconds: time.seconds,
        nanoseconds: time.nanoseconds,
    }
}

fn is_same(now: &Stat, then: &Stat) -> bool {
    (now.id, now.size, now.modified, now.changed)
        == (then.id, then.size, then.modified, then.changed)
}
