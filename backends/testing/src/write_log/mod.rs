//! What a power cut leaves of a real filesystem: everything that an act writes to its disk is
//! logged, with every flush, and the disk is made again as any cut would have left it.
//!
//! `qemu-storage-daemon` lies below: its block filter `blklogwrites` writes the log, and its FUSE
//! export gives a file that a loop device can stand on. Neither device-mapper nor a virtual machine
//! is needed, and the filesystem is the running kernel's.

mod log;
mod record;

pub use log::{Event, parse};
pub use record::record;

use rustix::fs::SeekFrom;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use tempfile::NamedTempFile;

/// What a disk held before an act, and all that the act wrote to it.
#[derive(Debug)]
pub struct Recording {
    size: u64,
    /// All but the holes.
    before: Vec<Extent>,
    events: Vec<Event>,
}

/// A moment at which the power fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// When, in words.
    pub what: String,
    /// The events that reached the disk.
    applied: Vec<usize>,
}

impl Recording {
    /// What was written, by this log, to a disk that began as `image`.
    ///
    /// # Errors
    /// The image cannot be read, or the log is none.
    pub fn of(image: &Path, log: &[u8]) -> io::Result<Self> {
        let (size, before) = data(image)?;
        let events = parse(log).map_err(io::Error::other)?;
        Ok(Self {
            size,
            before,
            events,
        })
    }

    /// How many writes and how many flushes there were.
    pub fn counts(&self) -> (usize, usize) {
        let flushes = self.events.iter().filter(|event| **event == Event::Flush);
        let flushes = flushes.count();
        (self.events.len() - flushes, flushes)
    }

    /// The cuts right after a flush: what is durable is there, and nothing else.
    pub fn at_every_flush(&self) -> Vec<Cut> {
        let flushes = self.events.iter().enumerate();
        let flushes = flushes.filter(|(_, event)| **event == Event::Flush);
        (flushes.enumerate())
            .map(|(number, (at, _))| Cut {
                what: format!("flush {}", number + 1),
                applied: (0..at).collect(),
            })
            .collect()
    }

    /// The cuts right after a write, all writes before it being there: a disk that keeps their
    /// order. The first is before any of them.
    pub fn at_every_write(&self) -> Vec<Cut> {
        let writes = self.events.iter().enumerate();
        let writes = writes.filter(|(_, event)| **event != Event::Flush);
        let nothing = Cut {
            what: "before any write".into(),
            applied: Vec::new(),
        };
        let cuts = writes.enumerate().map(|(number, (at, _))| Cut {
            what: format!("write {}", number + 1),
            applied: (0..=at).collect(),
        });
        [nothing].into_iter().chain(cuts).collect()
    }

    /// Cuts right before a flush, `times` for each, with only some of what was written since the
    /// flush before it: a disk that has its own order. The same for the same seed.
    pub fn in_disorder(&self, times: usize, seed: u64) -> Vec<Cut> {
        let mut random = Random(seed);
        let mut cuts = Vec::new();
        let mut durable = 0;
        for (at, _) in self.events.iter().enumerate() {
            if self.events[at] != Event::Flush {
                continue;
            }
            for time in 0..times {
                let some = (durable..at)
                    .filter(|each| self.events[*each].is_durable() || random.next() & 1 == 1);
                cuts.push(Cut {
                    what: format!("some writes before event {at}, {time} of seed {seed}"),
                    applied: (0..durable).chain(some).collect(),
                });
            }
            durable = at;
        }
        cuts
    }

    /// All of them, and in disorder a few times before each flush.
    pub fn all(&self) -> Vec<Cut> {
        [
            self.at_every_flush(),
            self.at_every_write(),
            self.in_disorder(4, 1),
        ]
        .concat()
    }

    /// What is sure to be there when the act is over: everything up to the last flush.
    pub fn at_the_end(&self) -> Cut {
        let last = self.events.iter().rposition(|event| *event == Event::Flush);
        Cut {
            what: "the last flush".into(),
            applied: (0..last.unwrap_or(0)).collect(),
        }
    }

    /// An image of the disk as a cut leaves it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn image(&self, cut: &Cut) -> io::Result<NamedTempFile> {
        let image = tempfile::Builder::new()
            .prefix("state-cut-")
            .tempfile_in(scratch())?;
        self.disk(cut, image.as_file())?;
        Ok(image)
    }

    /// The disk as a cut leaves it, in a file that holds nothing yet.
    fn disk(&self, cut: &Cut, file: &File) -> io::Result<()> {
        file.set_len(self.size)?;
        for (at, bytes) in &self.before {
            file.write_all_at(bytes, *at)?;
        }
        for event in &cut.applied {
            match &self.events[*event] {
                Event::Write { at, bytes, .. } => file.write_all_at(bytes, *at)?,
                // What a disk reads there is its own affair; zeros are the least of it.
                Event::Discard { at, length } => {
                    let length = usize::try_from(*length).map_err(io::Error::other)?;
                    file.write_all_at(&vec![0; length], *at)?;
                }
                Event::Flush => (),
            }
        }
        Ok(())
    }
}

/// Where images are: in memory where that is possible, because every flush of a disk in an image is
/// otherwise one of this machine's own.
fn scratch() -> &'static Path {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        memory
    } else {
        Path::new("/var/tmp")
    }
}

/// Bytes, and where they are.
type Extent = (u64, Vec<u8>);

/// The size of a file, and its data without its holes.
fn data(image: &Path) -> io::Result<(u64, Vec<Extent>)> {
    let file = File::open(image)?;
    let size = file.metadata()?.len();
    let mut extents = Vec::new();
    let mut end = 0;
    loop {
        let start = match rustix::fs::seek(&file, SeekFrom::Data(end)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => return Ok((size, extents)),
            Err(errno) => return Err(errno.into()),
        };
        end = rustix::fs::seek(&file, SeekFrom::Hole(start))?;
        let length = usize::try_from(end - start).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, start)?;
        extents.push((start, bytes));
    }
}

/// SplitMix64, by Sebastiano Vigna: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(at: u64) -> Event {
        let bytes = vec![u8::try_from(at).unwrap(); 1];
        let is_durable = false;
        Event::Write {
            at,
            bytes,
            is_durable,
        }
    }

    fn recording() -> Recording {
        Recording {
            size: 8,
            before: vec![(0, vec![9, 9])],
            events: vec![write(1), Event::Flush, write(2), write(3), Event::Flush],
        }
    }

    fn disks(recording: &Recording, cuts: &[Cut]) -> Vec<Vec<u8>> {
        let image = |cut| std::fs::read(recording.image(cut).unwrap().path()).unwrap();
        cuts.iter().map(|cut| image(cut)[..4].to_vec()).collect()
    }

    #[test]
    fn cuts_leave_what_reached_the_disk() {
        let recording = recording();
        assert_eq!(recording.counts(), (3, 2));
        assert_eq!(
            disks(&recording, &recording.at_every_flush()),
            [[9, 1, 0, 0], [9, 1, 2, 3]]
        );
        assert_eq!(
            disks(&recording, &recording.at_every_write()),
            [[9, 9, 0, 0], [9, 1, 0, 0], [9, 1, 2, 0], [9, 1, 2, 3]]
        );
        assert_eq!(disks(&recording, &[recording.at_the_end()]), [[9, 1, 2, 3]]);
    }

    #[test]
    fn a_disorderly_disk_loses_only_what_was_not_flushed() {
        let recording = recording();
        let cuts = recording.in_disorder(20, 7);
        assert_eq!(cuts, recording.in_disorder(20, 7));
        let mut left = disks(&recording, &cuts);
        left.sort();
        left.dedup();
        let mut possible = vec![
            [9, 9, 0, 0], // before the first flush
            [9, 1, 0, 0],
            [9, 1, 2, 0],
            [9, 1, 0, 3],
            [9, 1, 2, 3],
        ];
        possible.sort();
        assert_eq!(left, possible);
    }

    #[test]
    fn an_image_is_read_without_its_holes() {
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(4 << 20).unwrap();
        image.as_file().write_all_at(b"x", 2 << 20).unwrap();
        let (size, data) = data(image.path()).unwrap();
        assert_eq!(size, 4 << 20);
        assert!(data.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() < 1 << 20);
        let found =
            (data.iter()).find(|(at, bytes)| *at <= 2 << 20 && at + bytes.len() as u64 > 2 << 20);
        let (at, bytes) = found.unwrap();
        assert_eq!(bytes[usize::try_from((2 << 20) - at).unwrap()], b'x');
    }
}
