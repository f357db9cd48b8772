//! Reading ahead. A disk answers many readers sooner than as many as there are cores; where
//! everything is in memory, more of them only cost time. So the workers notice whether they have
//! to wait, and only then the files of coming units are brought into memory by others.

use super::pool::Pool;
use rustix::fs::{Advice, fadvise};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use state_linux::tree::Entry;
use std::io::IoSliceMut;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// How many read ahead: more gained nothing.
const READERS: usize = 14;
/// How many files one of them takes at once: waking it costs as much as opening some.
pub(super) const TOGETHER: usize = 8;
/// How many times that wait for them: each file keeps its directory open.
pub(super) const WAITING: usize = 8;
/// After so many files in a row that were in memory, the others are taken to be there, too.
const PATIENCE: u32 = 500;

/// Whether what is read has to be waited for.
#[derive(Default)]
pub(super) struct Ahead(AtomicU32);

impl Ahead {
    /// Whether it pays to read ahead.
    pub(super) fn is_cold(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    /// Reads what is in memory of a file, and notices if nothing is. Says how much it was.
    pub(super) fn read(&self, open: &OwnedFd, at: u64, room: &mut [u8]) -> usize {
        let mut room = [IoSliceMut::new(room)];
        match preadv2(open, &mut room, at, ReadWriteFlags::NOWAIT) {
            Ok(read) => {
                // Two at once may count as one: it is about hundreds.
                let left = self.0.load(Ordering::Relaxed);
                if left > 0 {
                    self.0.store(left - 1, Ordering::Relaxed);
                }
                read
            }
            Err(Errno::AGAIN) => {
                self.0.store(PATIENCE, Ordering::Relaxed);
                0
            }
            // Whoever reads it learns what is wrong; a filesystem may not know how to say.
            Err(_) => 0,
        }
    }

    fn fetch(&self, entry: &Entry) {
        // What cannot be opened is told by the worker that needs it.
        let Ok(open) = entry.open() else { return };
        if self.read(&open, 0, &mut [0]) == 0
            && let Some(size) = NonZeroU64::new(entry.stat.size)
        {
            // Advice: what becomes of it is of no consequence.
            fadvise(&open, 0, Some(size), Advice::WillNeed).unwrap_or_default();
        }
    }
}

impl Pool<'_> {
    /// Brings into memory what comes out of the queue. The threads begin with the first of it.
    pub(super) fn read_ahead(&self, queue: Receiver<Vec<Entry>>) {
        let Ok(first) = queue.recv() else { return };
        let queue = Mutex::new(queue);
        let fetch = || loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(entries) = next else { return };
            for entry in entries {
                if !self.is_stopped() {
                    self.ahead.fetch(&entry);
                }
            }
        };
        thread::scope(|scope| {
            for _ in 1..READERS {
                scope.spawn(fetch);
            }
            first.iter().for_each(|entry| self.ahead.fetch(entry));
            fetch();
        });
    }
}
