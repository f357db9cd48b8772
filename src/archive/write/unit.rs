//! What passes between the walk, the workers and the writer.

use super::large::Large;
use super::notes::Notes;
use super::pool::Held;
use crate::archive::manifest::{Record, digest_of};
use crate::archive::older::Stretch;
use crate::archive::sums;
use crate::archive::tar::Packed;
use state_linux::tree::Entry;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// What one worker turns into whole frames.
pub(super) enum Unit {
    /// Entries that are together about as large as a frame.
    Entries(Vec<Piece>),
    /// One frame's worth of a large file, by number.
    Part(Arc<Large>, u64),
}

/// What the manifest lists.
pub(super) enum Piece {
    /// An entry.
    Entry(Item),
    /// What is as it was: no member.
    Kept(Kept),
}

/// Something that is kept of the older manifest.
#[expect(clippy::large_enum_variant, reason = "each is passed on at once")]
pub(super) enum Kept {
    Record(Record),
    /// Many records, of which nothing has to be known.
    Stretch(Stretch),
}

/// One entry.
pub(super) struct Item {
    pub(super) store: usize,
    pub(super) entry: Entry,
    /// Its path as bytes.
    pub(super) path: Vec<u8>,
    pub(super) way: Way,
}

/// How an entry gets into the archive.
pub(super) enum Way {
    /// As a member of its own.
    Member,
    /// With the member of the item before: the same directory of another store.
    Shared,
    /// As a further name of this path.
    Link(Vec<u8>),
    /// As the first name of several, opened beforehand: the others rely on it.
    Opened(OwnedFd),
    /// The same for a symlink: its target.
    Target(Vec<u8>),
}

/// A unit on its way to a worker, with what it keeps open.
pub(super) struct Task {
    pub(super) unit: Unit,
    pub(super) held: Held,
}

/// Something for the manifest.
pub(super) enum Listed {
    /// The offset of a member of this archive counts from the unit's begin, less [`Made::back`].
    Record(Record),
    Lines(Lines),
}

/// Lines of the older manifest, with their lines of the sums.
pub(super) struct Lines {
    pub(super) stretch: Stretch,
    pub(super) sums: Vec<u8>,
}

impl From<Stretch> for Lines {
    fn from(stretch: Stretch) -> Self {
        let mut sums = Vec::with_capacity(stretch.text().len() / 2);
        for line in stretch.text().lines() {
            if let Some((path, digest)) = line.get(1..).and_then(digest_of) {
                sums::push_hex_line(&mut sums, digest, &path);
            }
        }
        Self { stretch, sums }
    }
}

/// What became of a unit.
#[derive(Default)]
pub(super) struct Made {
    pub(super) frames: Vec<Packed>,
    /// What is complete with it.
    pub(super) listed: Vec<Listed>,
    /// How far before the unit the member begins that ends in it.
    pub(super) back: u64,
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) notes: Notes,
}

impl Made {
    /// Notes a record.
    pub(super) fn listed(&mut self, record: Record) {
        self.listed.push(Listed::Record(record));
    }
}
