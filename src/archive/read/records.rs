//! The records of an archive, in order.

use super::{Archive, Error, Result, Scope};
use crate::archive::MOST_SPARSE_BYTES;
use crate::archive::manifest::{Order, Record, What};
use std::fmt;

/// The records of a manifest, each checked against those before it.
pub struct Records<'a> {
    archive: Archive<'a>,
    scope: Scope,
    /// How many of the scope's blocks were read.
    block: usize,
    records: std::vec::IntoIter<Record>,
    pub(super) order: Order,
    seen: u64,
    /// The sizes of the files with holes.
    sparse_bytes: u64,
}

impl<'a> Records<'a> {
    pub(super) fn of(archive: Archive<'a>, scope: Scope) -> Self {
        Self {
            order: Order::new(archive.parts.head.stores.len()),
            archive,
            scope,
            block: 0,
            records: Vec::new().into_iter(),
            seen: 0,
            sparse_bytes: 0,
        }
    }
}

impl Iterator for Records<'_> {
    type Item = Result<(Record, bool)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(record) = self.records.next() {
                self.seen += 1;
                if let What::File {
                    size,
                    is_sparse: true,
                    ..
                } = record.what
                {
                    self.sparse_bytes = self.sparse_bytes.saturating_add(size);
                    if self.sparse_bytes > MOST_SPARSE_BYTES {
                        let why = "files with holes of more than 4 TiB in all";
                        return Some(Err(Error::member(&record.path, why)));
                    }
                }
                let checked = self.order.next(&record);
                return Some(match checked {
                    Ok(_) if record.archive > self.archive.position() => Err(Error::member(
                        &record.path,
                        "it is in no archive of its chain",
                    )),
                    Ok(has_member) => Ok((record, has_member)),
                    Err(bad) => Err(Error::member(&record.path, bad)),
                });
            }
            let Some(block) = self.scope.blocks().nth(self.block) else {
                if !self.scope.is_all() {
                    return None;
                }
                let all = self.archive.parts.index.totals.entries;
                let seen = std::mem::replace(&mut self.seen, all);
                let why = "its manifest has another number of entries than announced";
                return (seen != all).then(|| Err(self.archive.damaged(why)));
            };
            match self.archive.block_of(block, &self.scope) {
                Ok(records) => self.records = records.into_iter(),
                Err(error) => return Some(Err(error)),
            }
            self.block += 1;
        }
    }
}

impl fmt::Debug for Records<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records")
            .field("block", &self.block)
            .finish_non_exhaustive()
    }
}
