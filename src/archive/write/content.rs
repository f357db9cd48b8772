//! Where the content of a file is, and reading it.

use super::notes::Notes;
use crate::archive::member::Kind;
use crate::archive::sparse;
use state_linux::metadata::{Extent, data_extents};
use state_linux::tree::Entry;
use std::os::fd::OwnedFd;

/// Where a file's data is, and how that is said.
pub(super) struct Content {
    pub(super) extents: Vec<Extent>,
    /// In front of the data of a file with holes.
    pub(super) map: Vec<u8>,
    pub(super) is_sparse: bool,
}

impl Content {
    pub(super) fn of(entry: &Entry, path: &[u8], open: &OwnedFd, notes: &mut Notes) -> Self {
        let size = entry.stat.size;
        let mut extents = vec![Extent {
            offset: 0,
            length: size,
        }];
        if entry.stat.allocated_bytes < size {
            match data_extents(open, size) {
                Ok(found) => extents = sparse::fitting(found, size),
                Err(error) => notes.missing(path, format!("finding its holes: {error}")),
            }
        }
        let is_sparse = extents.iter().map(|e| e.length).sum::<u64>() < size;
        let map = match is_sparse {
            true => sparse::encode(&extents, size),
            false => Vec::new(),
        };
        Self {
            extents,
            map,
            is_sparse,
        }
    }
    /// How much data there is.
    pub(super) fn data(&self) -> u64 {
        self.extents.iter().map(|e| e.length).sum()
    }

    pub(super) fn kind(&self, size: u64) -> Kind {
        match self.is_sparse {
            true => Kind::Sparse { real_size: size },
            false => Kind::File,
        }
    }
}

/// Fills `room` from a file. What cannot be read becomes zeros: the size is already said.
pub(super) fn read(open: &OwnedFd, at: u64, room: &mut [u8]) -> Result<(), String> {
    let mut done = 0;
    while done < room.len() {
        let here = at + done as u64;
        let why = match rustix::io::pread(open, &mut room[done..], here) {
            Err(rustix::io::Errno::INTR) => continue,
            Ok(0) => "it became shorter while it was read".to_owned(),
            Ok(read) => {
                done += read;
                continue;
            }
            Err(error) => format!("reading it at byte {here}: {error}"),
        };
        room[done..].fill(0);
        return Err(why);
    }
    Ok(())
}
