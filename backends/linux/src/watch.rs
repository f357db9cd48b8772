//! What happens to the names in some directories (inotify).

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Directories that are watched. A directory, not a file: a file that is replaced by a rename is
/// another one afterwards, and only its directory tells.
#[derive(Debug)]
pub struct Watch {
    fd: OwnedFd,
    dirs: BTreeMap<i32, PathBuf>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A name in a directory appeared, was closed by a writer, or got other owners or modes.
    Changed {
        /// The directory, as it was given.
        dir: PathBuf,
        /// The name in it.
        name: OsString,
    },
    /// A directory is gone, or events were lost: what is watched must be set up anew.
    Lost,
}

impl Watch {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// This user has too many already.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            fd: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?,
            dirs: BTreeMap::new(),
        })
    }

    /// Watches the names in `dir` too.
    ///
    /// # Errors
    /// It is not there, is no directory, or this user watches too many.
    pub fn add(&mut self, dir: &Path) -> io::Result<()> {
        // A write alone is no event: what is written is not whole before it is closed.
        let events = WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::CREATE
            | WatchFlags::ATTRIB
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let id = inotify::add_watch(&self.fd, dir, events)?;
        self.dirs.insert(id, dir.to_owned());
        Ok(())
    }

    /// Waits until something happens, `limit` has passed or a signal arrived; says what happened.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn wait(&mut self, limit: Duration) -> io::Result<Vec<Event>> {
        let limit = Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        };
        let mut polled = [PollFd::new(&self.fd, PollFlags::IN)];
        match poll(&mut polled, Some(&limit)) {
            Ok(0) | Err(Errno::INTR) => return Ok(Vec::new()),
            Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut events = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.fd, &mut buffer);
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::AGAIN) => return Ok(events),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            let gone = ReadFlags::DELETE_SELF
                | ReadFlags::MOVE_SELF
                | ReadFlags::QUEUE_OVERFLOW
                | ReadFlags::UNMOUNT;
            match (self.dirs.get(&event.wd()), event.file_name()) {
                _ if event.events().intersects(gone) => events.push(Event::Lost),
                (Some(dir), Some(name)) => events.push(Event::Changed {
                    dir: dir.clone(),
                    name: OsStr::from_bytes(name.to_bytes()).to_owned(),
                }),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn names_are_told_once_they_are_whole() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = Watch::new().unwrap();
        let soon = Duration::from_millis(20);
        watch.add(dir.path()).unwrap();
        assert_eq!(watch.wait(soon).unwrap(), []);
        let changed = |name: &str| Event::Changed {
            dir: dir.path().to_owned(),
            name: name.into(),
        };

        let mut file = fs::File::create(dir.path().join("a")).unwrap();
        assert_eq!(watch.wait(soon).unwrap(), [changed("a")]);
        io::Write::write_all(&mut file, b"half").unwrap();
        assert_eq!(watch.wait(soon).unwrap(), [], "it is not whole");
        drop(file);
        assert_eq!(watch.wait(soon).unwrap(), [changed("a")]);

        fs::rename(dir.path().join("a"), dir.path().join("b")).unwrap();
        assert_eq!(watch.wait(soon).unwrap(), [changed("b")]);
        fs::remove_file(dir.path().join("b")).unwrap();
        watch.wait(soon).unwrap();
        fs::remove_dir(dir.path()).unwrap();
        assert_eq!(watch.wait(soon).unwrap(), [Event::Lost]);
    }
}
