//! The log of dm-log-writes, which QEMU's `blklogwrites` writes as well: the kernel's
//! `Documentation/admin-guide/device-mapper/log-writes.rst` and `drivers/md/dm-log-writes.c`.
//! Everything is little-endian. The first sector holds a magic number, a version, the number of
//! entries and the size of a sector; each entry is a sector (where, how many sectors, flags, how
//! many bytes of a note) and what was written.

use std::fmt;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;
/// Which may be set on a write of metadata, and says nothing about it here.
const METADATA: u64 = 16;

/// What a disk was told to do.
#[derive(Clone, PartialEq, Eq)]
pub enum Event {
    /// Bytes were written.
    Write {
        /// Where, in bytes.
        at: u64,
        /// What.
        bytes: Vec<u8>,
        /// Whether the disk had to keep them at once (FUA).
        is_durable: bool,
    },
    /// What is there is of no use any more.
    Discard {
        /// Where, in bytes.
        at: u64,
        /// How many bytes.
        length: u64,
    },
    /// Everything before this is kept, whatever happens.
    Flush,
}

impl Event {
    /// Whether it is kept without any flush after it.
    pub(super) fn is_durable(&self) -> bool {
        matches!(
            self,
            Self::Write {
                is_durable: true,
                ..
            }
        )
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { at, bytes, .. } => write!(f, "write {} at {at}", bytes.len()),
            Self::Discard { at, length } => write!(f, "discard {length} at {at}"),
            Self::Flush => f.write_str("flush"),
        }
    }
}

/// Reads a log up to its last whole entry: one that is still being written is not there yet.
///
/// # Errors
/// It is no such log, or says something that is not known.
pub fn parse(log: &[u8]) -> Result<Vec<Event>, String> {
    let number = |at: usize| -> Option<u64> {
        let bytes = log.get(at..at.checked_add(8)?)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    };
    let sector = log.get(24..28).and_then(|bytes| bytes.try_into().ok());
    let sector = sector.map_or(0, u32::from_le_bytes) as usize;
    if number(0) != Some(MAGIC) || number(8) != Some(1) || sector < 512 {
        return Err("this is no log of version 1".into());
    }
    let mut events = Vec::new();
    let mut next = sector;
    while let Some(header) = log.get(next..next + sector) {
        let field = |index: usize| {
            let bytes = &header[index * 8..index * 8 + 8];
            u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
        };
        let [place, sectors, flags, note] = [field(0), field(1), field(2), field(3)];
        if flags & !(FLUSH | FUA | DISCARD | MARK | METADATA) != 0 {
            return Err(format!("an entry at {next} has the flags {flags:#x}"));
        }
        let bytes = |sectors: u64| sectors.checked_mul(sector as u64);
        let (Some(at), Some(length)) = (bytes(place), bytes(sectors)) else {
            return Err(format!("an entry at {next} is beyond any disk"));
        };
        next += sector;
        if flags & FLUSH != 0 {
            events.push(Event::Flush);
        }
        if flags & DISCARD != 0 {
            events.push(Event::Discard { at, length });
        } else if flags & MARK != 0 {
            // A note for people, in whole sectors.
            next += usize::try_from(note)
                .map_err(|_| "a note is too long")?
                .next_multiple_of(sector);
        } else if length != 0 {
            let end = usize::try_from(length)
                .ok()
                .and_then(|l| next.checked_add(l));
            let Some(bytes) = end.and_then(|end| log.get(next..end)) else {
                break;
            };
            next += bytes.len();
            events.push(Event::Write {
                at,
                bytes: bytes.to_vec(),
                is_durable: flags & FUA != 0,
            });
        }
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sector(fields: &[u64]) -> Vec<u8> {
        let mut bytes: Vec<u8> = fields
            .iter()
            .flat_map(|field| field.to_le_bytes())
            .collect();
        bytes.resize(512, 0);
        bytes
    }

    fn log(entries: &[Vec<u8>]) -> Vec<u8> {
        let head = sector(&[MAGIC, 1, entries.len() as u64, 512]);
        [vec![head], entries.to_vec()].concat().concat()
    }

    fn write(at: u64, bytes: &[u8], is_durable: bool) -> Event {
        let bytes = bytes.to_vec();
        Event::Write {
            at,
            bytes,
            is_durable,
        }
    }

    #[test]
    fn a_log_is_read() {
        let a = [b'a'; 512];
        let b = [b'b'; 1024];
        let entries = [
            sector(&[2, 1, 0, 0]),
            a.to_vec(),
            sector(&[0, 0, FLUSH, 0]),
            sector(&[0, 0, MARK, 5]),
            b"note\0".iter().copied().chain([0; 507]).collect(),
            sector(&[8, 4, DISCARD, 0]),
            sector(&[4, 2, FLUSH | FUA | METADATA, 0]),
            b.to_vec(),
        ];
        let expected = vec![
            write(1024, &a, false),
            Event::Flush,
            Event::Discard {
                at: 4096,
                length: 2048,
            },
            Event::Flush,
            write(2048, &b, true),
        ];
        let whole = log(&entries);
        assert_eq!(parse(&whole), Ok(expected.clone()));
        // The last entry is not whole yet; its flush came before it.
        assert_eq!(parse(&whole[..whole.len() - 1]).unwrap(), expected[..4]);
        assert_eq!(parse(&whole[..whole.len() - 1025]).unwrap(), expected[..3]);
    }

    #[test]
    fn what_is_no_log_is_refused() {
        assert!(parse(b"").is_err());
        assert!(parse(&sector(&[MAGIC, 2, 0, 512])).is_err());
        assert!(parse(&sector(&[MAGIC, 1, 0, 0])).is_err());
        assert!(parse(&log(&[sector(&[0, 0, 64, 0])])).is_err());
        assert!(parse(&log(&[sector(&[u64::MAX, 1, 0, 0])])).is_err());
    }
}
