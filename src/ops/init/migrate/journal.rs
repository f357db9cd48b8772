//! What was filled by us: which copies in a store are nobody's but ours, so that a later run may
//! bring them up to date. Everything else in a store is never replaced.

use crate::anchor::Anchor;
use rustix::fs::{Mode, OFlags, fsync, openat, renameat};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use state_api::{Error, Result, View};
use state_linux::stat::{Stat, Time};
use state_linux::tree::Walk;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

const DIRECTORY: &str = ".state";
const FILE: &str = ".state/migrate.json";
const NEW: &str = ".state/migrate.json.new";

/// The journal of one store.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Journal {
    version: u32,
    /// By path on the machine; several after a run that was stopped between two names.
    filled: BTreeMap<PathBuf, Vec<Filled>>,
}

/// A copy as it was when it was complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Filled {
    inode: u64,
    size: u64,
    modified: (i64, u32),
    /// When, by the clock that filesystems use.
    at: (i64, u32),
}

fn pair(time: Time) -> (i64, u32) {
    (time.seconds, time.nanoseconds)
}

/// A time later than what filesystems wrote of any change until now…
pub(super) fn after() -> (i64, u32) {
    time(ClockId::Realtime)
}

/// … and one that is not later than what they write of any change from now on: most go by a clock
/// that ticks slowly, some by an exact one.
pub(super) fn before() -> (i64, u32) {
    time(ClockId::RealtimeCoarse)
}

fn time(clock: ClockId) -> (i64, u32) {
    let now = clock_gettime(clock);
    (now.tv_sec, now.tv_nsec.try_into().unwrap_or(0))
}

impl Journal {
    /// Reads the journal of a store; there may be none.
    pub(super) fn read(store: &Anchor) -> Result<Self> {
        let failed = |error| Error::os("reading what was migrated", error);
        match store.read_within(Path::new(FILE)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|why| Error::Malformed {
                what: FILE.to_owned(),
                why: why.to_string(),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self {
                version: 1,
                filled: BTreeMap::new(),
            }),
            Err(error) => Err(failed(error)),
        }
    }

    /// Notes a complete copy before it gets its name.
    pub(super) fn note(&mut self, store: &Anchor, path: &Path, stat: &Stat) -> Result<()> {
        let copies = self.filled.entry(path.to_owned()).or_default();
        copies.push(Filled {
            inode: stat.id.inode,
            size: stat.size,
            modified: pair(stat.modified),
            at: after(),
        });
        self.write(store)
            .map_err(|error| Error::os("noting what is migrated", error))
    }

    fn write(&self, store: &Anchor) -> io::Result<()> {
        store.make_directory(OsStr::new(DIRECTORY), 0, 0, 0o700)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW;
        let file = openat(store, NEW, flags | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR)?;
        let mut file = File::from(file);
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        renameat(store, NEW, store, FILE)?;
        Ok(fsync(store.read(Path::new(DIRECTORY))?)?)
    }

    /// Whether what is in the store for `path` is a copy that we made, and nobody has written to
    /// since.
    pub(super) fn is_ours(&self, path: &Path, stat: &Stat, tree: Option<&View>) -> bool {
        let copies = self.filled.get(path).into_iter().flatten();
        let mut same = copies.filter(|filled| {
            (filled.inode, filled.size, filled.modified)
                == (stat.id.inode, stat.size, pair(stat.modified))
        });
        let Some(filled) = same.next() else {
            return false;
        };
        // The top got its name after that; its content and its time are compared above.
        let is_untouched = |view| {
            Walk::new(view).all(|entry| match entry {
                Ok(entry) => {
                    entry.path.as_os_str().is_empty() || pair(entry.stat.changed) <= filled.at
                }
                Err(_) => false,
            })
        };
        tree.is_none_or(is_untouched)
    }
}
