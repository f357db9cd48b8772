//! Small files that say what the directory they lie in is.

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd;

/// The longest note that is read, in bytes.
const MAX: u64 = 4096;

/// What the note `name` in `dir` says, or its beginning if it is longer than any of ours; nothing if
/// there is none, or if it is a symlink.
///
/// # Errors
/// It cannot be read.
pub fn read(dir: impl AsFd, name: &str) -> io::Result<Option<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match openat(dir, name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT | Errno::LOOP) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    let mut text = Vec::new();
    file.take(MAX).read_to_end(&mut text)?;
    Ok(Some(text))
}

/// Makes the note `name` in `dir`, for root alone, and waits until the disk has it; its name is there
/// for good once `dir` is synchronised.
///
/// # Errors
/// There is one already, or it cannot be written.
pub fn write(dir: impl AsFd, name: &str, text: &[u8]) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut file = File::from(openat(dir, name, flags, Mode::RUSR | Mode::WUSR)?);
    file.write_all(text)?;
    file.sync_all()
}
