//! The children of a filesystem's top and a staged tree inside it.

use super::act;
use super::remove::remove_tree;
use super::waiting::{self, Waiting};
use super::{REPLACED, RESERVED, STAGED};
use crate::metadata::Place;
use crate::stat::Stat;
use rustix::fs::{AtFlags, Mode, chmodat};
use state_api::{Error, Incoming, Outcome, Refusal, Result};
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// The top of a filesystem, whose children are exchanged with those of `.state/staged`; the old
/// ones stay in `.state/replaced`.
///
/// All children are moved to `.state/outgoing`, then the journal says so, then the incoming ones
/// are moved to the top. So at any moment the phase in the journal tells to which tree a name at
/// the top belongs, and going on means moving what has not been moved yet.
#[derive(Debug)]
pub struct Children {
    top: OwnedFd,
}

/// What stays at the top: ours, and fsck's (ext4 makes it and wants it there).
const STAYS: [&str; 2] = [RESERVED, "lost+found"];

const OUTGOING: &str = "outgoing";
const JOURNAL: &str = "journal";

impl Children {
    /// The children of `top`. Changes nothing.
    pub fn new(top: OwnedFd) -> Self {
        Self { top }
    }

    fn reserved(&self) -> Result<OwnedFd> {
        act::directory(&self.top, OsStr::new(RESERVED))
    }

    fn holds(&self, name: &str) -> Result<bool> {
        if act::look(&self.top, OsStr::new(RESERVED))?.is_none() {
            return Ok(false);
        }
        let reserved = act::open(&self.top, OsStr::new(RESERVED))?;
        Ok(act::look(reserved, OsStr::new(name))?.is_some())
    }

    /// Whether a staged tree waits.
    ///
    /// # Errors
    /// The top cannot be read.
    pub fn has_staged(&self) -> Result<bool> {
        self.holds(STAGED)
    }

    /// Whether a replaced tree is kept, or will be once an exchange that was begun is finished.
    ///
    /// # Errors
    /// The top cannot be read.
    pub fn has_replaced(&self) -> Result<bool> {
        Ok(self.holds(REPLACED)? || self.holds(JOURNAL)?)
    }

    /// Whether an exchange was interrupted.
    ///
    /// # Errors
    /// The top cannot be read.
    pub fn is_interrupted(&self) -> Result<bool> {
        self.holds(JOURNAL)
    }

    /// Makes the staging directory, or opens the one that is there.
    ///
    /// # Errors
    /// No space, or a read-only filesystem.
    pub fn stage(&self) -> Result<OwnedFd> {
        self.recover()?;
        act::directory(self.reserved()?, OsStr::new(STAGED))
    }

    /// Puts the staged tree in place; an older replaced tree is deleted first.
    ///
    /// # Errors
    /// Nothing is staged; [`Refusal::InUse`] if something is mounted on a child, before anything
    /// was changed; or an act failed, and the next call goes on where this one stopped.
    pub fn exchange(&self) -> Result<Outcome> {
        match self.finish()? {
            Some(STAGED) => Ok(Outcome::Made),
            _ => self.begin(STAGED),
        }
    }

    /// Puts the replaced tree back; what was there becomes the replaced tree.
    ///
    /// # Errors
    /// As [`Children::exchange`], with nothing replaced.
    pub fn exchange_back(&self) -> Result<Outcome> {
        match self.finish()? {
            Some(REPLACED) => Ok(Outcome::Made),
            _ => self.begin(REPLACED),
        }
    }

    /// Puts the tree in place that waits.
    ///
    /// # Errors
    /// As [`Children::exchange`], with none waiting.
    pub fn exchange_waiting(&self) -> Result<Outcome> {
        match self.finish()? {
            Some(name) if waiting::by_name(name).is_some() => Ok(Outcome::Made),
            _ => self.begin(self.demand_waiting()?),
        }
    }

    fn begin(&self, incoming: &'static str) -> Result<Outcome> {
        if !self.holds(incoming)? {
            return Err(Error::Missing {
                what: format!("a {incoming} tree"),
            });
        }
        for name in movable(&self.top)? {
            let name = OsStr::from_bytes(name.as_bytes());
            if act::look(&self.top, name)?.is_some_and(|stat| stat.is_mount_point) {
                return Err(Refusal::InUse {
                    what: "the store".into(),
                    by: format!("a mount on {}", name.display()),
                }
                .into());
            }
        }
        let reserved = self.reserved()?;
        act::settle_all(&reserved, OsStr::new(incoming))?;
        if incoming == STAGED {
            remove_tree(&reserved, OsStr::new(REPLACED))?;
        }
        let journal = Journal {
            incoming,
            phase: Phase::Out,
        };
        act::write(&reserved, OsStr::new(JOURNAL), &journal.text())?;
        self.recover()
    }

    /// Finishes an exchange that was interrupted; [`Outcome::AlreadySo`] if none was.
    ///
    /// # Errors
    /// The journal is not understood, or an act failed.
    pub fn recover(&self) -> Result<Outcome> {
        Ok(match self.finish()? {
            Some(_) => Outcome::Made,
            None => Outcome::AlreadySo,
        })
    }

    /// The same, and says which tree was coming in.
    fn finish(&self) -> Result<Option<&'static str>> {
        if !self.holds(JOURNAL)? {
            return Ok(None);
        }
        let reserved = act::open(&self.top, OsStr::new(RESERVED))?;
        let mut journal = Journal::read(&reserved)?;
        if journal.phase == Phase::Out {
            let outgoing = act::directory(&reserved, OsStr::new(OUTGOING))?;
            move_all(&self.top, &outgoing)?;
            dress(&outgoing, &stat(&self.top)?)?;
            act::settle(&outgoing, OsStr::new(OUTGOING))?;
            act::settle(&self.top, OsStr::new("the store"))?;
            journal.phase = Phase::In;
            act::write(&reserved, OsStr::new(JOURNAL), &journal.text())?;
        }
        if journal.phase == Phase::In {
            // Gone already if the cut came after it: then all of it has been moved.
            if act::look(&reserved, OsStr::new(journal.incoming))?.is_some() {
                let incoming = act::open(&reserved, OsStr::new(journal.incoming))?;
                move_all(&incoming, &self.top)?;
                dress(&self.top, &stat(&incoming)?)?;
                act::settle(&self.top, OsStr::new("the store"))?;
                let name = OsStr::new(journal.incoming);
                act::unlink(&reserved, name, AtFlags::REMOVEDIR)?;
            }
            journal.phase = Phase::Keep;
            act::write(&reserved, OsStr::new(JOURNAL), &journal.text())?;
        }
        let (outgoing, replaced) = (OsStr::new(OUTGOING), OsStr::new(REPLACED));
        if act::look(&reserved, outgoing)?.is_some() {
            act::rename(&reserved, outgoing, &reserved, replaced)?;
            act::settle(&reserved, replaced)?;
        }
        act::unlink(&reserved, OsStr::new(JOURNAL), AtFlags::empty())?;
        Ok(Some(journal.incoming))
    }

    /// Deletes the staged tree.
    ///
    /// # Errors
    /// Something in it cannot be deleted.
    pub fn discard_staged(&self) -> Result<Outcome> {
        self.discard(STAGED)
    }

    /// Deletes the replaced tree.
    ///
    /// # Errors
    /// Something in it cannot be deleted.
    pub fn discard_replaced(&self) -> Result<Outcome> {
        self.discard(REPLACED)
    }

    fn discard(&self, name: &str) -> Result<Outcome> {
        self.recover()?;
        if self.holds(name)? {
            remove_tree(self.reserved()?, OsStr::new(name))
        } else {
            Ok(Outcome::AlreadySo)
        }
    }
}

impl Waiting for Children {
    fn has(&self, name: &str) -> Result<bool> {
        self.holds(name)
    }

    fn finish_exchange(&mut self) -> Result<Outcome> {
        self.recover()
    }

    fn relabel(&mut self, from: &str, to: &str) -> Result<()> {
        let reserved = self.reserved()?;
        act::settle_all(&reserved, OsStr::new(from))?;
        act::rename(&reserved, OsStr::new(from), &reserved, OsStr::new(to))?;
        act::settle(&reserved, OsStr::new(to))
    }

    fn forget_replaced(&mut self) -> Result<Outcome> {
        self.discard_replaced()
    }
}

fn stat(dir: impl AsFd) -> Result<Stat> {
    Stat::of_open(dir).map_err(|e| Error::os("looking at a directory", e))
}

/// The children that are exchanged.
fn movable(dir: impl AsFd) -> Result<Vec<CString>> {
    // Listing moves an open directory's position: list through one of its own.
    let listed = act::open(dir, OsStr::new("."))?;
    let mut names = crate::tree::names(listed).map_err(|e| Error::os("listing a directory", e))?;
    names.retain(|name| {
        !STAYS
            .iter()
            .any(|stays| name.as_bytes() == stays.as_bytes())
    });
    Ok(names)
}

/// Moves every child; one that was moved before the power was cut is not there any more.
fn move_all(from: impl AsFd, to: impl AsFd) -> Result<()> {
    for name in movable(&from)? {
        let name = OsStr::from_bytes(name.as_bytes());
        act::rename(&from, name, &to, name)?;
    }
    Ok(())
}

/// Gives a directory the owner and mode of another.
fn dress(dir: impl AsFd, like: &Stat) -> Result<()> {
    let failed = |e: std::io::Error| Error::os("setting a directory's owner and mode", e);
    let place = Place {
        dir: &dir,
        name: c"",
    };
    place.set_owner(like.uid, like.gid).map_err(failed)?;
    let mode = Mode::from_raw_mode(like.mode & 0o7777);
    chmodat(&dir, c".", mode, AtFlags::empty()).map_err(|e| failed(e.into()))
}

/// Version 1: `children 1 INCOMING PHASE`.
#[derive(Debug, PartialEq, Eq)]
struct Journal {
    incoming: &'static str,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The top's children are being moved to `outgoing`.
    Out,
    /// The incoming ones are being moved to the top.
    In,
    /// `outgoing` becomes `replaced`.
    Keep,
}

impl Journal {
    const PHASES: [(Phase, &str); 3] = [
        (Phase::Out, "out"),
        (Phase::In, "in"),
        (Phase::Keep, "keep"),
    ];

    fn text(&self) -> String {
        let phases = Self::PHASES.iter();
        let (_, phase) = phases
            .into_iter()
            .find(|(phase, _)| *phase == self.phase)
            .expect("every phase has a word");
        format!("children 1 {} {phase}\n", self.incoming)
    }

    fn parse(text: &str) -> Option<Self> {
        let (incoming, phase) = text
            .strip_prefix("children 1 ")?
            .strip_suffix('\n')?
            .split_once(' ')?;
        let waiting = Incoming::ALL.map(|incoming| waiting::names(incoming)[1]);
        let incoming = [STAGED, REPLACED]
            .into_iter()
            .chain(waiting)
            .find(|name| *name == incoming)?;
        let (phase, _) = Self::PHASES.into_iter().find(|(_, word)| *word == phase)?;
        Some(Self { incoming, phase })
    }

    fn read(reserved: impl AsFd) -> Result<Self> {
        let text = act::read(reserved, OsStr::new(JOURNAL))?.unwrap_or_default();
        Self::parse(&text).ok_or_else(|| Error::Malformed {
            what: format!("{RESERVED}/{JOURNAL}"),
            why: "it is no journal of an exchange".into(),
        })
    }
}
