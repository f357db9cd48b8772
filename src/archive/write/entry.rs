//! What a worker does: entries become members, members become frames.

use super::content::{Content, read};
use super::large::Buffer;
use super::notes::Notes;
use super::pool::Pool;
use super::unit::{Item, Kept, Listed, Made, Piece, Task, Unit, Way};
use crate::archive::frame::{FRAME_BYTES, Packer};
use crate::archive::machine::Machine;
use crate::archive::manifest::{Digest, Record, What};
use crate::archive::member::{Extra, Kind, Member, padded};
use crate::archive::pax::Time;
use crate::archive::tar::Packed;
use crate::archive::{Error, Result};
use sha2::{Digest as _, Sha256};
use state_linux::stat::{self, Stat};
use state_linux::tree::Entry;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;

/// A worker.
pub(super) struct Maker<'p> {
    pub(super) pool: &'p Pool<'p>,
    packer: Packer,
    /// The tar that grows.
    pub(super) buffer: Buffer,
}

impl<'p> Maker<'p> {
    pub(super) fn new(pool: &'p Pool<'p>, level: i32) -> Result<Self> {
        Ok(Self {
            pool,
            packer: Packer::new(level).map_err(|e| Error::os("starting zstd", e))?,
            buffer: Buffer::default(),
        })
    }

    /// Turns a unit into frames.
    pub(super) fn make(&mut self, task: Task) -> Result<Made> {
        let mut made = Made::default();
        self.buffer.clear();
        match task.unit {
            Unit::Entries(items) => {
                for piece in self.pool.ahead.of(items) {
                    if self.pool.is_stopped() {
                        return Err(state_api::Error::Interrupted.into());
                    }
                    match piece {
                        Piece::Entry(item) => self.entry(item, &mut made)?,
                        Piece::Kept(Kept::Record(record)) => made.listed(record),
                        Piece::Kept(Kept::Stretch(stretch)) => {
                            made.listed.push(Listed::Lines(stretch.into()));
                        }
                    }
                }
                self.cut(&mut made)?;
            }
            Unit::Part(large, part) => large.make(part, self, &mut made)?,
        }
        drop(task.held);
        Ok(made)
    }

    /// Compresses what is in the buffer.
    pub(super) fn cut(&mut self, made: &mut Made) -> Result<()> {
        for content in self.buffer.filled().chunks(FRAME_BYTES) {
            made.frames.push(Packed::of(content, &mut self.packer)?);
        }
        self.buffer.clear();
        Ok(())
    }

    fn entry(&mut self, item: Item, made: &mut Made) -> Result<()> {
        let Item {
            store,
            entry,
            path,
            way,
        } = item;
        let (kind, what, extra) = match (entry.stat.kind, way) {
            (_, Way::Link(target)) => {
                let what = What::Link {
                    target: target.clone(),
                };
                (Kind::Link { target }, what, Extra::default())
            }
            (stat::Kind::File, Way::Opened(open)) => {
                return self.file(store, &entry, path, open, made);
            }
            (stat::Kind::File, _) => {
                return match made.notes.ok(entry.open()) {
                    Some(open) => self.file(store, &entry, path, open, made),
                    None => Ok(()),
                };
            }
            (stat::Kind::Directory, way) => {
                let extra = extra(&entry, None, &mut made.notes);
                if let (Way::Shared, Some(Listed::Record(last))) = (way, made.listed.last()) {
                    let (archive, offset) = (last.archive, last.offset);
                    let member = self.member(&entry, &path, Kind::Directory, 0, extra, made);
                    let what = What::Directory;
                    made.listed(Record {
                        archive,
                        ..record(store, &entry, path, what, member.extra, offset)
                    });
                    return Ok(());
                }
                (Kind::Directory, What::Directory, extra)
            }
            (stat::Kind::Symlink, way) => {
                let target = match way {
                    Way::Target(target) => target,
                    _ => match made.notes.ok(entry.link_target()) {
                        Some(target) => target.into_vec(),
                        None => return Ok(()),
                    },
                };
                let what = What::Symlink {
                    target: target.clone(),
                };
                let extra = extra(&entry, None, &mut made.notes);
                (Kind::Symlink { target }, what, extra)
            }
            _ => (Kind::Fifo, What::Fifo, extra(&entry, None, &mut made.notes)),
        };
        let member = self.member(&entry, &path, kind, 0, extra, made);
        let offset = self.headers(&member, made)?;
        made.listed(record(store, &entry, path, what, member.extra, offset));
        Ok(())
    }

    fn file(
        &mut self,
        store: usize,
        entry: &Entry,
        path: Vec<u8>,
        open: OwnedFd,
        made: &mut Made,
    ) -> Result<()> {
        let size = entry.stat.size;
        let (content, member) = announce(self.pool.machine, entry, &path, &open, &mut made.notes);
        let offset = self.headers(&member, made)?;
        self.buffer.push(&content.map);
        let mut hash = Sha256::new();
        let mut position = 0;
        for extent in &content.extents {
            super::hash_zeros(&mut hash, extent.offset - position);
            let room = self.buffer.room(extent.length as usize);
            let done = self.pool.ahead.read(&open, extent.offset, room);
            let rest = extent.offset + done as u64;
            if let Err(why) = read(&open, rest, &mut room[done..]) {
                made.notes.missing(&path, why);
            }
            hash.update(room);
            position = extent.offset + extent.length;
        }
        super::hash_zeros(&mut hash, size - position);
        self.buffer.pad();
        check_same(entry, &path, &mut made.notes);
        let what = What::File {
            size,
            sha256: Digest::from(hash),
            is_sparse: content.is_sparse,
        };
        made.files += 1;
        made.bytes += content.data();
        made.listed(record(store, entry, path, what, member.extra, offset));
        Ok(())
    }

    fn member(
        &self,
        entry: &Entry,
        path: &[u8],
        kind: Kind,
        stored_bytes: u64,
        extra: Extra,
        made: &mut Made,
    ) -> Member {
        member(
            self.pool.machine,
            entry,
            path,
            kind,
            stored_bytes,
            extra,
            &mut made.notes,
        )
    }

    /// Writes a member's headers, into a new frame if the member does not fit into the present
    /// one. Says where they are in the unit.
    fn headers(&mut self, member: &Member, made: &mut Made) -> Result<u64> {
        let headers = encode(member)?;
        let length = headers.len() + padded(member.stored_bytes) as usize;
        if self.buffer.filled().len() + length > FRAME_BYTES {
            self.cut(made)?;
        }
        let cut: u64 = made.frames.iter().map(|frame| frame.length as u64).sum();
        let offset = cut + self.buffer.filled().len() as u64;
        self.buffer.push(&headers);
        Ok(offset)
    }
}

/// Notes it if a file is no longer what it was when it was found.
pub(super) fn check_same(entry: &Entry, path: &[u8], notes: &mut Notes) {
    match entry.stat_again() {
        Ok(now) if is_same(&now, &entry.stat) => {}
        Ok(_) => notes.missing(path, "it changed while it was read"),
        Err(error) => notes.missing(path, format!("it went away while it was read: {error}")),
    }
}

/// Everything that `stat` does not say. What cannot be read is missing by name; the entry itself
/// is archived all the same.
fn extra(entry: &Entry, open: Option<&OwnedFd>, notes: &mut Notes) -> Extra {
    let metadata = match open {
        Some(open) => entry.metadata_of(open),
        None => entry.metadata(),
    };
    let Some(metadata) = notes.ok(metadata) else {
        return Extra::default();
    };
    for what in metadata.flags.not_kept() {
        notes.without(super::path_bytes(&entry.path), what);
    }
    Extra {
        xattrs: (metadata.xattrs.into_iter())
            .map(|(name, value)| (name.into_vec(), value))
            .collect(),
        access_acl: metadata.access_acl.map(|acl| acl.to_string()),
        default_acl: metadata.default_acl.map(|acl| acl.to_string()),
        flags: (!metadata.flags.is_none()).then(|| metadata.flags.to_string()),
    }
}

/// The content of a file and its member.
pub(super) fn announce(
    machine: &Machine,
    entry: &Entry,
    path: &[u8],
    open: &OwnedFd,
    notes: &mut Notes,
) -> (Content, Member) {
    let content = Content::of(entry, path, open, notes);
    let extra = extra(entry, Some(open), notes);
    let stored = content.map.len() as u64 + content.data();
    let kind = content.kind(entry.stat.size);
    let member = member(machine, entry, path, kind, stored, extra, notes);
    (content, member)
}

/// The member for an entry, with the attributes that fit into it.
fn member(
    machine: &Machine,
    entry: &Entry,
    path: &[u8],
    kind: Kind,
    stored_bytes: u64,
    extra: Extra,
    notes: &mut Notes,
) -> Member {
    let stat = &entry.stat;
    let mut member = Member {
        path: path.to_vec(),
        kind,
        stored_bytes,
        mode: stat.mode,
        uid: stat.uid,
        gid: stat.gid,
        user: machine.user(stat.uid).to_vec(),
        group: machine.group(stat.gid).to_vec(),
        modified: time(stat.modified),
        extra,
    };
    if !member.extra.is_none()
        && let Err(bad) = member.encode()
    {
        notes.missing(path, bad.to_string());
        member.extra = Extra::default();
    }
    member
}

pub(super) fn encode(member: &Member) -> Result<Vec<u8>> {
    (member.encode()).map_err(|bad| Error::os("encoding a member", std::io::Error::other(bad)))
}

/// The place in the chain of the archive that is being written: the writer knows it.
pub(super) const OWN: usize = usize::MAX;

pub(super) fn record(
    store: usize,
    entry: &Entry,
    path: Vec<u8>,
    what: What,
    extra: Extra,
    offset: u64,
) -> Record {
    Record {
        path,
        store,
        what,
        mode: entry.stat.mode,
        uid: entry.stat.uid,
        gid: entry.stat.gid,
        modified: time(entry.stat.modified),
        extra,
        has_links: entry.stat.links > 1 && entry.stat.kind != stat::Kind::Directory,
        archive: OWN,
        offset,
        inode: entry.stat.id.inode,
        changed: time(entry.stat.changed),
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
