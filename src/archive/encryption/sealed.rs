//! Reading any part of an encrypted data object.

use super::{Decrypting, EncryptionError, Identities};
use crate::archive::read::Source;
use crate::archive::{Error, Result};
use std::fmt;
use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// A header that is longer is not read: it is not one of ours, and every line of it costs work.
const MOST_HEADER_BYTES: u64 = 64 << 10;
/// What of the beginning is read at once and kept: the header and age's first piece.
const HEAD_BYTES: u64 = 128 << 10;
/// What of the end is read at once and kept: age's last piece, the seek table, and of most
/// archives the manifest's index.
const TAIL_BYTES: u64 = 256 << 10;
/// age encrypts pieces of this size, each of them with a tag.
const PIECE_BYTES: u64 = 64 << 10;
const SEALED_PIECE_BYTES: u64 = PIECE_BYTES + 16;
/// The most that is asked of the target at once.
const MOST_READ_BYTES: u64 = 8 << 20;

/// A data object, decrypted as it is read.
pub struct Sealed<'s> {
    shared: Arc<Shared<'s>>,
    /// Where the header ends in the stored object.
    payload: u64,
    length: u64,
    /// Whether the end is known to be the end it was given.
    has_end: OnceLock<()>,
    stream: Mutex<Decrypting<Stored<'s>>>,
}

impl fmt::Debug for Sealed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sealed").field(&self.name()).finish()
    }
}

impl<'s> Sealed<'s> {
    /// Opens the object: its header is read here, and keys are needed here and never again.
    ///
    /// # Errors
    /// None of the keys opens it; its header was changed; it cannot be read.
    pub fn open(
        source: Box<dyn Source + 's>,
        keys: &Identities,
    ) -> std::result::Result<Self, EncryptionError> {
        let shared = Arc::new(Shared {
            source,
            at: AtomicU64::new(0),
            ahead: AtomicU64::new(0),
        });
        let stream = keys.decrypt(Stored::open(Arc::clone(&shared))?)?;
        let payload = shared.at.load(Relaxed);
        // As the stored length says; nothing is believed of it before `end` has been there.
        let sealed = shared.source.length() - payload;
        let tags = sealed.div_ceil(SEALED_PIECE_BYTES) * (SEALED_PIECE_BYTES - PIECE_BYTES);
        let length = sealed.checked_sub(tags);
        Ok(Self {
            shared,
            payload,
            length: length.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?,
            has_end: OnceLock::new(),
            stream: Mutex::new(stream),
        })
    }

    /// Makes sure that the end is the end it was given, before the first byte is handed out: what
    /// stands at the end is looked for there.
    fn end(&self, stream: &mut Decrypting<Stored<'s>>) -> io::Result<()> {
        if self.has_end.get().is_none() {
            // age decrypts the last piece, as the last one, to answer this.
            if stream.seek(SeekFrom::End(0))? != self.length {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.has_end.get_or_init(|| ());
        }
        Ok(())
    }
}

/// What reading failed of: the stored object, or what it decrypts to.
pub fn failure(name: &str, error: io::Error) -> Error {
    match error.downcast::<Stray>() {
        Ok(Stray(inner)) => inner,
        Err(_) => Error::damaged(name, "it does not decrypt: it was cut off or changed"),
    }
}

impl Source for Sealed<'_> {
    fn name(&self) -> &str {
        self.shared.source.name()
    }

    fn length(&self) -> u64 {
        self.length
    }

    fn read(&self, at: u64, length: usize) -> Result<Vec<u8>> {
        // Nothing is allocated for bytes that are not there.
        let end = at.checked_add(length as u64);
        let Some(end) = end.filter(|end| *end <= self.length) else {
            return Err(Error::damaged(self.name(), "it ends too early"));
        };
        let mut bytes = vec![0; length];
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        // One request for all the pieces, not one for each.
        let pieces = end.div_ceil(PIECE_BYTES);
        self.shared
            .ahead
            .store(self.payload + pieces * SEALED_PIECE_BYTES, Relaxed);
        self.end(&mut stream)
            .and_then(|()| stream.seek(SeekFrom::Start(at)))
            .and_then(|_| stream.read_exact(&mut bytes))
            .map_err(|error| failure(self.name(), error))?;
        Ok(bytes)
    }

    fn stored(&self) -> Option<&dyn Source> {
        Some(&*self.shared.source)
    }
}

/// What the stream and its owner both know.
struct Shared<'s> {
    source: Box<dyn Source + 's>,
    /// The stream's place in the stored object.
    at: AtomicU64,
    /// How far it will be read now.
    ahead: AtomicU64,
}

/// The object as it is stored, in the pieces in which it is asked for at the target.
struct Stored<'s> {
    shared: Arc<Shared<'s>>,
    /// The beginning, the end once it was asked for, and what was read last. The first two are
    /// needed again and again.
    windows: [Window; 3],
}

#[derive(Default)]
struct Window {
    at: u64,
    bytes: Vec<u8>,
}

impl Window {
    fn read(shared: &Shared<'_>, at: u64, bytes: u64) -> io::Result<Self> {
        let bytes = shared.source.read(at, bytes as usize);
        let bytes = bytes.map_err(|error| io::Error::other(Stray(error)))?;
        Ok(Self { at, bytes })
    }
}

/// An error of our own on its way through a library that knows only those of the system.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Stray(Error);

impl<'s> Stored<'s> {
    fn open(shared: Arc<Shared<'s>>) -> io::Result<Self> {
        let length = shared.source.length();
        let head = match length <= HEAD_BYTES + TAIL_BYTES {
            true => Window::read(&shared, 0, length)?,
            false => Window::read(&shared, 0, HEAD_BYTES)?,
        };
        let header = &head.bytes[..head.bytes.len().min(MOST_HEADER_BYTES as usize)];
        if !header.windows(5).any(|end| end == b"\n--- ") {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Self {
            windows: [head, Window::default(), Window::default()],
            shared,
        })
    }

    /// The window that has the byte at `at`.
    fn window(&self, at: u64) -> Option<(usize, usize)> {
        let inside = |window: &Window| {
            let skip = usize::try_from(at.checked_sub(window.at)?).ok()?;
            (skip < window.bytes.len()).then_some(skip)
        };
        (self.windows.iter().enumerate()).find_map(|(n, window)| Some((n, inside(window)?)))
    }
}

impl BufRead for Stored<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let shared = &self.shared;
        let (at, length) = (shared.at.load(Relaxed), shared.source.length());
        if at >= length {
            return Ok(&[]);
        }
        if self.window(at).is_none() {
            let tail = length.saturating_sub(TAIL_BYTES);
            let wanted = shared.ahead.load(Relaxed).saturating_sub(at);
            let wanted = wanted.clamp(SEALED_PIECE_BYTES, MOST_READ_BYTES);
            match at >= tail {
                true => self.windows[1] = Window::read(shared, tail, length - tail)?,
                false => self.windows[2] = Window::read(shared, at, wanted.min(length - at))?,
            }
        }
        let (n, skip) = self.window(at).expect("it was just read");
        Ok(&self.windows[n].bytes[skip..])
    }

    fn consume(&mut self, bytes: usize) {
        self.shared.at.fetch_add(bytes as u64, Relaxed);
    }
}

impl Read for Stored<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let length = bytes.len().min(buffer.len());
        buffer[..length].copy_from_slice(&bytes[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl Seek for Stored<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let shared = &self.shared;
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => shared.at.load(Relaxed).checked_add_signed(by),
            SeekFrom::End(by) => shared.source.length().checked_add_signed(by),
        };
        let at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        shared.at.store(at, Relaxed);
        Ok(at)
    }
}
