//! Writing what is made where nothing can be written.

use crate::archive::{Error, Result};
use state_linux::confine;
use std::io::{self, Write};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

/// How many pieces wait to be written: frames of an archive, mostly.
const WAITING: usize = 4;

/// Has `make` write into a pipe from where the kernel lets it write nothing else. What comes out is
/// written to `out` here: a target may have to open files or to start programs for that.
pub(super) fn confined<T: Send>(
    out: &mut dyn Write,
    make: impl FnOnce(&mut dyn Write) -> Result<T> + Send,
) -> Result<T> {
    let (into, pieces) = sync_channel(WAITING);
    thread::scope(|scope| {
        let making = scope.spawn(|| confine::confined(None, |_| make(&mut Pipe(into))));
        // Where this fails the pipe is closed, and that ends the making.
        let mut pieces = pieces.into_iter();
        let written = pieces.try_for_each(|piece: Vec<u8>| out.write_all(&piece));
        drop(pieces);
        let made = making.join();
        let made = made.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        written.map_err(|error| Error::os("writing the archive", error))?;
        made
    })
}

struct Pipe(SyncSender<Vec<u8>>);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.send(bytes.to_vec()) {
            Ok(()) => Ok(bytes.len()),
            Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_is_made_arrives_and_nothing_else_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let canary = dir.path().join("canary");
        let is_free = || fs::write(&canary, "").is_ok();
        let is_confined = confine::confined(None, |told| told == confine::Confinement::Confined);
        let mut out = Vec::new();
        let made = confined(&mut out, |out| {
            for n in 0..100 {
                out.write_all(&[n]).unwrap();
            }
            Ok(is_free())
        });
        assert_eq!(made.unwrap(), !is_confined);
        assert_eq!(out, Vec::from_iter(0..100));
        assert!(is_free(), "who asked for it is not confined");
    }

    #[test]
    fn whoever_fails_ends_it() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let endless = |out: &mut dyn Write| -> Result<()> {
            loop {
                (out.write_all(b"more")).map_err(|error| Error::os("making", error))?;
            }
        };
        let failed = confined(&mut Full, endless).unwrap_err().to_string();
        assert!(failed.starts_with("writing the archive: "), "{failed}");
        let damaged = |_: &mut dyn Write| Err::<(), _>(Error::damaged("it", "is so"));
        let failed = confined(&mut Vec::new(), damaged).unwrap_err();
        assert_eq!(
            failed.to_string(),
            Error::damaged("it", "is so").to_string()
        );
    }
}
