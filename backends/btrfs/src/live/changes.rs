//! What two subvolumes differ in, by which transaction last changed each inode.
//!
//! Snapshots share what was there before they forked, and everything that changes an inode notes
//! the transaction in its item. So what no transaction after the fork changed in either subvolume
//! is the same in both: a search of the trees' newer blocks finds the rest, at the cost of what
//! changed and not of what exists, without a snapshot, and also in subvolumes that are in use.

use super::Live;
use rustix::io::Errno;
use state_api::{Changes, Extent};
use state_linux::btrfs::{self, Inode, Searcher, SubvolumeInfo, TOP_INODE};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// Above this many changed inodes walking both trees is no slower.
const MANY: usize = 100_000;

/// How many generations of snapshots of snapshots are looked through for the common one.
const GENERATIONS: usize = 64;

impl Live {
    pub(super) fn find_changes(
        &self,
        old: &Path,
        new: &Path,
        most: usize,
    ) -> io::Result<Option<Changes>> {
        let (old, new) = (self.directory(old)?, self.directory(new)?);
        let [old, new] = [btrfs::subvolume_info(old)?, btrfs::subvolume_info(new)?];
        if old.id == new.id {
            return Ok(Some(Changes::none()));
        }
        if !(old.is_read_only && new.is_read_only) {
            // What was written shows in the trees from the next commit on.
            btrfs::commit(&self.top)?;
        }
        let Some(fork) = fork(&self.line(&old)?, &self.line(&new)?) else {
            return Ok(None);
        };
        let [mut old, mut new] = [Side::new(&self.top, old.id), Side::new(&self.top, new.id)];
        let mut changed = BTreeSet::new();
        for side in [&mut old, &mut new] {
            let found = btrfs::changed_inodes(&mut side.search, side.tree, fork, most.min(MANY));
            match found {
                Ok(found) => changed.extend(found),
                Err(error) if Errno::from_io_error(&error) == Some(Errno::TOOBIG) => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
        let mut changes = Changes::none();
        for inode in changed {
            let (was, is) = (old.inode(inode)?, new.inode(inode)?);
            if !is_only_read(was.as_ref(), is.as_ref(), fork) {
                let (was, is) = (old.found(inode, was)?, new.found(inode, is)?);
                look(&mut old, &mut new, (inode, was, is), &mut changes)?;
            }
        }
        Ok(Some(changes))
    }

    /// A subvolume and what it is a snapshot of, a snapshot of, and so on: each by its UUID and
    /// the transaction up to which the two were one.
    fn line(&self, first: &SubvolumeInfo) -> io::Result<Line> {
        let mut line = vec![(first.uuid, u64::MAX)];
        let mut child = first.clone();
        let mut common = u64::MAX;
        while child.parent_uuid != [0; 16] && line.len() < GENERATIONS {
            common = common.min(child.otransid);
            line.push((child.parent_uuid, common));
            match btrfs::subvolume_by_uuid(&self.top, child.parent_uuid)? {
                Some(parent) => child = parent,
                None => break, // deleted; its name is enough
            }
        }
        Ok(line)
    }
}

type Line = Vec<([u8; 16], u64)>;

/// The last transaction that the lines have in common; `None` if they have none.
fn fork(old: &Line, new: &Line) -> Option<u64> {
    let in_new = |uuid| new.iter().find(|(other, _)| *other == uuid);
    old.iter()
        .find_map(|(uuid, common)| Some((*common).min(in_new(*uuid)?.1)))
}

/// One of the two subvolumes.
struct Side<Fd> {
    tree: u64,
    search: Searcher<Fd>,
    top: Fd,
    /// The paths of directories that were asked for.
    known: BTreeMap<u64, Option<PathBuf>>,
}

impl<Fd: AsFd + Copy> Side<Fd> {
    fn new(top: Fd, tree: u64) -> Self {
        Self {
            tree,
            search: Searcher::new(top),
            top,
            known: BTreeMap::from([(TOP_INODE, Some(PathBuf::new()))]),
        }
    }

    fn inode(&mut self, number: u64) -> io::Result<Option<Inode>> {
        btrfs::inode(&mut self.search, self.tree, number)
    }

    /// An inode with its paths.
    fn found(&mut self, number: u64, inode: Option<Inode>) -> io::Result<Option<Found>> {
        let Some(inode) = inode else {
            return Ok(None);
        };
        let mut paths = BTreeSet::new();
        if number == TOP_INODE {
            paths.insert(PathBuf::new());
        }
        for (parent, name) in &inode.names {
            if let Some(parent) = self.directory(*parent)? {
                paths.insert(parent.join(name));
            }
        }
        Ok(Some(Found { inode, paths }))
    }

    /// The path of a directory; `None` if it was deleted in this moment, which is later than what
    /// is looked for.
    fn directory(&mut self, number: u64) -> io::Result<Option<PathBuf>> {
        if let Some(known) = self.known.get(&number) {
            return Ok(known.clone());
        }
        let path = match btrfs::directory_path(self.top, self.tree, number) {
            Ok((_, path)) => Some(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        self.known.insert(number, path.clone());
        Ok(path)
    }
}

struct Found {
    inode: Inode,
    paths: BTreeSet<PathBuf>,
}

impl Found {
    fn is_directory(&self) -> bool {
        self.inode.item.is_directory
    }
}

/// Whether an inode that was left alone in one of the two trees since they forked was only read in
/// the other: most directories of a machine that is in use, whose times of access move.
fn is_only_read(was: Option<&Inode>, is: Option<&Inode>, fork: u64) -> bool {
    match (was, is) {
        (Some(was), Some(is)) => {
            let (was, is) = (&was.item, &is.item);
            was.rest == is.rest && was.transid.min(is.transid) <= fork
        }
        _ => false,
    }
}

/// Names the places where an inode that changed is or was.
fn look<Fd: AsFd + Copy>(
    old: &mut Side<Fd>,
    new: &mut Side<Fd>,
    (number, was, is): (u64, Option<Found>, Option<Found>),
    changes: &mut Changes,
) -> io::Result<()> {
    let mut is_same_directory = false;
    if let (Some(was), Some(is)) = (&was, &is) {
        is_same_directory = was.is_directory()
            && is.is_directory()
            && was.inode.item.generation == is.inode.item.generation
            && was.paths == is.paths;
    }
    for found in [&was, &is].into_iter().flatten() {
        let extent = match found.is_directory() && !is_same_directory {
            true => Extent::Whole,
            false => Extent::Alone,
        };
        for path in &found.paths {
            changes.add(path.clone(), extent);
        }
    }
    if let (true, Some(found)) = (is_same_directory, is) {
        let was_in_it = btrfs::entries(&mut old.search, old.tree, number)?;
        let is_in_it = btrfs::entries(&mut new.search, new.tree, number)?;
        let names = was_in_it.keys().chain(is_in_it.keys());
        for name in names.filter(|name| was_in_it.get(*name) != is_in_it.get(*name)) {
            for path in &found.paths {
                changes.add(path.join(name), Extent::Whole);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fork_is_the_last_common_transaction_of_the_nearest_common_ancestor() {
        let line =
            |of: &[(u8, u64)]| -> Line { of.iter().map(|(id, at)| ([*id; 16], *at)).collect() };
        const SELF: u64 = u64::MAX;
        let blank = line(&[(1, SELF), (9, 5)]);
        for (other, expected) in [
            (line(&[(2, SELF), (1, 20), (9, 5)]), Some(20)), // root is a snapshot of blank
            (line(&[(3, SELF), (2, 30), (1, 20)]), Some(20)), // a snapshot of that root
            (line(&[(9, SELF)]), Some(5)),                   // blank is a snapshot of root
            (line(&[(4, SELF), (9, 3)]), Some(3)),           // a sibling
            (line(&[(5, SELF), (6, 9)]), None),
        ] {
            assert_eq!(fork(&blank, &other), expected);
            assert_eq!(fork(&other, &blank), expected);
        }
    }
}
