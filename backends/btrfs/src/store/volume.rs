//! Exchanging a store that is a subvolume.
//!
//! The staged and the replaced tree are subvolumes in `.state/stores/<store>`. Before the
//! exchange the staged one gets a name that says which subvolume is about to become the store;
//! whoever finds that name later sees by the id under it whether that has happened.

use super::BtrfsStore;
use crate::delete::demolish;
use crate::shown::Shown;
use crate::survey::{Found, Nested};
use crate::{Kernel, Node, Step};
use rustix::fs::{Mode, fchmod};
use rustix::io::Errno;
use state_api::{Error, Incoming, Outcome, Refusal, Result, SnapshotStore as _};
use state_linux::mount;
use state_linux::mountinfo::{self, Mount};
use state_linux::swap::waiting::{self, Waiting};
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

const STORES: &str = "stores";
const STAGED: &str = "staged";
const REPLACED: &str = "replaced";
/// `becoming-ID-from-NAME`: the subvolume ID, called NAME before, is about to become the store.
const BECOMING: &str = "becoming-";

/// The trees of a store that is a subvolume.
pub(super) struct Volume<'a>(pub(super) &'a mut BtrfsStore);

impl Waiting for Volume<'_> {
    fn has(&self, name: &str) -> Result<bool> {
        self.0.holds(name)
    }

    fn finish_exchange(&mut self) -> Result<Outcome> {
        Ok(match self.0.settle_volume()? {
            Some(_) => Outcome::Made,
            None => Outcome::AlreadySo,
        })
    }

    fn relabel(&mut self, from: &str, to: &str) -> Result<()> {
        let (from, to) = (self.0.spot(from), self.0.spot(to));
        // What was staged is on the disk before it has a name that counts.
        self.0.kernel.commit()?;
        self.0.kernel.rename(&from, &to)?;
        self.0.kernel.commit()
    }

    fn forget_replaced(&mut self) -> Result<Outcome> {
        self.0.discard_volume(REPLACED)
    }
}

/// An exchange that was begun.
struct Begun {
    at: PathBuf,
    /// What was to become the store, by the name that it had.
    from: &'static str,
    is_exchanged: bool,
}

impl BtrfsStore {
    fn spot(&self, name: &str) -> PathBuf {
        self.reserved(STORES).join(name)
    }

    fn begun(&self) -> Result<Option<Begun>> {
        let dir = self.reserved(STORES);
        if self.kernel.node(&dir)? != Node::Directory {
            return Ok(None);
        }
        for name in self.kernel.names(&dir)? {
            let parsed = name.to_str().and_then(|name| {
                let (id, from) = name.strip_prefix(BECOMING)?.split_once("-from-")?;
                let waiting = Incoming::ALL.map(|incoming| waiting::names(incoming)[1]);
                let from = [STAGED, REPLACED]
                    .into_iter()
                    .chain(waiting)
                    .find(|known| *known == from)?;
                Some((id.parse::<u64>().ok()?, from))
            });
            if let Some((id, from)) = parsed {
                let at = dir.join(&name);
                let is_exchanged = self.subvolume(&at)?.is_some_and(|found| found.id != id);
                return Ok(Some(Begun {
                    at,
                    from,
                    is_exchanged,
                }));
            }
        }
        Ok(None)
    }

    /// Whether there is a tree of that name, or one that had it before an exchange was begun.
    fn holds(&self, name: &str) -> Result<bool> {
        Ok(self.subvolume(&self.spot(name))?.is_some()
            || self
                .begun()?
                .is_some_and(|begun| begun.from == name && !begun.is_exchanged))
    }

    /// Whether something is staged, and replaced.
    pub(super) fn volume_has(&self) -> Result<(bool, bool)> {
        let is_exchanged = self.begun()?.is_some_and(|begun| begun.is_exchanged);
        Ok((self.holds(STAGED)?, is_exchanged || self.holds(REPLACED)?))
    }

    pub(super) fn volume_is_interrupted(&self) -> Result<bool> {
        Ok(self.begun()?.is_some())
    }

    pub(super) fn volume_waiting(&self) -> Result<Option<Incoming>> {
        for incoming in Incoming::ALL {
            if self.holds(waiting::names(incoming)[1])? {
                return Ok(Some(incoming));
            }
        }
        Ok(None)
    }

    /// Finishes an exchange that has happened, takes back one that has not. Says what became the
    /// store.
    fn settle_volume(&mut self) -> Result<Option<&'static str>> {
        let Some(begun) = self.begun()? else {
            return Ok(None);
        };
        let to = match begun.is_exchanged {
            true => REPLACED,
            false => begun.from,
        };
        // Before an exchange an older replaced tree was deleted; nothing has the name.
        self.kernel.rename(&begun.at, &self.spot(to))?;
        self.kernel.commit()?;
        Ok(begun.is_exchanged.then_some(begun.from))
    }

    pub(super) fn stage_volume(&mut self) -> Result<OwnedFd> {
        self.make_reserved(STORES)?;
        self.settle_volume()?;
        let staged = self.spot(STAGED);
        if self.subvolume(&staged)?.is_none() {
            self.kernel.create(&staged)?;
            let dir = self.kernel.open(&staged)?.dir;
            fchmod(&dir, Mode::RWXU).map_err(|errno| {
                Error::os(format!("setting the mode of {}", Shown(&staged)), errno)
            })?;
            self.kernel.commit()?;
            return Ok(dir);
        }
        Ok(self.kernel.open(&staged)?.dir)
    }

    pub(super) fn open_replaced_volume(&self) -> Result<Option<OwnedFd>> {
        let spot = self.spot(REPLACED);
        let found = self.subvolume(&spot)?;
        let open = |_| self.kernel.open(&spot).map(|view| view.dir);
        found.map(open).transpose()
    }

    pub(super) fn exchange_volume(&mut self) -> Result<Outcome> {
        self.demand_unused()?;
        if self.settle_volume()? == Some(STAGED) {
            return Ok(Outcome::Made);
        }
        self.become_store(STAGED)
    }

    pub(super) fn exchange_volume_back(&mut self) -> Result<Outcome> {
        self.demand_unused()?;
        if self.settle_volume()? == Some(REPLACED) {
            return Ok(Outcome::Made);
        }
        self.become_store(REPLACED)
    }

    pub(super) fn exchange_volume_waiting(&mut self) -> Result<Outcome> {
        self.demand_unused()?;
        let settled = self.settle_volume()?;
        if settled.and_then(waiting::by_name).is_some() {
            return Ok(Outcome::Made);
        }
        let name = Volume(self).demand_waiting()?;
        self.become_store(name)
    }

    fn become_store(&mut self, name: &'static str) -> Result<Outcome> {
        let spot = self.spot(name);
        let Some(incoming) = self.subvolume(&spot)? else {
            return Err(Error::Missing {
                what: format!("a {name} tree of {}", Shown(&self.path)),
            });
        };
        let mount = self.unmount()?;
        let done = self.exchange_now(name, &spot, incoming.id);
        let remounted = mount.map_or(Ok(()), |mount| self.mount_again(&mount));
        match (done, remounted) {
            (done, Ok(())) => done.map(|()| Outcome::Made),
            (Ok(()), Err(error)) => Err(error),
            (Err(cause), Err(recovery)) => Err(Error::Recovery {
                cause: Box::new(cause),
                recovery: Box::new(recovery),
            }),
        }
    }

    fn exchange_now(&mut self, name: &str, spot: &Path, id: u64) -> Result<()> {
        if name == STAGED {
            self.discard(REPLACED)?;
        }
        let store = self.place.subvolume.clone();
        let old = self.top()?;
        let becoming = self.spot(&format!("{BECOMING}{id}-from-{name}"));
        // What was staged is on the disk before anything relies on it.
        self.kernel.commit()?;
        self.kernel.rename(spot, &becoming)?;
        self.kernel.exchange(&store, &becoming)?;
        if self.kernel.filesystem()?.default_subvolume == old.id {
            self.kernel.set_default(id)?;
        }
        self.kernel.commit()?;
        self.kernel.rename(&becoming, &self.spot(REPLACED))?;
        self.kernel.commit()
    }

    pub(super) fn discard_volume(&mut self, name: &str) -> Result<Outcome> {
        self.settle_volume()?;
        self.discard(name)
    }

    fn discard(&mut self, name: &str) -> Result<Outcome> {
        let at = self.spot(name);
        let node = self.kernel.node(&at)?;
        let Node::Subvolume(top) = &node else {
            return Ok(Outcome::AlreadySo);
        };
        let mut nested = Vec::new();
        for child in self.kernel.children(top.id)? {
            let path = at.join(child.path);
            nested.push(Nested {
                id: child.id,
                is_read_only: self
                    .subvolume(&path)?
                    .is_some_and(|found| found.is_read_only),
                at: path,
            });
        }
        let below = Path::new("/").join(&at);
        let mounts = self.kernel.mounts()?;
        if let Some(mounted) = mounts
            .iter()
            .find(|mounted| mounted.root.starts_with(&below))
        {
            return Err(Refusal::InUse {
                what: Shown(&at).to_string(),
                by: format!("a mount at {}", Shown(&mounted.at)),
            }
            .into());
        }
        let found = Found {
            at: at.clone(),
            node,
            nested,
        };
        for step in demolish(&found, &at) {
            match step {
                Step::SetReadOnly { at, read_only } => {
                    if let Some(found) = self.subvolume(&at)? {
                        self.kernel.set_read_only(found.id, read_only)?;
                    }
                }
                Step::Delete { id: Some(id), .. } => self.kernel.delete(id)?,
                _ => {}
            }
        }
        self.kernel.commit()?;
        Ok(Outcome::Made)
    }

    /// Takes the store's own mount away, if it has one; what uses it keeps it in place.
    fn unmount(&self) -> Result<Option<Mount>> {
        let mounts =
            mountinfo::read().map_err(|source| Error::os("reading the list of mounts", source))?;
        let Some(mount) = mounts.into_iter().rfind(|mount| mount.at == self.path) else {
            return Ok(None);
        };
        match mount::unmount(&self.path) {
            Ok(()) => Ok(Some(mount)),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::BUSY) => {
                Err(Refusal::InUse {
                    what: Shown(&self.path).to_string(),
                    by: "something that keeps it mounted".into(),
                }
                .into())
            }
            Err(error) => Err(Error::os(
                format!("unmounting {}", Shown(&self.path)),
                error,
            )),
        }
    }

    /// Mounts what is the store now as it was mounted before. Options of the filesystem as a
    /// whole have stayed: our own mount of it was there all the time.
    fn mount_again(&self, before: &Mount) -> Result<()> {
        let name = Path::new("/").join(&self.place.subvolume);
        let options = [
            ("source", Some(before.source.as_os_str())),
            ("subvol", Some(name.as_os_str())),
        ];
        let read_only = [("ro", None::<&OsStr>)];
        let filesystem_is_read_only =
            mountinfo::split(&before.filesystem_options).any(|option| option == "ro");
        let options = match filesystem_is_read_only {
            true => [&options[..], &read_only[..]].concat(),
            false => options.to_vec(),
        };
        mount::detached("btrfs", &options, mount::attributes(&before.options))
            .and_then(|mounted| mount::attach(mounted, rustix::fs::CWD, &self.path))
            .map_err(|source| Error::os(format!("mounting {} again", Shown(&self.path)), source))
    }
}
