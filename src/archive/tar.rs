//! The tar as it grows: frames out.

use super::frame::{FRAME_BYTES, Packer, SeekTable};
use super::{Error, Result};
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
        let packed = Packed::of(content, &mut self.packer)?;
        self.packed_frame(&packed)
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

    /// Writes frames that were made elsewhere. The present one must have been cut.
    pub(super) fn frames(&mut self, frames: &[Packed]) -> Result<()> {
        debug_assert!(self.frame.is_empty());
        frames
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
#[derive(Clone)]
pub(super) struct Packed {
    pub(super) frame: Vec<u8>,
    /// The length of its content.
    pub(super) length: usize,
}

impl Packed {
    /// `content` as a frame.
    pub(super) fn of(content: &[u8], packer: &mut Packer) -> Result<Self> {
        let frame = packer.pack(content);
        Ok(Self {
            frame: frame.map_err(|e| Error::os("compressing a frame", e))?,
            length: content.len(),
        })
    }
}
