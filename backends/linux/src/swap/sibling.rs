//! A directory and its staged sibling.

use super::act;
use super::remove::remove_tree;
use super::waiting::{self, Waiting};
use super::{REPLACED, STAGED};
use crate::stat::Stat;
use rustix::fs::AtFlags;
use state_api::{Error, Incoming, Outcome, Result};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// A directory `NAME` that is exchanged with `.NAME.state-staged` beside it; the old tree stays as
/// `.NAME.state-replaced`.
///
/// The journal `.NAME.state-journal` holds the inode numbers of both directories while an
/// exchange is under way: right after the exchange the name that the new tree had (`.NAME.state-staged`,
/// or the one under which it waited) holds the *old* tree, and only the inode number tells the two
/// apart.
#[derive(Debug)]
pub struct Sibling {
    parent: OwnedFd,
    name: OsString,
}

impl Sibling {
    /// The directory `name` of `parent`. Changes nothing.
    pub fn new(parent: OwnedFd, name: impl Into<OsString>) -> Self {
        Self {
            parent,
            name: name.into(),
        }
    }

    fn beside(&self, what: &str) -> OsString {
        let mut name = OsString::from(".");
        name.push(&self.name);
        name.push(".state-");
        name.push(what);
        name
    }

    fn look(&self, name: &OsStr) -> Result<Option<Stat>> {
        act::look(&self.parent, name)
    }

    fn missing(&self, what: &str) -> Error {
        Error::Missing {
            what: format!("a {what} tree of {}", Path::new(&self.name).display()),
        }
    }

    /// Whether a staged tree waits. After a cut it may take [`Sibling::recover`] to tell.
    ///
    /// # Errors
    /// The parent directory cannot be read.
    pub fn has_staged(&self) -> Result<bool> {
        self.holds(STAGED)
    }

    /// Whether a tree has that name, and is not the old one after an exchange.
    fn holds(&self, name: &str) -> Result<bool> {
        let found = self.look(&self.beside(name))?;
        Ok(match (found, self.journal()?) {
            (Some(found), Some(journal)) => found.id.inode != journal.old,
            (found, _) => found.is_some(),
        })
    }

    /// Whether a replaced tree is kept, or will be once an exchange that was begun is finished.
    ///
    /// # Errors
    /// The parent directory cannot be read.
    pub fn has_replaced(&self) -> Result<bool> {
        Ok(self.look(&self.beside(REPLACED))?.is_some() || self.journal()?.is_some())
    }

    /// Whether an exchange was interrupted.
    ///
    /// # Errors
    /// The journal cannot be read, or is none.
    pub fn is_interrupted(&self) -> Result<bool> {
        Ok(self.journal()?.is_some())
    }

    /// Makes the staging directory, or opens the one that is there.
    ///
    /// # Errors
    /// No space, or a read-only filesystem.
    pub fn stage(&self) -> Result<OwnedFd> {
        self.recover()?;
        act::directory(&self.parent, &self.beside(STAGED))
    }

    /// Puts the staged tree in the directory's place; an older replaced tree is deleted first.
    ///
    /// # Errors
    /// Nothing is staged, or an act failed; the next call goes on where this one stopped.
    pub fn exchange(&self) -> Result<Outcome> {
        if self.recover()? == Outcome::Made {
            return Ok(Outcome::Made);
        }
        self.begin(STAGED)
    }

    /// Puts the tree in the directory's place that waits.
    ///
    /// # Errors
    /// As [`Sibling::exchange`], with none waiting.
    pub fn exchange_waiting(&self) -> Result<Outcome> {
        match (self.recover()?, self.waiting()?) {
            (Outcome::Made, None) => Ok(Outcome::Made),
            (_, Some(_)) => self.begin(self.demand_waiting()?),
            (Outcome::AlreadySo, None) => Err(self.missing("waiting")),
        }
    }

    fn begin(&self, from: &str) -> Result<Outcome> {
        let from_name = self.beside(from);
        let new = self.look(&from_name)?.ok_or_else(|| self.missing(from))?;
        act::settle_all(&self.parent, &from_name)?;
        let Some(old) = self.look(&self.name)? else {
            act::rename(&self.parent, &from_name, &self.parent, &self.name)?;
            act::settle(&self.parent, &self.name)?;
            return Ok(Outcome::Made);
        };
        if from == STAGED {
            remove_tree(&self.parent, &self.beside(REPLACED))?;
        }
        let journal = Journal {
            staged: new.id.inode,
            old: old.id.inode,
        };
        act::write(&self.parent, &self.beside("journal"), &journal.text())?;
        self.recover()
    }

    /// Puts the replaced tree back, in one act; what was there becomes the replaced tree.
    ///
    /// # Errors
    /// Nothing was replaced.
    pub fn exchange_back(&self) -> Result<Outcome> {
        self.recover()?;
        let replaced = self.beside(REPLACED);
        if self.look(&replaced)?.is_none() {
            return Err(self.missing(REPLACED));
        }
        act::exchange(&self.parent, &replaced, &self.name)?;
        Ok(Outcome::Made)
    }

    /// Finishes an exchange that was interrupted; [`Outcome::AlreadySo`] if none was.
    ///
    /// # Errors
    /// The directories are not those of the journal, or an act failed.
    pub fn recover(&self) -> Result<Outcome> {
        let Some(journal) = self.journal()? else {
            return Ok(Outcome::AlreadySo);
        };
        let replaced = self.beside(REPLACED);
        let inode = |name: &OsStr| Ok::<_, Error>(self.look(name)?.map(|stat| stat.id.inode));
        let waiting = Incoming::ALL.map(|incoming| self.beside(waiting::names(incoming)[1]));
        let names = [&self.beside(STAGED), &waiting[0], &waiting[1]];
        let named = |wanted: u64| {
            for name in names {
                if inode(name)? == Some(wanted) {
                    return Ok(Some(name));
                }
            }
            Ok::<_, Error>(None)
        };
        if inode(&self.name)? == Some(journal.old)
            && let Some(name) = named(journal.staged)?
        {
            act::exchange(&self.parent, name, &self.name)?;
        }
        if inode(&self.name)? != Some(journal.staged) {
            return Err(Error::Malformed {
                what: Path::new(&self.beside("journal")).display().to_string(),
                why: "it speaks of directories that are not here; look at them before removing it"
                    .into(),
            });
        }
        if let Some(name) = named(journal.old)? {
            act::rename(&self.parent, name, &self.parent, &replaced)?;
            act::settle(&self.parent, &replaced)?;
        }
        act::unlink(&self.parent, &self.beside("journal"), AtFlags::empty())?;
        Ok(Outcome::Made)
    }

    /// Deletes the staged tree.
    ///
    /// # Errors
    /// Something in it cannot be deleted.
    pub fn discard_staged(&self) -> Result<Outcome> {
        self.recover()?;
        remove_tree(&self.parent, &self.beside(STAGED))
    }

    /// Deletes the replaced tree.
    ///
    /// # Errors
    /// Something in it cannot be deleted.
    pub fn discard_replaced(&self) -> Result<Outcome> {
        self.recover()?;
        remove_tree(&self.parent, &self.beside(REPLACED))
    }

    /// Opens the replaced tree.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open_replaced(&self) -> Result<Option<OwnedFd>> {
        let name = self.beside(REPLACED);
        let found = self.look(&name)?;
        found.map(|_| act::open(&self.parent, &name)).transpose()
    }

    fn journal(&self) -> Result<Option<Journal>> {
        let name = self.beside("journal");
        let Some(text) = act::read(self.parent.as_fd(), &name)? else {
            return Ok(None);
        };
        Journal::parse(&text)
            .map(Some)
            .ok_or_else(|| Error::Malformed {
                what: Path::new(&name).display().to_string(),
                why: "it is no journal of an exchange".into(),
            })
    }
}

impl Waiting for Sibling {
    fn has(&self, name: &str) -> Result<bool> {
        self.holds(name)
    }

    fn finish_exchange(&mut self) -> Result<Outcome> {
        self.recover()
    }

    fn relabel(&mut self, from: &str, to: &str) -> Result<()> {
        let (from, to) = (self.beside(from), self.beside(to));
        act::settle_all(&self.parent, &from)?;
        act::rename(&self.parent, &from, &self.parent, &to)?;
        act::settle(&self.parent, &to)
    }

    fn forget_replaced(&mut self) -> Result<Outcome> {
        self.discard_replaced()
    }
}

/// Version 1: `exchange 1 STAGED OLD`, inode numbers of the two directories.
#[derive(Debug, PartialEq, Eq)]
struct Journal {
    staged: u64,
    old: u64,
}

impl Journal {
    fn text(&self) -> String {
        format!("exchange 1 {} {}\n", self.staged, self.old)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text
            .strip_prefix("exchange 1 ")?
            .strip_suffix('\n')?
            .split(' ');
        let journal = Self {
            staged: numbers.next()?.parse().ok()?,
            old: numbers.next()?.parse().ok()?,
        };
        numbers.next().is_none().then_some(journal)
    }
}
