//! Carrying out a step: each one is performed, or found performed, or found to be about something
//! that is not there any more.

use crate::shown::Shown;
use crate::{Btrfs, Kernel, Node, Step, Subvolume};
use rustix::io::Errno;
use state_api::{Apply, Error, Outcome, Refusal, Result};
use std::path::Path;

impl<K: Kernel> Apply for Btrfs<K> {
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

impl<K: Kernel> Btrfs<K> {
    fn act(&mut self, step: &Step) -> Result<Outcome> {
        match step {
            Step::MakeDirectory { at } => self.kernel.make_directory(at),
            Step::MakeDirectoryLike { at, like } => self.kernel.make_directory_like(at, like),
            Step::Snapshot {
                from,
                to,
                read_only,
            } => self.snapshot(from, to, *read_only),
            // By now the copy of a subvolume may stand there.
            Step::RemoveDirectory { at } => match self.kernel.node(at)? {
                Node::Subvolume(_) => Ok(Outcome::AlreadySo),
                _ => self.kernel.remove_directory(at),
            },
            Step::Rename { from, to, id } => self.rename(from, to, *id),
            Step::Exchange {
                name,
                with,
                outgoing,
            } => self.exchange(name, with, *outgoing),
            Step::SetDefault { at } => {
                let id = self.existing(at)?.id;
                self.kernel.set_default(id)
            }
            Step::SetReadOnly { at, read_only } => {
                let id = self.existing(at)?.id;
                self.kernel.set_read_only(id, *read_only)
            }
            Step::Delete { at, id } => self.delete(at, *id),
            Step::Commit => {
                self.kernel.commit()?;
                Ok(match self.is_uncommitted {
                    true => Outcome::Made,
                    false => Outcome::AlreadySo,
                })
            }
        }
    }

    fn id_at(&self, at: &Path) -> Result<Option<u64>> {
        Ok(match self.kernel.node(at)? {
            Node::Subvolume(found) => Some(found.id),
            _ => None,
        })
    }

    fn snapshot(&mut self, from: &Path, to: &Path, read_only: bool) -> Result<Outcome> {
        let Err(cause) = self.kernel.snapshot(from, to, read_only) else {
            return Ok(Outcome::Made);
        };
        match errno(&cause) {
            Some(Errno::EXIST) => {
                let (source, made) = (self.kernel.node(from)?, self.kernel.node(to)?);
                if let (Node::Subvolume(source), Node::Subvolume(made)) = (source, made)
                    && made.parent_uuid == source.uuid
                    && made.is_read_only == read_only
                    && made.ctransid <= made.otransid
                    && source.ctransid <= made.otransid
                {
                    return Ok(Outcome::AlreadySo);
                }
                Err(cause)
            }
            Some(Errno::TXTBSY) => Err(Refusal::InUse {
                what: Shown(from).to_string(),
                by: "a swapfile in it: `swapoff` it first".into(),
            }
            .into()),
            _ => Err(cause),
        }
    }

    fn rename(&mut self, from: &Path, to: &Path, id: Option<u64>) -> Result<Outcome> {
        let (here, there) = (self.id_at(from)?, self.id_at(to)?);
        let is_done = match id {
            Some(id) => there == Some(id),
            None => here.is_none() && there.is_some(),
        };
        if is_done {
            return Ok(Outcome::AlreadySo);
        }
        if here.is_none() || id.is_some() && here != id {
            return Err(Error::Stale {
                what: Shown(from).to_string(),
            });
        }
        self.kernel.rename(from, to)?;
        Ok(Outcome::Made)
    }

    fn exchange(&mut self, name: &Path, with: &Path, outgoing: u64) -> Result<Outcome> {
        let (here, there) = (self.id_at(name)?, self.id_at(with)?);
        match (here, there) {
            (Some(_), Some(there)) if there == outgoing => Ok(Outcome::AlreadySo),
            (Some(here), Some(_)) if here == outgoing => {
                self.kernel.exchange(name, with)?;
                Ok(Outcome::Made)
            }
            _ => Err(Error::Stale {
                what: Shown(name).to_string(),
            }),
        }
    }

    fn existing(&self, at: &Path) -> Result<Subvolume> {
        match self.kernel.node(at)? {
            Node::Subvolume(found) => Ok(found),
            _ => Err(Error::Stale {
                what: Shown(at).to_string(),
            }),
        }
    }

    fn delete(&mut self, at: &Path, expected: Option<u64>) -> Result<Outcome> {
        let Some(id) = self.id_at(at)? else {
            return Ok(Outcome::AlreadySo);
        };
        if expected.is_some_and(|expected| expected != id) {
            return Err(Error::Stale {
                what: Shown(at).to_string(),
            });
        }
        let Err(cause) = self.kernel.delete(id) else {
            return Ok(Outcome::Made);
        };
        if errno(&cause) != Some(Errno::PERM) {
            return Err(cause);
        }
        // The kernel has one errno for all of its reasons.
        let is_default = self.kernel.filesystem()?.default_subvolume == id;
        let by = match is_default {
            true => "mounts that name no subvolume: it is the default one",
            false => "an active swapfile in it or a running `btrfs send` of it",
        };
        Err(Refusal::InUse {
            what: Shown(at).to_string(),
            by: by.into(),
        }
        .into())
    }
}

/// The errno of a failed act.
fn errno(error: &Error) -> Option<Errno> {
    match error {
        Error::Os { source, .. } => Errno::from_io_error(source),
        _ => None,
    }
}
