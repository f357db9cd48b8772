//! The two texts at the end of an archive, the sums and the manifest. How long they are is known
//! only when everything else has been written: until then they are kept compressed, and a thread of
//! their own compresses them.

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

/// Which text.
#[derive(Debug, Clone, Copy)]
pub(super) enum Text {
    Sums,
    Manifest,
}

/// A text, compressed piece by piece.
pub(super) struct Pressed {
    /// A frame for each piece.
    pub(super) frames: Vec<Packed>,
    hash: Sha256,
}

impl Pressed {
    /// The digest of the whole text with `end` behind it.
    pub(super) fn digest_with(&self, end: &[u8]) -> Digest {
        let mut hash = self.hash.clone();
        hash.update(end);
        hash.into()
    }
}

/// Compresses both.
pub(super) struct Press(Option<Place>);

enum Place {
    /// Nothing was worth a thread yet.
    Here(Box<Work>),
    Beside {
        to: SyncSender<(Text, Vec<u8>)>,
        thread: JoinHandle<Result<Box<Work>>>,
    },
}

/// What the press works with, and both texts as far as they are compressed.
pub(super) struct Work {
    packer: Packer,
    pub(super) sums: Pressed,
    pub(super) manifest: Pressed,
    /// The digest of each piece of the manifest.
    pub(super) blocks: Vec<Digest>,
}

impl Press {
    /// Nothing is in either text yet, but the manifest's digest begins with `head`, which is
    /// written by other means.
    pub(super) fn new(head: &[u8]) -> Result<Self> {
        let pressed = |head: &[u8]| Pressed {
            frames: Vec::new(),
            hash: Sha256::new_with_prefix(head),
        };
        Ok(Self(Some(Place::Here(Box::new(Work {
            packer: Packer::new(LEVEL).map_err(|e| Error::os("starting zstd", e))?,
            sums: pressed(&[]),
            manifest: pressed(head),
            blocks: Vec::new(),
        })))))
    }

    /// Takes the next piece of a text: a frame of its own.
    pub(super) fn push(&mut self, text: Text, piece: Vec<u8>) -> Result<()> {
        let place = match self.0.take() {
            Some(Place::Here(work)) => {
                let (to, pieces) = mpsc::sync_channel(WAITING);
                let thread = thread::Builder::new().spawn(move || work.run(&pieces));
                let thread = thread.map_err(|e| Error::os("starting a thread", e))?;
                Place::Beside { to, thread }
            }
            Some(beside) => beside,
            None => return Err(failed_before()),
        };
        let Place::Beside { to, thread } = place else {
            unreachable!("it was just sent there");
        };
        match to.send((text, piece)) {
            Ok(()) => self.0 = Some(Place::Beside { to, thread }),
            Err(_) => joined(thread).map(|_| ())?, // it ends early with an error only
        }
        Ok(())
    }

    /// Takes the last piece of each text; gives both, and what compressed them.
    pub(super) fn end(mut self, sums: &[u8], manifest: &[u8]) -> Result<Box<Work>> {
        let mut work = match self.0.take() {
            Some(Place::Here(work)) => work,
            Some(Place::Beside { to, thread }) => {
                drop(to);
                joined(thread)?
            }
            None => return Err(failed_before()),
        };
        for (text, piece) in [(Text::Sums, sums), (Text::Manifest, manifest)] {
            if !piece.is_empty() {
                work.piece(text, piece)?;
            }
        }
        Ok(work)
    }
}

/// Whoever fails leaves no thread.
impl Drop for Press {
    fn drop(&mut self) {
        if let Some(Place::Beside { to, thread }) = self.0.take() {
            drop(to);
            drop(thread.join()); // there is an error to tell already
        }
    }
}

impl Work {
    fn run(mut self: Box<Self>, pieces: &Receiver<(Text, Vec<u8>)>) -> Result<Box<Self>> {
        while let Ok((text, piece)) = pieces.recv() {
            self.piece(text, &piece)?;
        }
        Ok(self)
    }

    /// A frame of something that belongs to these texts.
    pub(super) fn pack(&mut self, content: &[u8]) -> Result<Packed> {
        Packed::of(content, &mut self.packer)
    }

    fn piece(&mut self, text: Text, piece: &[u8]) -> Result<()> {
        let packed = self.pack(piece)?;
        let pressed = match text {
            Text::Sums => &mut self.sums,
            Text::Manifest => &mut self.manifest,
        };
        pressed.hash.update(piece);
        if let Text::Manifest = text {
            self.blocks.push(Digest::of(piece));
        }
        pressed.frames.push(packed);
        Ok(())
    }
}

fn joined(thread: JoinHandle<Result<Box<Work>>>) -> Result<Box<Work>> {
    let done = thread.join();
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn failed_before() -> Error {
    let why = io::Error::other("it failed before");
    Error::os("compressing a frame", why)
}

/// A text that grows, and goes to the press in pieces.
pub(super) struct Growing {
    text: Text,
    piece: Vec<u8>,
    length: u64,
}

impl Growing {
    pub(super) fn new(text: Text) -> Self {
        Self {
            text,
            piece: Vec::new(),
            length: 0,
        }
    }

    /// The piece that is not complete yet.
    pub(super) fn piece(&mut self) -> &mut Vec<u8> {
        &mut self.piece
    }

    /// How long it is without the piece that is not complete yet.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Ends the present piece; gives its length.
    pub(super) fn cut(&mut self, press: &mut Press) -> Result<u64> {
        let next = Vec::with_capacity(self.piece.len() + self.piece.len() / 8);
        let piece = mem::replace(&mut self.piece, next);
        let length = piece.len() as u64;
        self.length += length;
        press.push(self.text, piece)?;
        Ok(length)
    }

    /// Ends the text; gives its last piece, which may be empty.
    pub(super) fn end(&mut self) -> Vec<u8> {
        self.length += self.piece.len() as u64;
        mem::take(&mut self.piece)
    }
}
