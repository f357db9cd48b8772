//! The tar inside a data object, read frame by frame.

use super::{Digest, Error, Result, Source};
use crate::archive::frame::{SeekTable, Unpacker};
use crate::archive::machine::Machine;
use crate::archive::manifest::{Record, What, hex};
use crate::archive::member::{BLOCK, Kind, Member, padded};
use crate::archive::write::hash_zeros;
use crate::archive::{Bad, sparse};
use sha2::{Digest as _, Sha256};
use state_linux::metadata::Extent;
use std::fmt;
use std::sync::Arc;

/// A data object and where its frames are.
#[derive(Clone)]
pub(crate) struct Object<'s> {
    pub(crate) source: &'s dyn Source,
    pub(crate) table: Arc<SeekTable>,
}

impl<'s> Object<'s> {
    pub(crate) fn open(source: &'s dyn Source) -> Result<Self> {
        let length = source.length();
        let damaged = |bad: Bad| Error::damaged(source.name(), bad);
        let tail_bytes = length.min(64 << 10);
        let tail = source.read(length - tail_bytes, tail_bytes as usize)?;
        let table_bytes = SeekTable::length_at_end(&tail, length).map_err(damaged)?;
        let table = if table_bytes <= tail_bytes {
            SeekTable::decode(&tail[(tail_bytes - table_bytes) as usize..], length)
        } else {
            let table = source.read(length - table_bytes, table_bytes as usize)?;
            SeekTable::decode(&table, length)
        };
        let table = table.map_err(damaged)?;
        if table.frames().is_empty() {
            return Err(damaged("it holds nothing".into()));
        }
        let table = Arc::new(table);
        Ok(Self { source, table })
    }

    pub(crate) fn damaged(&self, why: impl fmt::Display) -> Error {
        Error::damaged(self.source.name(), why)
    }

    pub(crate) fn frame(&self, n: usize, unpacker: &mut Unpacker) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        self.frame_into(n, unpacker, &mut content)?;
        Ok(content)
    }

    fn frame_into(&self, n: usize, unpacker: &mut Unpacker, content: &mut Vec<u8>) -> Result<()> {
        let frames = self.table.frames();
        let frame = frames
            .get(n)
            .ok_or_else(|| self.damaged("it ends too early"))?;
        let packed = self.source.read(frame.at, frame.packed as usize)?;
        let unpacked = unpacker.unpack(&packed, frame.length as usize, content);
        unpacked.map_err(|bad| self.damaged(bad))
    }
}

/// A piece of a member.
#[derive(Debug)]
pub enum Piece<'p> {
    /// What its headers say: that which its record announces.
    Headers(&'p Member),
    /// Of the map in front of a sparse file's data, as it is stored.
    Map(&'p [u8]),
    /// Of its content, and the place of that in the file. Within a long hole it is of nothing.
    Data(u64, &'p [u8]),
}

/// A position in the tar, and the frame it is in.
pub struct Reader<'a> {
    object: Object<'a>,
    unpacker: Unpacker,
    /// The frame after the one in `content`.
    next: usize,
    content: Vec<u8>,
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the beginning.
    pub(super) fn of(object: &Object<'a>) -> Self {
        Self {
            object: object.clone(),
            unpacker: Unpacker::default(),
            next: 0,
            content: Vec::new(),
            at: 0,
        }
    }

    /// What decompresses its frames.
    pub(super) fn unpacker(&mut self) -> &mut Unpacker {
        &mut self.unpacker
    }

    /// Where the next byte comes from.
    pub fn position(&self) -> u64 {
        let frames = self.object.table.frames();
        match frames.get(self.next) {
            Some(next) => next.offset - (self.content.len() - self.at) as u64,
            None => self.object.table.content_bytes() - (self.content.len() - self.at) as u64,
        }
    }

    /// Goes to `offset`. Frames in between are not read.
    ///
    /// # Errors
    /// The tar is not that long, or the frame there is damaged.
    pub fn seek(&mut self, offset: u64) -> Result<()> {
        let begin = self.position() - self.at as u64;
        if (begin..begin + self.content.len() as u64).contains(&offset) {
            self.at = (offset - begin) as usize;
            return Ok(());
        }
        let holding = self.object.table.holding(offset);
        let n = holding.ok_or_else(|| self.object.damaged("it ends too early"))?;
        let skip = offset - self.object.table.frames()[n].offset;
        self.load(n)?;
        self.at = skip as usize;
        Ok(())
    }

    fn load(&mut self, n: usize) -> Result<()> {
        self.at = 0;
        // If it cannot be had, the position is before it, with nothing of it read.
        self.next = n;
        self.object
            .frame_into(n, &mut self.unpacker, &mut self.content)?;
        self.next = n + 1;
        Ok(())
    }

    /// Hands over the next `length` bytes in pieces.
    ///
    /// # Errors
    /// The tar ends before, a frame is damaged, or `to` fails.
    pub fn pump(&mut self, mut length: u64, to: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        while length > 0 {
            if self.at == self.content.len() {
                self.load(self.next)?;
            }
            let left = &self.content[self.at..];
            let now = left
                .len()
                .min(usize::try_from(length).unwrap_or(usize::MAX));
            to(&left[..now])?;
            self.at += now;
            length -= now as u64;
        }
        Ok(())
    }

    /// The next `length` bytes at once: only for lengths that were checked.
    pub(super) fn bytes(&mut self, length: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(length.min(1 << 20));
        self.pump(length as u64, &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(bytes)
    }

    fn block(&mut self) -> Result<[u8; BLOCK]> {
        let bytes = self.bytes(BLOCK)?;
        Ok(bytes.try_into().expect("that many were read"))
    }

    /// The next member's headers, and how long they are.
    pub(super) fn member(&mut self) -> Result<(Member, usize)> {
        let (position, object) = (self.position(), self.object.clone());
        let damaged = |bad: Bad| object.damaged(format!("at byte {position} of its tar: {bad}"));
        let first = self.bytes(BLOCK)?;
        let first = first.first_chunk().expect("that many were read");
        let length = Member::headers_length(first).map_err(damaged)?;
        let mut headers = first.to_vec();
        headers.extend(self.bytes(length - BLOCK)?);
        let member = Member::decode(&headers).map_err(damaged)?;
        member.ok_or_else(|| object.damaged("it ends too early"))
    }

    /// The next member, if its headers are those that `record` announces: they have one encoding,
    /// so it is sooner made than taken apart. Whatever else they may be, they are still to be read.
    fn announced(&mut self, record: &Record, machine: &Machine) -> Option<Member> {
        let member = record.member(machine)?;
        let headers = member.encode().ok()?;
        let is_next = self.content[self.at..].starts_with(&headers);
        self.at += if is_next { headers.len() } else { 0 };
        is_next.then_some(member)
    }

    pub(super) fn skip_padding(&mut self, length: u64) -> Result<()> {
        let object = self.object.clone();
        self.pump(
            padded(length) - length,
            &mut |bytes| match bytes.iter().all(|b| *b == 0) {
                true => Ok(()),
                false => Err(object.damaged("something hides in its padding")),
            },
        )
    }

    /// Reads the member that `record` announces; `data` gets its content, hole by hole left out,
    /// with the place of each piece in the file. Within a long hole it gets pieces of nothing. The digest has been compared when this returns.
    ///
    /// # Errors
    /// It is another member than announced, its content another, or `data` fails.
    pub fn entry(
        &mut self,
        record: &Record,
        machine: &Machine,
        data: &mut dyn FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        self.pieces(record, machine, &mut |piece| match piece {
            Piece::Data(at, bytes) => data(at, bytes),
            Piece::Headers(_) | Piece::Map(_) => Ok(()),
        })
    }

    /// Reads the member that `record` announces; `to` gets all of it. What it got is what the
    /// record says only when this has returned: the digest comes last.
    ///
    /// # Errors
    /// It is another member than announced, its content another, or `to` fails.
    pub fn pieces(
        &mut self,
        record: &Record,
        machine: &Machine,
        to: &mut dyn FnMut(Piece<'_>) -> Result<()>,
    ) -> Result<()> {
        let wrong = |why: &str| Error::member(&record.path, why);
        let member = match self.announced(record, machine) {
            Some(member) => member,
            None => self.member()?.0,
        };
        if !record.announces(&member)
            || machine.user(member.uid) != member.user
            || machine.group(member.gid) != member.group
        {
            return Err(wrong("it is not what the manifest announces"));
        }
        to(Piece::Headers(&member))?;
        let What::File { size, sha256, .. } = record.what else {
            return Ok(());
        };
        let stored = member.stored_bytes;
        let whole = Extent {
            offset: 0,
            length: size,
        };
        let extents = match member.kind {
            Kind::Sparse { .. } => {
                let decoded = sparse::decode::<Error2>(size, stored, || {
                    let block = self.block()?;
                    to(Piece::Map(&block))?;
                    Ok(block)
                });
                let (extents, _) = decoded.map_err(|error| match error {
                    Error2::Bad(bad) => Error::member(&record.path, bad),
                    Error2::Error(error) => error,
                })?;
                extents
            }
            _ => vec![whole],
        };
        let mut hash = Sha256::new();
        let mut position = 0;
        for extent in extents {
            hole(&mut hash, position, extent.offset, to)?;
            position = extent.offset;
            self.pump(extent.length, &mut |bytes| {
                hash.update(bytes);
                to(Piece::Data(position, bytes))?;
                position += bytes.len() as u64;
                Ok(())
            })?;
        }
        hole(&mut hash, position, size, to)?;
        self.skip_padding(stored)?;
        let found = Digest::from(hash);
        if found == sha256 {
            Ok(())
        } else {
            let (found, wanted) = (hex(&found.0[..4]), hex(&sha256.0[..4]));
            Err(wrong(&format!(
                "its content has digest {found}…, not {wanted}…"
            )))
        }
    }
}

/// Hashes a hole. `to` hears of it in between, without a byte, so that it can stop a long one.
fn hole(
    hash: &mut Sha256,
    mut from: u64,
    end: u64,
    to: &mut dyn FnMut(Piece<'_>) -> Result<()>,
) -> Result<()> {
    const STEP: u64 = 64 << 20;
    while from < end {
        let now = STEP.min(end - from);
        hash_zeros(hash, now);
        from += now;
        if from < end {
            to(Piece::Data(from, &[]))?;
        }
    }
    Ok(())
}

/// Either a map that lies or an archive that cannot be read.
enum Error2 {
    Bad(Bad),
    Error(Error),
}

impl From<Bad> for Error2 {
    fn from(bad: Bad) -> Self {
        Self::Bad(bad)
    }
}

impl From<Error> for Error2 {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}
