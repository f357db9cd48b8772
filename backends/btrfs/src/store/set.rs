//! Snapshots of a store: one read-only snapshot for the subvolume that holds it and one for each
//! subvolume inside.
//!
//! `.state/snapshots/<store>/NAME` is a directory: `top` in it is the snapshot of the subvolume
//! that holds the store, and `1`, `2`, … hold those of the subvolumes that lie so many subvolumes
//! deep in it, at their paths. What is not whole has a name that begins with a dot, which no
//! snapshot has: a set gets its name when it is complete and loses it before it is deleted.

use super::{BtrfsStore, identity, join};
use crate::changes::Tree;
use crate::shown::Shown;
use crate::{Kernel, Node, Subvolume};
use rustix::io::Errno;
use state_api::{Error, Graft, Outcome, Refusal, Result, Snapshot, SnapshotName, View};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

const SNAPSHOTS: &str = "snapshots";
const TOP: &str = "top";
/// A set that is being made.
const UNFINISHED: &str = ".unfinished";
/// What goes in front of the name of a set that is being deleted.
const DELETED: &str = ".deleted-";

/// The nested subvolumes of a set: where each is, and its path from the top of the subvolume.
type Members = Vec<(PathBuf, PathBuf)>;

impl BtrfsStore {
    fn sets(&self) -> PathBuf {
        self.reserved(SNAPSHOTS)
    }

    pub(super) fn list_sets(&self) -> Result<Vec<Snapshot>> {
        let sets = self.sets();
        let mut found = Vec::new();
        if self.kernel.node(&sets)? == Node::Directory {
            for name in self.kernel.names(&sets)? {
                let name = name.to_str().and_then(|name| name.parse().ok());
                if let Some(name) = name
                    && let Some(snapshot) = self.describe(&name)?
                {
                    found.push(snapshot);
                }
            }
        }
        found.sort_by_key(|snapshot| snapshot.sequence);
        Ok(found)
    }

    fn describe(&self, name: &SnapshotName) -> Result<Option<Snapshot>> {
        let set = self.sets().join(name.as_str());
        let Some(top) = self.subvolume(&set.join(TOP))? else {
            return Ok(None);
        };
        let made = |top: &Subvolume| chrono::DateTime::from_timestamp(top.otime_seconds, 0);
        let mut states = vec![(top.parent_uuid, top.ctransid)];
        for (at, _) in self.members(&set)? {
            if let Some(found) = self.subvolume(&at)? {
                states.push((found.parent_uuid, found.ctransid));
            }
        }
        Ok(Some(Snapshot {
            name: name.clone(),
            taken_at: name.taken_at().or_else(|| made(&top)),
            sequence: top.id,
            identity: (!self.is_top_level()).then(|| identity(&states)),
        }))
    }

    /// The nested subvolumes of a set, by their paths.
    fn members(&self, set: &Path) -> Result<Members> {
        let mut members = Vec::new();
        for depth in 1.. {
            let top = set.join(depth.to_string());
            if self.kernel.node(&top)? != Node::Directory {
                break;
            }
            let mut dirs = vec![top.clone()];
            while let Some(dir) = dirs.pop() {
                for name in self.kernel.names(&dir)? {
                    let at = dir.join(name);
                    match self.kernel.node(&at)? {
                        Node::Directory => dirs.push(at),
                        Node::Subvolume(_) => {
                            let path = at.strip_prefix(&top).unwrap_or(&at).to_owned();
                            members.push((at, path));
                        }
                        Node::Missing | Node::Other => {}
                    }
                }
            }
        }
        members.sort_by(|a, b| a.1.cmp(&b.1));
        Ok(members)
    }

    /// Takes a snapshot; the caller commits.
    pub(super) fn create_set(&mut self, name: &SnapshotName) -> Result<Snapshot> {
        let sets = self.make_reserved(SNAPSHOTS)?;
        self.clear_unfinished()?;
        let set = sets.join(name.as_str());
        if self.kernel.node(&set)? != Node::Missing {
            return Err(Error::os(
                format!("taking the snapshot {name}"),
                Errno::EXIST,
            ));
        }
        let unfinished = sets.join(UNFINISHED);
        let made = self.fill(&unfinished, &set);
        if let Err(cause) = made {
            // Nothing that is not whole is left where room may be short.
            let cleared = self.clear_unfinished();
            return Err(match cleared.and_then(|()| self.kernel.commit()) {
                Ok(()) => cause,
                Err(recovery) => Error::Recovery {
                    cause: Box::new(cause),
                    recovery: Box::new(recovery),
                },
            });
        }
        self.describe(name)?.ok_or_else(|| Error::Missing {
            what: format!("snapshot {name}"),
        })
    }

    fn fill(&mut self, unfinished: &Path, set: &Path) -> Result<()> {
        self.kernel.make_directory(unfinished)?;
        let subvolume = self.place.subvolume.clone();
        self.freeze(&subvolume, &unfinished.join(TOP))?;
        for (path, depth) in self.nested()? {
            let inside = join(&self.place.inside, &path);
            let depth = unfinished.join(depth.to_string());
            self.kernel.make_directory(&depth)?;
            let mut dirs: Vec<&Path> = inside.ancestors().skip(1).collect();
            dirs.pop(); // the empty path
            for dir in dirs.into_iter().rev() {
                self.kernel.make_directory(&depth.join(dir))?;
            }
            self.freeze(&join(&subvolume, &inside), &depth.join(&inside))?;
        }
        // A crash takes back the last acts first: without a commit in between, too, nothing has
        // this name that is not whole.
        self.kernel.rename(unfinished, set)
    }

    fn freeze(&mut self, from: &Path, to: &Path) -> Result<()> {
        match self.kernel.snapshot(from, to, true) {
            Err(Error::Os { source, .. })
                if Errno::from_io_error(&source) == Some(Errno::TXTBSY) =>
            {
                Err(Refusal::InUse {
                    what: Shown(from).to_string(),
                    by: "a swapfile in it: keep that in a subvolume outside the store".into(),
                }
                .into())
            }
            other => other,
        }
    }

    /// Deletes a snapshot; the caller commits.
    pub(super) fn delete_set(&mut self, name: &SnapshotName) -> Result<Outcome> {
        let set = self.sets().join(name.as_str());
        let exists = self.kernel.node(&set)? == Node::Directory;
        if exists {
            let mut hidden = std::ffi::OsString::from(DELETED);
            hidden.push(name.as_str());
            let hidden = self.sets().join(hidden);
            self.remove(&hidden)?; // of the same name, from an interrupted run
            self.kernel.rename(&set, &hidden)?;
        }
        self.clear_unfinished()?;
        Ok(match exists {
            true => Outcome::Made,
            false => Outcome::AlreadySo,
        })
    }

    /// Deletes what interrupted runs left: sets that are not whole.
    fn clear_unfinished(&mut self) -> Result<()> {
        let sets = self.sets();
        if self.kernel.node(&sets)? != Node::Directory {
            return Ok(());
        }
        let is_hidden = |name: &OsStr| name.as_encoded_bytes().starts_with(b".");
        let names = self.kernel.names(&sets)?;
        let mut hidden = names.iter().filter(|name| is_hidden(name));
        hidden.try_for_each(|name| self.remove(&sets.join(name)))
    }

    /// Deletes a set with all that is in it.
    fn remove(&mut self, at: &Path) -> Result<()> {
        match self.kernel.node(at)? {
            Node::Subvolume(found) => self.kernel.delete(found.id),
            Node::Directory => {
                for name in self.kernel.names(at)? {
                    self.remove(&at.join(name))?;
                }
                self.kernel.remove_directory(at).map(drop)
            }
            Node::Missing | Node::Other => Ok(()),
        }
    }

    /// Where a set is, if there is one.
    fn set(&self, name: &SnapshotName) -> Result<PathBuf> {
        let set = self.sets().join(name.as_str());
        match self.subvolume(&set.join(TOP))? {
            Some(_) => Ok(set),
            None => Err(Error::Missing {
                what: format!("snapshot {name}"),
            }),
        }
    }

    /// The snapshots of a set as one tree.
    pub(super) fn set_tree(&self, name: &SnapshotName) -> Result<Tree> {
        let set = self.set(name)?;
        let members = self.members(&set)?.into_iter();
        Ok(Tree {
            top: set.join(TOP),
            nested: members.map(|(at, path)| (path, at)).collect(),
        })
    }

    pub(super) fn open_set(&self, name: &SnapshotName) -> Result<View> {
        let set = self.set(name)?;
        let top = set.join(TOP);
        let mut view = self.kernel.open(&join(&top, &self.place.inside))?;
        for (at, path) in self.members(&set)? {
            if let Ok(path) = path.strip_prefix(&self.place.inside) {
                view.grafts.push(Graft {
                    at: path.to_owned(),
                    dir: self.kernel.open(&at)?.dir,
                });
            }
        }
        Ok(view)
    }
}
