//! What can be wrong with an archive.

use crate::paths::Shown;
use std::fmt;
use std::path::Path;

/// The result of reading or writing an archive.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an archive could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not what it must be, byte for byte: cut off, altered, or made to deceive.
    #[error("{what}: {why}")]
    Damaged {
        /// The part of the archive.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// A later version of `state` made it.
    #[error("{what} has format {found}; this version of state reads format {known}")]
    Newer {
        /// The archive.
        what: String,
        /// Its format.
        found: u64,
        /// The newest format that can be read.
        known: u64,
    },
    /// There is none of that name.
    #[error("{what} does not exist")]
    Missing {
        /// What was asked for.
        what: String,
    },
    /// Nobody vouches for it.
    #[error("{what} is not signed: nobody vouches for who made it")]
    Unsigned {
        /// The archive.
        what: String,
    },
    /// A key is needed, or does not fit.
    #[error("{what}: {why}")]
    Key {
        /// What is locked.
        what: String,
        /// Why it stays so.
        why: String,
        /// The cure.
        cure: String,
    },
    /// No target of that name is configured.
    #[error("{target}: no target of that name is configured")]
    Unconfigured {
        /// The name.
        target: String,
        /// The cure.
        cure: String,
    },
    /// A target cannot be used.
    #[error("{target}: {why}")]
    Target {
        /// Its name or URL.
        target: String,
        /// Why not.
        why: String,
        /// The cure.
        cure: String,
    },
    /// A target does not let us do something.
    #[error("{target}: {why}")]
    Denied {
        /// Its name or URL.
        target: String,
        /// What it does not let us do, and its words.
        why: String,
        /// The cure.
        cure: String,
    },
    /// Something underneath failed.
    #[error(transparent)]
    Other(#[from] state_api::Error),
}

impl Error {
    /// A part of an archive is not what it must be.
    pub fn damaged(what: impl Into<String>, why: impl fmt::Display) -> Self {
        Self::Damaged {
            what: what.into(),
            why: why.to_string(),
        }
    }

    /// A member of an archive is not what it must be.
    pub fn member(path: &[u8], why: impl fmt::Display) -> Self {
        use std::os::unix::ffi::OsStrExt;
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        Self::damaged(Shown(path).to_string(), why)
    }

    /// An operating-system failure: `doing` is a gerund with its object.
    pub fn os(doing: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self::Other(state_api::Error::os(doing, source))
    }

    /// Whether somebody does not let us.
    pub fn is_denied(&self) -> bool {
        use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        match self {
            Self::Denied { .. } => true,
            Self::Other(state_api::Error::Os { source, .. }) => {
                matches!(source.kind(), PermissionDenied | ReadOnlyFilesystem)
            }
            _ => false,
        }
    }

    /// What happened, in the words of our own.
    pub fn told(&self) -> String {
        crate::failure::plain_errnos(&self.to_string())
    }

    /// The cure, where one is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Damaged { .. } => Some(
                "no store was changed: try another archive or another target, \
                 `state archives list`, `state archives verify`"
                    .into(),
            ),
            Self::Newer { .. } => {
                Some("use the version of state that made it, or a later one".into())
            }
            Self::Missing { .. } => Some("`state archives list` shows what there is".into()),
            Self::Unsigned { .. } => {
                Some("if you trust the place it comes from, say so with --allow-unsigned".into())
            }
            Self::Key { cure, .. }
            | Self::Target { cure, .. }
            | Self::Denied { cure, .. }
            | Self::Unconfigured { cure, .. } => Some(cure.clone()),
            // Past roots and snapshots are seldom on the disk that archives are written to.
            Self::Other(state_api::Error::Os { source, .. })
                if source.kind() == std::io::ErrorKind::StorageFull =>
            {
                Some("the disk it is written to is full; nothing was deleted to make room: make some, or use another".into())
            }
            Self::Other(error) => error.hint(),
        }
    }
}

/// What is wrong with some bytes, before it is known whose they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bad(pub String);

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Bad {}

impl From<&str> for Bad {
    fn from(why: &str) -> Self {
        Self(why.to_owned())
    }
}

impl From<String> for Bad {
    fn from(why: String) -> Self {
        Self(why)
    }
}
