//! The tar as it grows: frames out, and members that are collected before they can be written.

use super::frame::{FRAME_BYTES, Packer, SeekTable};
use super::manifest::Digest;
use super::{Error, Result};
use sha2::{Digest as _, Sha256};
use std::io::Write;

/// A tar being written, frame by frame.
pub(super) struct Tar<'w> {
    out: &'w mut dyn Write,
    packer: Packer,
    frame: Vec<u8>,
    table: SeekTable,
}

impl<'w> Tar<'w> {
    pub(super) fn new(out: &'w mut dyn Write, level: i32) -> Result<Self> {
        Ok(Self {
            out,
            packer: Packer::new(level).map_err(|e| Error::os("starting zstd", e))?,
            frame: Vec::with_capacity(FRAME_BYTES),
            table: SeekTable::default(),
        })
    }

    /// Where the next byte will be in the tar.
    pub(super) fn position(&self) -> u64 {
        self.table.content_bytes() + self.frame.len() as u64
    }

    /// Begins something of `length` bytes: it goes into the present frame if it fits there whole,
    /// else a new frame begins with it.
    pub(super) fn begin(&mut self, length: u64) -> Result<()> {
        if self.frame.len() as u64 + length > FRAME_BYTES as u64 {
            self.cut()?;
        }
        Ok(())
    }

    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let room = FRAME_BYTES - self.frame.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.frame.extend_from_slice(now);
            bytes = later;
            if self.frame.len() == FRAME_BYTES {
                self.cut()?;
            }
        }
        Ok(())
    }

    pub(super) fn zeros(&mut self, mut length: u64) -> Result<()> {
        const ZEROS: [u8; 4096] = [0; 4096];
        while length > 0 {
            let now = length.min(ZEROS.len() as u64);
            self.push(&ZEROS[..now as usize])?;
            length -= now;
        }
        Ok(())
    }

    /// Fills up what began `length` bytes ago to whole blocks.
    pub(super) fn pad(&mut self, length: u64) -> Result<()> {
        self.zeros(super::member::padded(length) - length)
    }

    /// Ends the present frame.
    pub(super) fn cut(&mut self) -> Result<()> {
        let frame = std::mem::take(&mut self.frame);
        self.whole_frame(&frame)?;
        self.frame = frame;
        self.frame.clear();
        Ok(())
    }

    /// Writes `content` as a frame of its own, however long it is.
    pub(super) fn whole_frame(&mut self, content: &[u8]) -> Result<()> {
        if content.is_empty() {
            return Ok(());
        }
        let packed = self.pack(content)?;
        self.packed_frame(&packed)
    }

    pub(super) fn pack(&mut self, content: &[u8]) -> Result<Packed> {
        let frame = (self.packer.pack(content)).map_err(|e| Error::os("compressing a frame", e))?;
        Ok(Packed {
            frame,
            length: content.len(),
        })
    }

    pub(super) fn packed_frame(&mut self, packed: &Packed) -> Result<()> {
        self.table
            .push(packed.frame.len(), packed.length)
            .map_err(|bad| Error::os("writing the seek table", std::io::Error::other(bad)))?;
        self.out(&packed.frame)
    }

    fn out(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.out.write_all(bytes);
        written.map_err(|e| Error::os("writing the archive", e))
    }

    /// Writes what was collected. The present frame must have been cut.
    pub(super) fn collected(&mut self, spool: &Spool) -> Result<()> {
        debug_assert!(self.frame.is_empty());
        spool
            .frames
            .iter()
            .try_for_each(|packed| self.packed_frame(packed))
    }

    /// Ends the tar and writes the seek table.
    pub(super) fn finish(mut self) -> Result<()> {
        self.cut()?;
        let table = self.table.encode();
        self.out(&table)
    }
}

/// A compressed frame.
pub(super) struct Packed {
    pub(super) frame: Vec<u8>,
    /// The length of its content.
    pub(super) length: usize,
}

/// The content of a member whose size is known only when everything else has been written. It is
/// kept compressed, so that memory holds a small part of it.
#[derive(Default)]
pub(super) struct Spool {
    frames: Vec<Packed>,
    chunk: Vec<u8>,
    length: u64,
    hash: Sha256,
}

impl Spool {
    /// One whose digest begins with `head`, which is written by other means.
    pub(super) fn after(head: &[u8]) -> Self {
        let mut spool = Self::default();
        spool.hash.update(head);
        spool
    }

    /// Ends the present frame once it is as long as a frame may be.
    pub(super) fn cut_if_full(&mut self, tar: &mut Tar<'_>) -> Result<()> {
        if self.chunk.len() < FRAME_BYTES {
            return Ok(());
        }
        self.cut(tar).map(|_| ())
    }

    /// Ends the present frame. Gives its digest and length, unless it is empty.
    pub(super) fn cut(&mut self, tar: &mut Tar<'_>) -> Result<Option<(Digest, u64)>> {
        if self.chunk.is_empty() {
            return Ok(None);
        }
        let chunk = std::mem::take(&mut self.chunk);
        self.hash.update(&chunk);
        self.length += chunk.len() as u64;
        self.frames.push(tar.pack(&chunk)?);
        let cut = (Digest::of(&chunk), chunk.len() as u64);
        self.chunk = chunk;
        self.chunk.clear();
        Ok(Some(cut))
    }

    pub(super) fn pending(&mut self) -> &mut Vec<u8> {
        &mut self.chunk
    }

    /// The frames that were cut.
    pub(super) fn into_frames(self) -> Vec<Packed> {
        self.frames
    }

    /// The length of the frames that were cut.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The digest of all that was cut.
    pub(super) fn digest(&self) -> Digest {
        self.digest_with(&[])
    }

    /// The digest of all that was cut with `end` behind it.
    pub(super) fn digest_with(&self, end: &[u8]) -> Digest {
        let mut hash = self.hash.clone();
        hash.update(end);
        hash.into()
    }
}
