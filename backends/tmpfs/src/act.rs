//! Carrying out a step: each one is performed, or found performed, or found to be about something
//! that is not there any more.

use crate::{Kernel, Node, Step, Tmpfs};
use state_api::{Apply, Error, Outcome, Result};
use std::path::Path;

impl<K: Kernel> Apply for Tmpfs<K> {
    type Step = Step;

    fn apply(&mut self, step: &Step) -> Result<Outcome> {
        let is_there = |at: &Path| Ok::<_, Error>(self.kernel.node(at)? != Node::Missing);
        match step {
            Step::MakeDirectory { at } => self.kernel.make_directory(at),
            Step::Fill => {
                self.kernel.fill()?;
                Ok(Outcome::Made)
            }
            Step::CopyRoot { to } => {
                if is_there(to)? {
                    return Ok(Outcome::AlreadySo);
                }
                self.kernel.copy_root(to)?;
                Ok(Outcome::Made)
            }
            Step::Rename { from, to } => match (is_there(from)?, is_there(to)?) {
                (true, false) => {
                    self.kernel.rename(from, to)?;
                    Ok(Outcome::Made)
                }
                (false, true) => Ok(Outcome::AlreadySo),
                _ => Err(Error::Stale {
                    what: from.display().to_string(),
                }),
            },
            Step::Remove { at } => self.kernel.remove(at),
            Step::Commit => {
                self.kernel.commit()?;
                Ok(Outcome::Made)
            }
        }
    }
}
