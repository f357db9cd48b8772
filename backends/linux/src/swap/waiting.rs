//! Trees that wait for the next boot to be exchanged.
//!
//! Such a tree has another name than one that is staged or replaced: whether it waits is decided
//! by one rename, and whoever stages, discards or exchanges does not come upon it.

use state_api::{Error, Incoming, Outcome, Refusal, Result};

/// What a tree is called, and what it is called while it waits.
pub const fn names(incoming: Incoming) -> [&'static str; 2] {
    match incoming {
        Incoming::Staged => [super::STAGED, "waiting"],
        Incoming::Replaced => [super::REPLACED, "returning"],
    }
}

/// Which tree has that name while it waits.
pub fn by_name(name: &str) -> Option<Incoming> {
    (Incoming::ALL.into_iter()).find(|incoming| names(*incoming)[1] == name)
}

/// Where the trees of a store are kept.
pub trait Waiting {
    /// Whether a tree has that name.
    ///
    /// # Errors
    /// It cannot be looked at.
    fn has(&self, name: &str) -> Result<bool>;

    /// Finishes an interrupted exchange.
    ///
    /// # Errors
    /// An act failed.
    fn finish_exchange(&mut self) -> Result<Outcome>;

    /// Gives a tree that is on the disk another name, which nothing has; durably.
    ///
    /// # Errors
    /// The act failed.
    fn relabel(&mut self, from: &str, to: &str) -> Result<()>;

    /// Deletes the replaced tree.
    ///
    /// # Errors
    /// Something in it cannot be deleted.
    fn forget_replaced(&mut self) -> Result<Outcome>;

    /// Which tree waits.
    ///
    /// # Errors
    /// It cannot be looked at.
    fn waiting(&self) -> Result<Option<Incoming>> {
        for incoming in Incoming::ALL {
            if self.has(names(incoming)[1])? {
                return Ok(Some(incoming));
            }
        }
        Ok(None)
    }

    /// As [`state_api::SnapshotStore::postpone`].
    ///
    /// # Errors
    /// There is no such tree, or another waits already.
    fn postpone(&mut self, incoming: Incoming) -> Result<Outcome> {
        self.finish_exchange()?;
        let [name, waiting] = names(incoming);
        match self.waiting()? {
            Some(already) if already == incoming => return Ok(Outcome::AlreadySo),
            Some(_) => {
                return Err(Refusal::Unsafe {
                    fact: "another tree of the store waits for the next boot".into(),
                    cure: "`state undo` calls that off".into(),
                }
                .into());
            }
            None => {}
        }
        if !self.has(name)? {
            return Err(Error::Missing {
                what: format!("a {name} tree"),
            });
        }
        if incoming == Incoming::Staged {
            self.forget_replaced()?;
        }
        self.relabel(name, waiting)?;
        Ok(Outcome::Made)
    }

    /// As [`state_api::SnapshotStore::restage`].
    ///
    /// # Errors
    /// There is no replaced tree, or something else is staged.
    fn restage(&mut self) -> Result<Outcome> {
        self.finish_exchange()?;
        if !self.has(super::REPLACED)? {
            return Err(Error::Missing {
                what: format!("a {} tree", super::REPLACED),
            });
        }
        self.relabel(super::REPLACED, super::STAGED)?;
        Ok(Outcome::Made)
    }

    /// As [`state_api::SnapshotStore::call_off`].
    ///
    /// # Errors
    /// The act failed.
    fn call_off(&mut self) -> Result<Outcome> {
        self.finish_exchange()?;
        let Some(incoming) = self.waiting()? else {
            return Ok(Outcome::AlreadySo);
        };
        let [name, waiting] = names(incoming);
        self.relabel(waiting, name)?;
        Ok(Outcome::Made)
    }

    /// The name under which a tree waits.
    ///
    /// # Errors
    /// None waits, or it would take a name that is taken.
    fn demand_waiting(&self) -> Result<&'static str> {
        let Some(incoming) = self.waiting()? else {
            return Err(Error::Missing {
                what: "a tree that waits for the next boot".into(),
            });
        };
        // Before a staged tree waited, an older replaced one was discarded: this one is wanted.
        if self.has(super::REPLACED)? {
            return Err(Error::Malformed {
                what: "the store".into(),
                why: "two trees of it were replaced; look at them before one is removed".into(),
            });
        }
        Ok(names(incoming)[1])
    }
}
