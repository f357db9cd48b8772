//! Reading ahead. A disk answers many questions sooner than one after the other; where everything
//! is in memory, asking early only costs time. So a worker opens the files of its unit a while
//! before it reads them, notices whether they are in memory, and if not has the kernel bring them
//! there meanwhile.

use super::unit::{Piece, Way};
use rustix::fs::{Advice, fadvise};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use state_linux::stat::Kind;
use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::vec;

/// How many files a worker opens before the one that it reads.
const WINDOW: usize = 64;
/// After so many files in a row that were in memory, the others are taken to be there, too.
const PATIENCE: u32 = 500;

/// Whether what is read has to be waited for.
pub(super) struct Ahead {
    /// How many files more must be found in memory until it is believed.
    left: AtomicU32,
    window: usize,
}

impl Ahead {
    /// For so many workers. They begin in the belief that they have to wait: nothing of a new
    /// snapshot is in memory.
    pub(super) fn new(workers: usize, descriptors: usize) -> Self {
        Self {
            left: AtomicU32::new(PATIENCE),
            window: (descriptors / workers).clamp(1, WINDOW),
        }
    }

    /// The same pieces in the same order, their files opened.
    pub(super) fn of(&self, pieces: Vec<Piece>) -> Opening<'_> {
        Opening {
            ahead: self,
            rest: pieces.into_iter(),
            near: VecDeque::with_capacity(self.window),
        }
    }

    fn is_cold(&self) -> bool {
        self.left.load(Ordering::Relaxed) > 0
    }

    /// Reads what is in memory of a file, and says how much it was.
    pub(super) fn read(&self, open: &OwnedFd, at: u64, room: &mut [u8]) -> usize {
        match self.is_cold() {
            // It is on its way: whoever asks now asks again.
            true => 0,
            false => self.look(open, at, room),
        }
    }

    /// The same, and notices if nothing is.
    fn look(&self, open: &OwnedFd, at: u64, room: &mut [u8]) -> usize {
        let mut room = [IoSliceMut::new(room)];
        match preadv2(open, &mut room, at, ReadWriteFlags::NOWAIT) {
            Ok(read) => {
                // Two at once may count as one: it is about hundreds.
                let left = self.left.load(Ordering::Relaxed);
                if left > 0 {
                    self.left.store(left - 1, Ordering::Relaxed);
                }
                read
            }
            Err(Errno::AGAIN) => {
                self.left.store(PATIENCE, Ordering::Relaxed);
                0
            }
            // Whoever reads it learns what is wrong; a filesystem may not know how to say.
            Err(_) => 0,
        }
    }

    fn open(&self, piece: &mut Piece) {
        let Piece::Entry(item) = piece else { return };
        if item.entry.stat.kind != Kind::File {
            return;
        }
        // What may go away is opened when it is its turn: then it is not there any more, instead
        // of lost while it was read.
        let stays = item.entry.is_frozen();
        match &item.way {
            Way::Opened(open) => self.advise(open, item.entry.stat.size),
            Way::Member if stays || self.is_cold() => {
                // What cannot be opened is told in its turn, too.
                let Ok(open) = item.entry.open() else { return };
                self.advise(&open, item.entry.stat.size);
                if stays {
                    item.way = Way::Opened(open);
                }
            }
            _ => {}
        }
    }

    fn advise(&self, open: &OwnedFd, size: u64) {
        if let Some(size) = NonZeroU64::new(size)
            && self.is_cold()
            && self.look(open, 0, &mut [0]) == 0
        {
            // Advice: what becomes of it is of no consequence.
            fadvise(open, 0, Some(size), Advice::WillNeed).unwrap_or_default();
        }
    }
}

/// Pieces of which the next ones are open.
pub(super) struct Opening<'a> {
    ahead: &'a Ahead,
    rest: vec::IntoIter<Piece>,
    near: VecDeque<Piece>,
}

impl Iterator for Opening<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        while self.near.len() < self.ahead.window
            && let Some(mut piece) = self.rest.next()
        {
            self.ahead.open(&mut piece);
            self.near.push_back(piece);
        }
        self.near.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::super::unit::Item;
    use super::*;
    use state_api::View;
    use state_linux::tree::Walk;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn files_are_open_before_their_turn_and_whatever_cannot_be_keeps_its_place() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        for n in 0..9 {
            fs::write(dir.path().join(format!("d/{n}")), [n]).unwrap();
        }
        let mut view = View::live(fs::File::open(dir.path()).unwrap().into());
        let piece = |entry: state_linux::tree::Entry| {
            let path = entry.path.as_os_str().as_bytes().to_vec();
            let way = Way::Member;
            Piece::Entry(Item {
                store: 0,
                entry,
                path,
                way,
            })
        };
        let pieces = |view: &View| -> Vec<_> {
            let walk = Walk::new(view);
            walk.map(|entry| piece(entry.unwrap())).collect()
        };
        let said = |ahead: &Ahead, pieces| -> Vec<String> {
            let said = |piece| match piece {
                Piece::Entry(Item { path, way, .. }) => {
                    let path = String::from_utf8(path).unwrap();
                    format!("{path} {}", matches!(way, Way::Opened(_)))
                }
                Piece::Kept(_) => unreachable!("nothing is kept"),
            };
            ahead.of(pieces).map(said).collect()
        };
        for (workers, descriptors, window) in [(1, 4, 4), (8, 4, 1), (2, 4096, WINDOW)] {
            let ahead = Ahead::new(workers, descriptors);
            assert_eq!(ahead.window, window);
            for is_frozen in [true, false] {
                view.is_frozen = is_frozen;
                let before = pieces(&view);
                fs::rename(dir.path().join("d/5"), dir.path().join("away")).unwrap();
                let is_open = |n| is_frozen && n != 5;
                let opened: Vec<_> = (0..9).map(|n| format!("d/{n} {}", is_open(n))).collect();
                let expected = [&[" false".into(), "d false".into()][..], &opened].concat();
                assert_eq!(said(&ahead, before), expected);
                fs::rename(dir.path().join("away"), dir.path().join("d/5")).unwrap();
            }
        }
    }
}
