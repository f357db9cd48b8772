//! The manifest of the archive that another one builds on, read in order.

mod lines;
mod spots;

use super::Result;
use super::manifest::{Record, What};
pub use lines::{Blocks, Lines, Stretch};
pub use spots::Spots;
use std::borrow::Cow;
use std::fmt;

/// Records of a manifest, in order.
pub enum Older<'a> {
    /// As they come from an archive that is read, and the next one, if it was looked at.
    Records(Records<'a>, Option<Record>),
    /// As the lines of a manifest that is believed.
    Lines(Lines<'a>),
}

/// Records that come one by one.
pub type Records<'a> = Box<dyn Iterator<Item = Result<Record>> + Send + 'a>;

/// What is told of a record that is passed over.
#[derive(Debug)]
pub struct Passed<'a> {
    /// See [`Record`].
    pub path: Cow<'a, [u8]>,
    /// See [`Record`].
    pub store: usize,
    /// Whether it is a directory.
    pub is_directory: bool,
    /// See [`Record`].
    pub inode: u64,
}

impl<'a> Older<'a> {
    /// There are none.
    pub fn none() -> Self {
        Self::records(std::iter::empty())
    }

    /// Those that come out of this iterator.
    pub fn records(records: impl Iterator<Item = Result<Record>> + Send + 'a) -> Self {
        Self::Records(Box::new(records), None)
    }

    /// The path and the store of the next record.
    ///
    /// # Errors
    /// It cannot be read. What comes behind it may still be asked for.
    pub fn peek(&mut self) -> Result<Option<(Cow<'_, [u8]>, usize)>> {
        match self {
            Self::Lines(lines) => lines.peek(),
            Self::Records(records, next) => {
                if next.is_none() {
                    *next = records.next().transpose()?;
                }
                let next = next.as_ref();
                Ok(next.map(|next| (Cow::Borrowed(next.path.as_slice()), next.store)))
            }
        }
    }

    /// The next record.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn take(&mut self) -> Result<Option<Record>> {
        match self {
            Self::Lines(lines) => lines.take(),
            Self::Records(records, next) => match next.take() {
                Some(next) => Ok(Some(next)),
                None => records.next().transpose(),
            },
        }
    }

    /// Passes over the next record, and says what can be told of it at little cost.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn pass(&mut self) -> Result<Option<Passed<'_>>> {
        match self {
            Self::Lines(lines) => lines.pass(),
            Self::Records(..) => Ok(self.take()?.map(|record| Passed {
                path: Cow::Owned(record.path),
                store: record.store,
                is_directory: record.what == What::Directory,
                inode: record.inode,
            })),
        }
    }

    /// The records from here on that come before the path `limit` and that none of `spots` is
    /// about, as far as they can be had at once. `None`: the next one, if there is one, has to be looked at by
    /// itself. Inodes with several names and files with holes are never among them.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn stretch(&mut self, spots: &mut Spots, limit: Option<&[u8]>) -> Result<Option<Stretch>> {
        match self {
            Self::Lines(lines) => lines.stretch(spots, limit),
            Self::Records(..) => Ok(None),
        }
    }
}

impl fmt::Debug for Older<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Older").finish_non_exhaustive()
    }
}
