//! Locks that belong to an open file and die with its process, so none is ever stale.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// A lock that is held; dropping it, or the end of the process in any way, releases it.
#[derive(Debug)]
pub struct Lock(File);

impl Drop for Lock {
    /// Said, and not left to the closing: a program that was being started at this moment has a copy
    /// of the open file until it runs, and the lock would last as long.
    fn drop(&mut self) {
        // Closing follows, which releases it a moment later where this could not.
        self.0.unlock().unwrap_or(());
    }
}

/// What trying to take a lock came to.
#[derive(Debug)]
pub enum Taken {
    /// It is ours now.
    Mine(Lock),
    /// Another open file holds it.
    Held {
        /// The process that said so in the file; `None` if it has not got round to it.
        by: Option<u32>,
    },
}

impl Lock {
    /// Takes the lock on a directory, for where nothing can be written. Never waits.
    ///
    /// # Errors
    /// It cannot be opened, or its filesystem has no locks.
    pub fn take_directory(path: &Path) -> io::Result<Taken> {
        let dir = File::open(path)?;
        match dir.try_lock() {
            Ok(()) => Ok(Taken::Mine(Self(dir))),
            Err(TryLockError::WouldBlock) => Ok(Taken::Held { by: None }),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Waits for the lock on a directory, for what takes no time to do.
    ///
    /// # Errors
    /// It cannot be opened, or its filesystem has no locks.
    pub fn wait_for_directory(path: &Path) -> io::Result<Self> {
        let dir = File::open(path)?;
        dir.lock()?;
        Ok(Self(dir))
    }

    /// Takes the lock on the file `path`, which is made, with its directory, if it is missing.
    /// Never waits.
    ///
    /// # Errors
    /// The file cannot be made or opened, or its filesystem has no locks.
    pub fn take(path: &Path) -> io::Result<Taken> {
        if let Some(dir) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o755).create(dir)?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false) // it may be another's, with its pid in it
            .mode(0o644)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {
                // Only for the message that the next one prints, so a full disk does not matter; the
                // lock itself is the kernel's.
                let told = file.set_len(0);
                told.and_then(|()| writeln!(file, "{}", std::process::id()))
                    .unwrap_or(());
                Ok(Taken::Mine(Self(file)))
            }
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                file.take(32).read_to_string(&mut text)?;
                Ok(Taken::Held {
                    by: text.trim().parse().ok(),
                })
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_locked_without_writing_anything() {
        let dir = tempfile::tempdir().unwrap();
        let taken = Lock::take_directory(dir.path()).unwrap();
        assert!(matches!(taken, Taken::Mine(_)));
        let second = Lock::take_directory(dir.path()).unwrap();
        assert!(matches!(second, Taken::Held { by: None }));
        drop(taken);
        let third = Lock::take_directory(dir.path()).unwrap();
        assert!(matches!(third, Taken::Mine(_)));
    }

    #[test]
    fn a_second_taker_learns_who_holds_it_and_gets_it_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/state/lock");
        let Taken::Mine(first) = Lock::take(&path).unwrap() else {
            panic!("nobody else can hold it");
        };
        let Taken::Held { by } = Lock::take(&path).unwrap() else {
            panic!("it is held");
        };
        assert_eq!(by, Some(std::process::id()));
        drop(first);
        assert!(matches!(Lock::take(&path).unwrap(), Taken::Mine(_)));
    }

    #[test]
    fn a_copy_of_the_open_file_does_not_keep_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let Taken::Mine(first) = Lock::take(&path).unwrap() else {
            panic!("nobody else can hold it");
        };
        let copy = first.0.try_clone().unwrap();
        drop(first);
        assert!(matches!(Lock::take(&path).unwrap(), Taken::Mine(_)));
        drop(copy);
    }

    #[test]
    fn what_a_dead_holder_left_in_the_file_does_not_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        std::fs::write(&path, "4242\nmore than a pid ever was\n").unwrap();
        assert!(matches!(Lock::take(&path).unwrap(), Taken::Mine(_)));
        let now = std::fs::read_to_string(&path).unwrap();
        assert_eq!(now, format!("{}\n", std::process::id()));
    }

    #[test]
    fn a_symlink_in_the_lock_s_place_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        std::fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, dir.path().join("lock")).unwrap();
        assert!(Lock::take(&dir.path().join("lock")).is_err());
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    }
}
