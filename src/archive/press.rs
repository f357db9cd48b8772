//! The two texts at the end of an archive, the sums and the manifest. How long they are is known
//! only when everything else has been written: until then they are kept compressed, and each has a
//! thread of its own that compresses it.

use super::frame::Packer;
use super::manifest::Digest;
use super::tar::Packed;
use super::{Error, Result};
use sha2::{Digest as _, Sha256};
use std::io;
use std::mem;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, JoinHandle};

/// zstd's level for these texts, whatever that of the archive is. They are digests and counters:
/// matches of three digits, which the levels from 2 to 9 look for, cost more bytes than they save, and up to
/// three times the time (docs/design/archive.md).
const LEVEL: i32 = 1;

/// How many pieces of text wait for the thread: memory holds that many of at most a frame each.
const WAITING: usize = 2;

/// A text that grows, and is compressed piece by piece.
pub(super) struct Growing {
    /// The piece that is not complete yet.
    piece: Vec<u8>,
    length: u64,
    /// Nothing once it has failed.
    press: Option<Press>,
}

/// Who compresses it.
enum Press {
    /// Nothing was worth a thread yet.
    Here(Box<Pressed>),
    Beside {
        to: SyncSender<Vec<u8>>,
        thread: JoinHandle<Result<Box<Pressed>>>,
    },
}

/// A text as far as it is compressed.
pub(super) struct Pressed {
    packer: Packer,
    /// A frame for each piece.
    pub(super) frames: Vec<Packed>,
    /// The digest of each piece, if they are wanted.
    pub(super) digests: Option<Vec<Digest>>,
    hash: Sha256,
}

impl Growing {
    /// The sums.
    pub(super) fn sums() -> Result<Self> {
        Self::new(Sha256::new(), None)
    }

    /// A manifest whose digest begins with `head`, which is written by other means.
    pub(super) fn manifest(head: &[u8]) -> Result<Self> {
        Self::new(Sha256::new_with_prefix(head), Some(Vec::new()))
    }

    fn new(hash: Sha256, digests: Option<Vec<Digest>>) -> Result<Self> {
        let pressed = Pressed {
            packer: Packer::new(LEVEL).map_err(|e| Error::os("starting zstd", e))?,
            frames: Vec::new(),
            digests,
            hash,
        };
        Ok(Self {
            piece: Vec::new(),
            length: 0,
            press: Some(Press::Here(Box::new(pressed))),
        })
    }

    /// The piece that is not complete yet.
    pub(super) fn piece(&mut self) -> &mut Vec<u8> {
        &mut self.piece
    }

    /// How long it is without the piece that is not complete yet.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Ends the present piece: a frame of its own. Gives its length.
    pub(super) fn cut(&mut self) -> Result<u64> {
        let next = Vec::with_capacity(self.piece.len() + self.piece.len() / 8);
        let piece = mem::replace(&mut self.piece, next);
        let length = piece.len() as u64;
        self.length += length;
        let (to, thread) = match self.press.take() {
            Some(Press::Here(pressed)) => {
                let (to, pieces) = mpsc::sync_channel(WAITING);
                let thread = thread::Builder::new().spawn(move || pressed.run(&pieces));
                (to, thread.map_err(|e| Error::os("starting a thread", e))?)
            }
            Some(Press::Beside { to, thread }) => (to, thread),
            None => return Err(failed_before()),
        };
        match to.send(piece) {
            Ok(()) => self.press = Some(Press::Beside { to, thread }),
            Err(_) => joined(thread).map(|_| ())?, // it ends early with an error only
        }
        Ok(length)
    }

    /// Ends the text with the present piece, which may be empty.
    pub(super) fn end(&mut self) -> Result<Box<Pressed>> {
        let mut pressed = match self.press.take() {
            Some(Press::Here(pressed)) => pressed,
            Some(Press::Beside { to, thread }) => {
                drop(to);
                joined(thread)?
            }
            None => return Err(failed_before()),
        };
        if !self.piece.is_empty() {
            self.length += self.piece.len() as u64;
            pressed.piece(&mem::take(&mut self.piece))?;
        }
        Ok(pressed)
    }
}

/// Whoever fails leaves no thread.
impl Drop for Growing {
    fn drop(&mut self) {
        if let Some(Press::Beside { to, thread }) = self.press.take() {
            drop(to);
            drop(thread.join()); // there is an error to tell already
        }
    }
}

impl Pressed {
    fn run(mut self: Box<Self>, pieces: &Receiver<Vec<u8>>) -> Result<Box<Self>> {
        while let Ok(piece) = pieces.recv() {
            self.piece(&piece)?;
        }
        Ok(self)
    }

    fn piece(&mut self, piece: &[u8]) -> Result<()> {
        let packed = self.pack(piece)?;
        self.frames.push(packed);
        self.hash.update(piece);
        if let Some(digests) = &mut self.digests {
            digests.push(Digest::of(piece));
        }
        Ok(())
    }

    /// A frame of something that belongs to this text.
    pub(super) fn pack(&mut self, content: &[u8]) -> Result<Packed> {
        Packed::of(content, &mut self.packer)
    }

    /// The digest of the whole text with `end` behind it.
    pub(super) fn digest_with(&self, end: &[u8]) -> Digest {
        let mut hash = self.hash.clone();
        hash.update(end);
        hash.into()
    }
}

fn joined(thread: JoinHandle<Result<Box<Pressed>>>) -> Result<Box<Pressed>> {
    let done = thread.join();
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn failed_before() -> Error {
    let why = io::Error::other("it failed before");
    Error::os("compressing a frame", why)
}
