//! zstd frames, and the seek table that says where each one is.
//!
//! Every frame stands alone, knows the size of its content and carries a checksum. The table is
//! that of zstd's seekable format: a skippable frame at the very end, which `zstd -d` passes over.

use super::Bad;
use std::io;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{CParameter, compress_bound, find_frame_compressed_size};

/// How much of the tar one frame holds: small enough that one path costs little, large enough
/// that the archive grows by about one percent only.
pub const FRAME_BYTES: usize = 2 << 20;
/// The largest frame that is written or read but for the last: a block of the manifest whose last
/// record has all the attributes that one may have.
pub const MOST_FRAME_BYTES: usize = 16 << 20;
/// The largest last frame, with the manifest's index: the only one that grows with the archive.
/// That much is the index of a hundred million entries.
pub const MOST_LAST_BYTES: usize = 64 << 20;

const SKIPPABLE_MAGIC: u32 = 0x184D_2A5E;
const SEEKABLE_MAGIC: u32 = 0x8F92_EAB1;
/// The number of frames, the descriptor and the magic number.
const FOOTER: usize = 9;
/// The skippable frame's own header.
const HEADER: usize = 8;
/// Two sizes per frame; checksums are in the frames themselves.
const ENTRY: usize = 8;
/// Terabytes of tar; the seekable format's own limit is higher, and its table a gigabyte.
const MOST_FRAMES: u32 = 1 << 21;

/// Compresses frames, and makes sure of each that it can be decompressed.
pub struct Packer {
    pack: Compressor<'static>,
    unpack: Decompressor<'static>,
    frame: Vec<u8>,
    again: Vec<u8>,
}

impl Packer {
    /// One that compresses at this level.
    ///
    /// # Errors
    /// zstd refuses the level.
    pub fn new(level: i32) -> io::Result<Self> {
        let mut pack = Compressor::new(level)?;
        pack.set_parameter(CParameter::ChecksumFlag(true))?;
        pack.set_parameter(CParameter::ContentSizeFlag(true))?;
        Ok(Self {
            pack,
            unpack: Decompressor::new()?,
            frame: Vec::new(),
            again: Vec::new(),
        })
    }

    /// Makes a frame of `content`. It is decompressed again: what comes out is as long, and has
    /// the checksum that the frame carries of what went in.
    ///
    /// # Errors
    /// The frame does not give back what went in: two versions of zstd had such bugs.
    pub fn pack(&mut self, content: &[u8]) -> io::Result<Vec<u8>> {
        // Both are kept: only the frame's own length is taken from memory.
        self.frame.clear();
        self.frame.reserve(compress_bound(content.len()));
        self.pack.compress_to_buffer(content, &mut self.frame)?;
        self.again.clear();
        self.again.reserve(content.len());
        let length = (self.unpack).decompress_to_buffer(&self.frame, &mut self.again)?;
        if length == content.len() {
            Ok(self.frame.clone())
        } else {
            Err(io::Error::other(
                "a compressed frame does not give back what went in",
            ))
        }
    }
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer").finish_non_exhaustive()
    }
}

/// Decompresses exactly one frame whose content is exactly `length` bytes long.
///
/// # Errors
/// It is anything else.
pub fn unpack(frame: &[u8], length: usize) -> Result<Vec<u8>, Bad> {
    let mut content = Vec::new();
    Unpacker::default().unpack(frame, length, &mut content)?;
    Ok(content)
}

/// Decompresses frames, one after the other.
#[derive(Default)]
pub struct Unpacker(Option<Decompressor<'static>>);

impl Unpacker {
    /// Puts into `content` what [`unpack`] gives. Whatever is in it before is gone.
    ///
    /// # Errors
    /// Those of [`unpack`]; then `content` is empty.
    pub fn unpack(
        &mut self,
        frame: &[u8],
        length: usize,
        content: &mut Vec<u8>,
    ) -> Result<(), Bad> {
        content.clear();
        let bad = |why: &dyn std::fmt::Display| Bad(format!("a frame that is damaged ({why})"));
        match find_frame_compressed_size(frame) {
            Ok(found) if found == frame.len() => {}
            Ok(_) => return Err(bad(&"something follows it")),
            Err(code) => return Err(bad(&zstd::zstd_safe::get_error_name(code))),
        }
        let unpack = match &mut self.0 {
            Some(unpack) => unpack,
            none => none.insert(Decompressor::new().map_err(|e| bad(&e))?),
        };
        content.reserve_exact(length);
        let unpacked = unpack.decompress_to_buffer(frame, content);
        let why = match unpacked {
            Err(error) => bad(&error),
            Ok(_) if content.len() != length => bad(&"it is not as long as the seek table says"),
            Ok(_) => return Ok(()),
        };
        content.clear();
        Err(why)
    }
}

impl std::fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unpacker").finish_non_exhaustive()
    }
}

/// Where one frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Its place in the compressed object.
    pub at: u64,
    /// Its length there.
    pub packed: u32,
    /// The place of its content in the tar.
    pub offset: u64,
    /// Its content's length.
    pub length: u32,
}

/// Where every frame is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeekTable {
    frames: Vec<Frame>,
}

impl SeekTable {
    /// Notes the next frame.
    ///
    /// # Errors
    /// There are more than the format can number, or one is too long for it.
    pub fn push(&mut self, packed: usize, length: usize) -> Result<(), Bad> {
        let size = |n| u32::try_from(n).map_err(|_| Bad::from("a frame of more than 4 GiB"));
        let (packed, length) = (size(packed)?, size(length)?);
        if self.frames.len() >= MOST_FRAMES as usize {
            return Err("more frames than a seek table can hold".into());
        }
        let frame = Frame {
            at: self.packed_bytes(),
            packed,
            offset: self.content_bytes(),
            length,
        };
        self.frames.push(frame);
        Ok(())
    }

    /// The frames, in order.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// How long all frames are together, the table left out.
    pub fn packed_bytes(&self) -> u64 {
        self.frames.last().map_or(0, |f| f.at + u64::from(f.packed))
    }

    /// How long the tar is.
    pub fn content_bytes(&self) -> u64 {
        (self.frames.last()).map_or(0, |f| f.offset + u64::from(f.length))
    }

    /// The number of the frame that holds the byte at `offset` of the tar.
    pub fn holding(&self, offset: u64) -> Option<usize> {
        let n = self
            .frames
            .partition_point(|f| f.offset + u64::from(f.length) <= offset);
        (n < self.frames.len()).then_some(n)
    }

    /// The frame that begins at `offset` of the tar, and its number.
    pub fn beginning_at(&self, offset: u64) -> Option<(usize, &Frame)> {
        let n = self
            .frames
            .binary_search_by_key(&offset, |frame| frame.offset);
        n.ok().map(|n| (n, &self.frames[n]))
    }

    /// The table as the last, skippable frame.
    pub fn encode(&self) -> Vec<u8> {
        let body = self.frames.len() * ENTRY + FOOTER;
        let mut bytes = Vec::with_capacity(HEADER + body);
        bytes.extend(SKIPPABLE_MAGIC.to_le_bytes());
        bytes.extend((body as u32).to_le_bytes());
        for frame in &self.frames {
            bytes.extend(frame.packed.to_le_bytes());
            bytes.extend(frame.length.to_le_bytes());
        }
        bytes.extend((self.frames.len() as u32).to_le_bytes());
        bytes.push(0); // no checksums here: the frames have their own
        bytes.extend(SEEKABLE_MAGIC.to_le_bytes());
        bytes
    }

    /// How long the table at the end of an object of `object_bytes` is, from its last bytes.
    ///
    /// # Errors
    /// There is no table, as when the object was cut off.
    pub fn length_at_end(tail: &[u8], object_bytes: u64) -> Result<u64, Bad> {
        let cut = || Bad::from("no seek table at its end: it is cut off or no archive");
        let (_, footer) = tail.split_last_chunk::<FOOTER>().ok_or_else(cut)?;
        let &[n0, n1, n2, n3, descriptor, m0, m1, m2, m3] = footer;
        if u32::from_le_bytes([m0, m1, m2, m3]) != SEEKABLE_MAGIC {
            return Err(cut());
        }
        let frames = u32::from_le_bytes([n0, n1, n2, n3]);
        if descriptor != 0 || frames > MOST_FRAMES {
            return Err("a seek table of an unknown form".into());
        }
        let length = (HEADER + FOOTER) as u64 + u64::from(frames) * ENTRY as u64;
        (length <= object_bytes).then_some(length).ok_or_else(cut)
    }

    /// Reads the table back. It must account for every byte in front of it.
    ///
    /// # Errors
    /// It does not.
    pub fn decode(bytes: &[u8], object_bytes: u64) -> Result<Self, Bad> {
        let bad = || Bad::from("a seek table that does not fit the object it is in");
        let body = (bytes.len()).checked_sub(HEADER + FOOTER).ok_or_else(bad)?;
        let (entries, rest) = bytes[HEADER..HEADER + body].as_chunks::<ENTRY>();
        let mut table = Self::default();
        for (n, &[p0, p1, p2, p3, c0, c1, c2, c3]) in entries.iter().enumerate() {
            let packed = u32::from_le_bytes([p0, p1, p2, p3]) as usize;
            let length = u32::from_le_bytes([c0, c1, c2, c3]) as usize;
            let most = match n + 1 == entries.len() {
                true => MOST_LAST_BYTES,
                false => MOST_FRAME_BYTES,
            };
            let is_possible = (1..=most).contains(&length)
                && (1..=zstd::zstd_safe::compress_bound(length)).contains(&packed);
            if !is_possible {
                return Err("a seek table with an impossible frame".into());
            }
            table.push(packed, length)?;
        }
        let fits = table.packed_bytes().checked_add(bytes.len() as u64) == Some(object_bytes);
        (rest.is_empty() && fits && table.encode() == bytes)
            .then_some(table)
            .ok_or_else(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_gives_back_what_went_in_and_nothing_else() {
        let mut packer = Packer::new(3).unwrap();
        let frame = packer.pack(b"content").unwrap();
        assert_eq!(unpack(&frame, 7).unwrap(), b"content");
        for length in [0, 6, 8] {
            assert!(unpack(&frame, length).is_err(), "{length}");
        }
        let two = [&frame[..], &frame].concat();
        assert!(unpack(&two, 14).is_err());
        assert!(unpack(&frame[..frame.len() - 1], 7).is_err());
        let skippable = [&0x184D_2A50_u32.to_le_bytes()[..], &[1, 0, 0, 0, 7]].concat();
        assert!(unpack(&skippable, 0).is_err() || unpack(&skippable, 0).unwrap().is_empty());
    }

    #[test]
    fn a_seek_table_accounts_for_every_byte() {
        let mut table = SeekTable::default();
        table.push(10, 1000).unwrap();
        table.push(20, 24).unwrap();
        let bytes = table.encode();
        let object = 30 + bytes.len() as u64;
        assert_eq!(SeekTable::length_at_end(&bytes, object), Ok(33));
        assert_eq!(SeekTable::decode(&bytes, object), Ok(table.clone()));
        assert_eq!(
            [0, 999, 1000, 1023, 1024].map(|offset| table.holding(offset)),
            [Some(0), Some(0), Some(1), Some(1), None]
        );
        assert!(SeekTable::decode(&bytes, object + 1).is_err());
        for n in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[n] ^= 1 << bit;
                let is_whole = SeekTable::length_at_end(&flipped, object) == Ok(33)
                    && SeekTable::decode(&flipped, object).is_ok_and(|t| t == table);
                assert!(!is_whole, "byte {n}, bit {bit}");
            }
        }
    }

    #[test]
    fn zstd_passes_over_the_seek_table() {
        let mut packer = Packer::new(3).unwrap();
        let mut table = SeekTable::default();
        let mut object = Vec::new();
        for content in [&b"one"[..], b"two"] {
            let frame = packer.pack(content).unwrap();
            table.push(frame.len(), content.len()).unwrap();
            object.extend(frame);
        }
        object.extend(table.encode());
        assert_eq!(zstd::decode_all(&object[..]).unwrap(), b"onetwo");
    }
}
