//! Carrying out a step: each one is performed, or found performed, or found to be about something
//! that is not there any more.

use crate::survey::origin;
use crate::{Kernel, Origin, Overlay, Step};
use state_api::{Apply, Error, Outcome, Result};
use std::path::Path;

impl<K: Kernel> Apply for Overlay<K> {
    type Step = Step;

    fn apply(&mut self, step: &Step) -> Result<Outcome> {
        let outcome = self.act(step)?;
        self.is_uncommitted = match step {
            Step::Commit => false,
            _ => self.is_uncommitted || outcome == Outcome::Made,
        };
        Ok(outcome)
    }
}

fn stale(at: &Path) -> Error {
    Error::Stale {
        what: at.display().to_string(),
    }
}

impl<K: Kernel> Overlay<K> {
    fn act(&mut self, step: &Step) -> Result<Outcome> {
        match step {
            Step::MakeDirectory { at } => self.kernel.make_directory(at),
            Step::MakeRoot { at, origin } => match self.origin_of(at)? {
                Some(made) if made == *origin => Ok(Outcome::AlreadySo),
                _ => {
                    self.kernel.make_root(at, origin)?;
                    Ok(Outcome::Made)
                }
            },
            Step::Rename { from, to, sequence } => {
                let is = |found: Option<Origin>| found.is_some_and(|o| o.sequence == *sequence);
                if is(self.origin_of(to)?) {
                    return Ok(Outcome::AlreadySo);
                }
                if !is(self.origin_of(from)?) {
                    return Err(stale(from));
                }
                self.kernel.rename(from, to)?;
                Ok(Outcome::Made)
            }
            Step::Exchange {
                name,
                with,
                outgoing,
            } => {
                let number = |found: Option<Origin>| found.map(|origin| origin.sequence);
                let here = number(self.origin_of(name)?);
                let there = number(self.origin_of(with)?);
                if there == Some(*outgoing) && here.is_some() {
                    return Ok(Outcome::AlreadySo);
                }
                if here != Some(*outgoing) || there.is_none() {
                    return Err(stale(name));
                }
                self.kernel.exchange(name, with)?;
                Ok(Outcome::Made)
            }
            Step::Remove { at } => self.kernel.remove(at),
            Step::Commit => {
                self.kernel.commit()?;
                Ok(match self.is_uncommitted {
                    true => Outcome::Made,
                    false => Outcome::AlreadySo,
                })
            }
        }
    }

    fn origin_of(&self, at: &Path) -> Result<Option<Origin>> {
        Ok(origin(&self.kernel.node(at)?).cloned())
    }
}
