//! What a stream of `zfs send` is about: the numbers of the objects in it.
//!
//! The stream is the kernel's own, from this machine, and its numbers are in this machine's order. Its
//! records are `dmu_replay_record_t` of OpenZFS's `include/sys/zfs_ioctl.h`: the type, the length of the payload of a
//! first record, and what the type says; all of one size, some with a payload behind them. Pure.

use std::collections::HashSet;
use std::io::{self, Read};

/// How long a record is, in bytes: two numbers of four, and the largest member, `drr_begin`.
pub const RECORD: usize = 8 + 48 + 256;

/// `DMU_BACKUP_MAGIC`.
const MAGIC: u64 = 0x2_F5BA_CBAC;

/// `DMU_SUBSTREAM` in the two lowest bits of `drr_versioninfo`: one dataset, not a package of several.
const SINGLE: u64 = 1;

/// `DMU_OST_ZFS`: a filesystem.
const FILESYSTEM: u32 = 2;

/// How many objects are noted at most.
const MOST_OBJECTS: usize = 1 << 20;

/// The objects that a stream has something of; `None`: it is longer than `most` bytes, or there are too many.
///
/// An incremental stream has every object (inode) of which anything differs, and mostly its neighbours: what was
/// not freed in each block of objects that was written. Those that were freed are not among them.
///
/// # Errors
/// It cannot be read, ends too early, or is none of this form.
pub fn objects(mut from: impl Read, most: u64) -> io::Result<Option<HashSet<u64>>> {
    let mut objects = HashSet::new();
    let mut to = None;
    let mut read: u64 = 0;
    loop {
        let mut record = [0; RECORD];
        from.read_exact(&mut record)?;
        let record = Record(&record);
        let Some(told) = record.told(to.is_none()) else {
            return Err(io::Error::other("a record of another form than known"));
        };
        if *to.get_or_insert(told.to) != told.to {
            return Err(io::Error::other("records of several snapshots"));
        }
        if told.is_last {
            return Ok(Some(objects));
        }
        objects.extend(told.object);
        read = read
            .saturating_add(RECORD as u64)
            .saturating_add(told.payload);
        if read > most || objects.len() > MOST_OBJECTS {
            return Ok(None);
        }
        let passed = io::copy(&mut from.by_ref().take(told.payload), &mut io::sink())?;
        if passed != told.payload {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

struct Record<'a>(&'a [u8; RECORD]);

/// What a record says.
#[derive(Default)]
struct Told {
    /// The guid of the snapshot that is sent.
    to: u64,
    object: Option<u64>,
    /// How many bytes follow it.
    payload: u64,
    is_last: bool,
}

impl Record<'_> {
    fn u32(&self, at: usize) -> u32 {
        u32::from_ne_bytes(self.0[at..at + 4].try_into().expect("four bytes"))
    }

    /// A number of the union.
    fn u64(&self, at: usize) -> u64 {
        u64::from_ne_bytes(self.0[8 + at..8 + at + 8].try_into().expect("eight bytes"))
    }

    fn u32_of_union(&self, at: usize) -> u32 {
        self.u32(8 + at)
    }

    fn told(&self, is_first: bool) -> Option<Told> {
        let kind = self.u32(0);
        if (kind == 0) != is_first {
            return None;
        }
        let object = Some(self.u64(0));
        let whole = |length: u32| u64::from(length).next_multiple_of(8);
        Some(match kind {
            // DRR_BEGIN
            0 => {
                let is_known = self.u64(0) == MAGIC
                    && self.u64(8) & 3 == SINGLE
                    && self.u32_of_union(24) == FILESYSTEM;
                is_known.then(|| Told {
                    to: self.u64(32),
                    payload: self.u32(4).into(),
                    ..Told::default()
                })?
            }
            // DRR_OBJECT
            1 => Told {
                to: self.u64(32),
                object,
                payload: match self.u32_of_union(28) {
                    0 => whole(self.u32_of_union(20)),
                    raw => raw.into(),
                },
                ..Told::default()
            },
            // DRR_FREEOBJECTS, DRR_OBJECT_RANGE
            2 | 9 => Told {
                to: self.u64(16),
                ..Told::default()
            },
            // DRR_WRITE
            3 => Told {
                to: self.u64(32),
                object,
                payload: match self.0[8 + 42] {
                    0 => self.u64(24),
                    _ => self.u64(88), // compressed
                },
                ..Told::default()
            },
            // DRR_FREE, DRR_REDACT
            4 | 10 => Told {
                to: self.u64(24),
                object,
                ..Told::default()
            },
            // DRR_END
            5 => Told {
                to: self.u64(32),
                is_last: true,
                ..Told::default()
            },
            // DRR_SPILL
            7 => Told {
                to: self.u64(16),
                object,
                payload: match self.u64(32) {
                    0 => self.u64(8),
                    compressed => compressed,
                },
                ..Told::default()
            },
            // DRR_WRITE_EMBEDDED
            8 => Told {
                to: self.u64(24),
                object,
                payload: whole(self.u32_of_union(44)),
                ..Told::default()
            },
            // DRR_WRITE_BYREF, of streams without copies, which no newer ZFS makes, and what is not known.
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO: u64 = 0x1234_5678_9abc_def0;

    /// A record: its type, and what stands at which place of the union.
    fn record(
        kind: u32,
        numbers: &[(usize, u64)],
        short: &[(usize, u32)],
        to_at: usize,
    ) -> Vec<u8> {
        let mut record = vec![0; RECORD];
        record[..4].copy_from_slice(&kind.to_ne_bytes());
        for (at, number) in numbers.iter().copied().chain([(to_at, TO)]) {
            record[8 + at..16 + at].copy_from_slice(&number.to_ne_bytes());
        }
        for (at, number) in short {
            record[8 + at..12 + at].copy_from_slice(&number.to_ne_bytes());
        }
        record
    }

    fn begin() -> Vec<u8> {
        let mut begin = record(0, &[(0, MAGIC), (8, 0x11), (40, 7)], &[(24, 2)], 32);
        begin[4] = 3;
        begin.extend([0xff; 3]);
        begin
    }

    fn end() -> Vec<u8> {
        record(5, &[(0, 99)], &[], 32)
    }

    /// One of each kind, with payloads that would be records if they were taken for ones.
    fn stream() -> Vec<u8> {
        let payload = |length| vec![5; length];
        [
            begin(),
            record(1, &[(0, 40)], &[(20, 169)], 32), // rounded up to 8
            payload(176),
            record(1, &[(0, 41)], &[(20, 8), (28, 20)], 32), // raw
            payload(20),
            record(2, &[(0, 50), (8, 1 << 60)], &[], 16),
            record(3, &[(0, 42), (24, 512)], &[], 32),
            payload(512),
            record(3, &[(0, 43), (24, 4096), (88, 1000)], &[(40, 2 << 16)], 32), // compressed
            payload(1000),
            record(4, &[(0, 44), (16, u64::MAX)], &[], 24),
            record(7, &[(0, 45), (8, 600)], &[], 16),
            payload(600),
            record(7, &[(0, 46), (8, 600), (32, 300)], &[], 16),
            payload(300),
            record(8, &[(0, 47)], &[(44, 13)], 24),
            payload(16),
            record(9, &[(0, 32), (8, 32)], &[], 16),
            record(10, &[(0, 48)], &[], 24),
            end(),
        ]
        .concat()
    }

    #[test]
    fn every_object_is_told_but_those_that_were_freed() {
        let found = objects(&stream()[..], u64::MAX).unwrap().unwrap();
        assert_eq!(found, (40..=48).collect());
    }

    #[test]
    fn what_ends_early_is_never_taken_for_whole() {
        let stream = stream();
        for length in 0..stream.len() {
            assert!(objects(&stream[..length], u64::MAX).is_err(), "{length}");
        }
    }

    #[test]
    fn what_is_too_long_is_not_read_to_its_end() {
        let stream = stream();
        assert!(objects(&stream[..], stream.len() as u64).unwrap().is_some());
        assert_eq!(objects(&stream[..], 3000).unwrap(), None);
        for length in [u64::MAX / 2, u64::MAX] {
            let endless = [begin(), record(3, &[(0, 42), (24, length)], &[], 32)].concat();
            assert_eq!(objects(&endless[..], 1 << 30).unwrap(), None);
        }
    }

    #[test]
    fn another_form_is_refused() {
        let is_refused = |stream: &[Vec<u8>]| objects(&stream.concat()[..], u64::MAX).is_err();
        assert!(!is_refused(&[begin(), end()]));
        assert!(is_refused(&[end()]), "no begin");
        assert!(is_refused(&[begin(), begin(), end()]), "two begins");
        assert!(
            is_refused(&[begin(), record(6, &[], &[], 24), end()]),
            "a reference"
        );
        assert!(
            is_refused(&[begin(), record(11, &[], &[], 24), end()]),
            "unknown"
        );
        let other = record(1, &[(0, 40)], &[], 64); // its guid is 0
        assert!(is_refused(&[begin(), other, end()]), "another snapshot");
        for (at, what) in [(8, "magic"), (16, "a package"), (32, "no filesystem")] {
            let mut begin = begin();
            begin[at] ^= 3;
            assert!(is_refused(&[begin, end()]), "{what}");
        }
    }
}
