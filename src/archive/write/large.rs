//! A file of more than one frame: its parts are made by whoever is free, and its digest goes
//! from part to part.

use super::content::read;
use super::entry::{Maker, announce, check_same, encode, record};
use super::hash_zeros;
use super::notes::Notes;
use super::unit::{Item, Made, Way};
use crate::archive::Result;
use crate::archive::crew::TICK;
use crate::archive::frame::FRAME_BYTES;
use crate::archive::machine::Machine;
use crate::archive::manifest::{Digest, Record, What};
use crate::archive::member::padded;
use sha2::{Digest as _, Sha256};
use state_linux::metadata::Extent;
use state_linux::tree::Entry;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::{Condvar, Mutex, PoisonError};

/// The size of a part.
const PART: u64 = FRAME_BYTES as u64;

/// A file that is archived in parts.
pub(super) struct Large {
    entry: Entry,
    open: OwnedFd,
    /// What comes before the data: headers, and the map of a file with holes.
    front: Vec<u8>,
    /// The extents, and where each begins in the data.
    extents: Vec<(u64, Extent)>,
    /// How much data there is.
    data: u64,
    /// The record but for its digest.
    record: Record,
    chain: Mutex<Chain>,
    next: Condvar,
}

/// How far the file has been hashed.
struct Chain {
    parts: u64,
    /// The place in the file.
    position: u64,
    hash: Sha256,
    /// Whether it was said that it cannot be read: once is enough.
    has_failed: bool,
}

impl Large {
    /// Opens a file and looks at all that must be known before its content. `None`: it cannot be
    /// had, and it was noted.
    pub(super) fn begin(machine: &Machine, item: Item, notes: &mut Notes) -> Option<Self> {
        let Item {
            store,
            entry,
            path,
            way,
        } = item;
        let open = match way {
            Way::Opened(open) => open,
            _ => notes.ok(entry.open())?,
        };
        let size = entry.stat.size;
        let (content, member) = announce(machine, &entry, &path, &open, notes);
        let data = content.data();
        // What a file's attributes may be at most always fits into headers.
        let mut front = encode(&member).ok()?;
        front.extend(content.map);
        let mut at = 0;
        let extents = content.extents.into_iter().map(|extent| {
            let here = at;
            at += extent.length;
            (here, extent)
        });
        let what = What::File {
            size,
            sha256: Digest([0; 32]),
            is_sparse: content.is_sparse,
        };
        Some(Self {
            front,
            extents: extents.collect(),
            data,
            record: record(store, &entry, path, what, member.extra, 0),
            entry,
            open,
            chain: Mutex::new(Chain {
                parts: 0,
                position: 0,
                hash: Sha256::new(),
                has_failed: false,
            }),
            next: Condvar::new(),
        })
    }

    pub(super) fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Whether it has holes.
    pub(super) fn is_sparse(&self) -> bool {
        self.data < self.entry.stat.size
    }

    fn length(&self) -> u64 {
        padded(self.front.len() as u64 + self.data)
    }

    /// How many parts it has.
    pub(super) fn parts(&self) -> u64 {
        self.length().div_ceil(PART)
    }

    /// Makes one part. The parts before it must be in the hands of workers already.
    pub(super) fn make(&self, part: u64, maker: &mut Maker<'_>, made: &mut Made) -> Result<()> {
        let begin = part * PART;
        let end = (begin + PART).min(self.length());
        let front = self.front.len() as u64;
        if begin < front {
            let front = &self.front[begin as usize..front.min(end) as usize];
            maker.buffer.push(front);
        }
        let from = begin.max(front) - front;
        let to = (end.max(front) - front).min(self.data);
        let mut pieces: Vec<(u64, Range<usize>)> = Vec::new();
        let mut failure = None;
        for extent in self.within(from..to) {
            let at = maker.buffer.filled().len();
            let room = maker.buffer.room(extent.length as usize);
            if let Err(why) = read(&self.open, extent.offset, room) {
                failure.get_or_insert(why);
            }
            pieces.push((extent.offset, at..at + extent.length as usize));
        }
        let is_last = end == self.length();
        if is_last {
            maker.buffer.pad();
        }
        let digest = self.hash(part, &pieces, failure, maker, made)?;
        made.bytes += to.saturating_sub(from);
        if let Some(sha256) = digest {
            check_same(&self.entry, &self.record.path, &mut made.notes);
            let mut record = self.record.clone();
            if let What::File { sha256: place, .. } = &mut record.what {
                *place = sha256;
            }
            made.listed(record);
            made.files += 1;
            made.back = begin;
        }
        maker.cut(made)
    }

    /// The stretches of the file that make up a stretch of its data.
    fn within(&self, data: Range<u64>) -> impl Iterator<Item = Extent> {
        let first = self
            .extents
            .partition_point(|(at, extent)| at + extent.length <= data.start);
        let extents = self.extents[first..].iter();
        let extents = extents.take_while(move |(at, _)| *at < data.end);
        extents.map(move |(at, extent)| {
            let begin = data.start.max(*at);
            Extent {
                offset: extent.offset + (begin - at),
                length: data.end.min(at + extent.length) - begin,
            }
        })
    }

    /// Waits for the part before, hashes this one, and lets the next one go on. Gives the file's
    /// digest with the last.
    fn hash(
        &self,
        part: u64,
        pieces: &[(u64, Range<usize>)],
        failure: Option<String>,
        maker: &Maker<'_>,
        made: &mut Made,
    ) -> Result<Option<Digest>> {
        let mut chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        while chain.parts != part {
            if maker.pool.is_stopped() {
                return Err(state_api::Error::Interrupted.into());
            }
            let waited = self.next.wait_timeout(chain, TICK);
            chain = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        for (offset, range) in pieces {
            chain.hole(*offset, maker)?;
            chain.hash.update(&maker.buffer.filled()[range.clone()]);
            chain.position = offset + range.len() as u64;
        }
        if let Some(why) = failure
            && !std::mem::replace(&mut chain.has_failed, true)
        {
            made.notes.missing(&self.record.path, why);
        }
        let mut digest = None;
        if part + 1 == self.parts() {
            chain.hole(self.entry.stat.size, maker)?;
            digest = Some(Digest::from(chain.hash.clone()));
        }
        chain.parts += 1;
        self.next.notify_all();
        Ok(digest)
    }
}

impl Chain {
    /// Hashes a hole up to `end`: it may be terabytes.
    fn hole(&mut self, end: u64, maker: &Maker<'_>) -> Result<()> {
        while self.position < end {
            if maker.pool.is_stopped() {
                return Err(state_api::Error::Interrupted.into());
            }
            let now = (end - self.position).min(64 << 20);
            hash_zeros(&mut self.hash, now);
            self.position += now;
        }
        Ok(())
    }
}

/// Room for the tar: cleared only where nothing is written, because clearing costs as much as
/// reading.
#[derive(Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    length: usize,
}

impl Buffer {
    pub(super) fn filled(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    pub(super) fn clear(&mut self) {
        self.length = 0;
    }

    /// The next `length` bytes, whatever they held before.
    pub(super) fn room(&mut self, length: usize) -> &mut [u8] {
        let begin = self.length;
        self.length += length;
        if self.bytes.len() < self.length {
            self.bytes.resize(self.length.max(FRAME_BYTES), 0);
        }
        &mut self.bytes[begin..self.length]
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
    }

    /// Fills up to whole blocks: a unit begins with one.
    pub(super) fn pad(&mut self) {
        let padding = padded(self.length as u64) as usize - self.length;
        self.room(padding).fill(0);
    }
}
