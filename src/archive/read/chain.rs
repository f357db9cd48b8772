//! An archive that builds on others: where the members are that it does not hold itself.

use super::stream::{Object, Piece, Reader};
use super::{Archive, Error, Label, Parts, Record, Result, Source};
use crate::archive::frame::SeekTable;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// An archive that another one builds on, opened when something of it is asked for.
pub(super) struct Ancestor<'s> {
    source: &'s dyn Source,
    label: &'s Label,
    opened: OnceLock<(Arc<SeekTable>, Arc<Parts>)>,
}

impl<'s> Archive<'s> {
    /// Says where the archives are that it builds on, the full one first. Nothing is read of
    /// them yet but what their labels say.
    ///
    /// # Errors
    /// They are not the ones that its manifest names.
    pub fn on(mut self, parents: Vec<(&'s dyn Source, &'s Label)>) -> Result<Self> {
        let named = &self.parts.head.parents;
        let is_named = |(wanted, (_, label)): (&super::Parent, &(_, &Label))| {
            wanted.id == label.id.as_str() && label.machine == self.label.machine
        };
        if named.len() != parents.len() || !named.iter().zip(&parents).all(is_named) {
            return Err(self.damaged("it builds on other archives than its label says"));
        }
        for (wanted, (source, label)) in named.iter().zip(&parents) {
            if label.index_sha256 != wanted.index_sha256 {
                let why = format!("another archive was put in the place of {}", label.id);
                return Err(self.damaged(format!("it cannot be read: {why}")));
            }
            super::check_length(*source, label)?;
        }
        let ancestor = |(source, label)| Ancestor {
            source,
            label,
            opened: OnceLock::new(),
        };
        self.ancestors = parents.into_iter().map(ancestor).collect();
        Ok(self)
    }

    /// Its place in its chain: 0 for a full archive.
    pub fn position(&self) -> usize {
        self.parts.head.position()
    }

    /// The archive at a place of its chain.
    ///
    /// # Errors
    /// Nobody said where it is, or it is damaged.
    pub fn at(&self, position: usize) -> Result<Self> {
        if position == self.position() {
            return Ok(self.clone());
        }
        let mut ancestors = self.ancestors.iter().take(self.position());
        let ancestor = ancestors.nth(position).ok_or_else(|| {
            let id = self
                .parts
                .head
                .parents
                .get(position)
                .map(|parent| &parent.id);
            let what = id.map_or("an archive of no chain".to_owned(), |id| {
                format!("the archive {id}, on which {} builds,", self.label.id)
            });
            Error::Missing { what }
        })?;
        let parts = match ancestor.opened.get() {
            Some(parts) => parts,
            None => {
                let archive = Archive::open(ancestor.source, ancestor.label)?;
                if self.parts.head.parents[..position] != archive.parts.head.parents {
                    let why = "it builds on other archives than those after it";
                    return Err(archive.damaged(why));
                }
                ancestor
                    .opened
                    .get_or_init(|| (archive.object.table, archive.parts))
            }
        };
        let (table, parts) = parts.clone();
        Ok(Archive {
            object: Object {
                source: ancestor.source,
                table,
            },
            label: ancestor.label,
            parts,
            ancestors: Arc::clone(&self.ancestors),
        })
    }

    /// A reader of members, wherever in the chain they are.
    pub fn members(&self) -> Members<'s> {
        Members {
            archive: self.clone(),
            open: Vec::new(),
        }
    }
}

/// Of how many archives of a chain something is kept by whoever reads members: a frame of each. Chains of
/// the default length stay whole but for the last few; how much memory it is does not depend on the length.
const MOST_OPEN: usize = 24;

/// Reads members of an archive and of those it builds on.
pub struct Members<'s> {
    archive: Archive<'s>,
    /// With their places in the chain, those of which something was read, the last one last.
    open: Vec<(usize, Archive<'s>, Reader<'s>)>,
}

impl<'s> Members<'s> {
    fn archive(&mut self, position: usize) -> Result<(&Archive<'s>, &mut Reader<'s>)> {
        match self.open.iter().position(|(at, ..)| *at == position) {
            Some(n) => self.open[n..].rotate_left(1),
            None => {
                let archive = self.archive.at(position)?;
                if self.open.len() >= MOST_OPEN {
                    self.open.remove(0);
                }
                let reader = archive.reader();
                self.open.push((position, archive, reader));
            }
        }
        let (_, archive, reader) = self.open.last_mut().expect("it was just put there");
        Ok((archive, reader))
    }

    /// Reads the member that `record` announces, as [`Reader::entry`] does.
    ///
    /// # Errors
    /// It is another member than announced, its content another, or `data` fails.
    pub fn entry(
        &mut self,
        record: &Record,
        data: &mut dyn FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let (archive, reader) = self.archive(record.archive)?;
        reader.seek(record.offset)?;
        // Owners' names are those of the day it was written.
        reader.entry(record, archive.machine(), data)
    }

    /// The same with all that the archive stores of it, as [`Reader::pieces`] does.
    ///
    /// # Errors
    /// Those of [`Members::entry`].
    pub fn pieces(
        &mut self,
        record: &Record,
        to: &mut dyn FnMut(Piece<'_>) -> Result<()>,
    ) -> Result<()> {
        let (archive, reader) = self.archive(record.archive)?;
        reader.seek(record.offset)?;
        reader.pieces(record, archive.machine(), to)
    }
}

impl fmt::Debug for Members<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Members")
            .field("archive", &self.archive)
            .finish_non_exhaustive()
    }
}
