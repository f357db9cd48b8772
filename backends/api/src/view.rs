//! A tree that can be read: a directory, and what other volumes continue it.

use std::any::Any;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// A directory tree opened for reading, through a file descriptor so that nothing has to be
/// mounted in anybody's sight.
///
/// A snapshot stops at nested volumes and leaves an empty directory there; `grafts` says which
/// directories those are and where their content is.
pub struct View {
    /// The top directory.
    pub dir: OwnedFd,
    /// The nested volumes, by path, parents before children.
    pub grafts: Vec<Graft>,
    /// Which volumes were opened, and where they belong: as [`StoreFacts::layout`](crate::StoreFacts::layout).
    pub layout: String,
    /// Whether nothing can change while it is read (a snapshot, a read-only mount of one).
    pub is_frozen: bool,
    /// What must live as long as the view: private mounts, holds.
    pub keep: Vec<Box<dyn Any + Send>>,
}

/// The content of one nested volume.
pub struct Graft {
    /// Where it belongs, relative to the view's top, without a leading slash.
    pub at: PathBuf,
    /// Its top directory.
    pub dir: OwnedFd,
}

impl View {
    /// A view of one live directory.
    pub fn live(dir: OwnedFd) -> Self {
        Self {
            dir,
            grafts: Vec::new(),
            layout: String::new(),
            is_frozen: false,
            keep: Vec::new(),
        }
    }

    /// A view of one directory that cannot change.
    pub fn frozen(dir: OwnedFd) -> Self {
        Self {
            is_frozen: true,
            ..Self::live(dir)
        }
    }

    /// The same view, keeping `thing` alive with it.
    #[must_use]
    pub fn keeping(mut self, thing: impl Any + Send) -> Self {
        self.keep.push(Box::new(thing));
        self
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("dir", &self.dir)
            .field("grafts", &self.grafts)
            .field("is_frozen", &self.is_frozen)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Graft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Graft")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}
