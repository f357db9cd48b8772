//! The walk over all stores, cut into units.
//!
//! Where a unit ends depends on what `stat` says alone, so on the input and on nothing else.

use super::Input;
use super::kept::Keeping;
use super::large::Large;
use super::notes::Notes;
use super::pool::{Job, Pool};
use super::unit::{Item, Kept, Made, Piece, Task, Unit, Way};
use super::walk::{Stored, next};
use super::{Before, Since};
use crate::archive::frame::FRAME_BYTES;
use crate::archive::manifest::{Record, What};
use crate::archive::member::{BLOCK, padded};
use crate::archive::{MOST_SPARSE_BYTES, NAME_MAX, PATH_MAX, Result};
use state_linux::stat::{FileId, Kind};
use state_linux::tree::{Boundary, Entry};
use std::collections::HashMap;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};

/// How much of the tar is planned for one unit: attributes, of which the plan does not know, make
/// it somewhat more, and more than a frame makes two.
const UNIT_BYTES: u64 = FRAME_BYTES as u64 - (64 << 10);
/// Headers of a member: ustar, and a pax header with its block of records for the time.
const HEADERS: u64 = 3 * BLOCK as u64;
/// How many records a unit keeps before it ends: they take no room in the tar.
const UNIT_KEPT: usize = 4096;
/// The most that the entries of a unit keep open: their directories, and files opened beforehand.
const UNIT_DESCRIPTORS: usize = 256;

const TOO_MANY_HOLES: &str = "files with holes of more than 4 TiB in all";

/// What the walk found that is in no unit.
#[derive(Default)]
pub(super) struct Walked {
    pub(super) notes: Notes,
    /// Declared paths that the stores do not hold.
    pub(super) absent: Vec<PathBuf>,
    /// Paths of the stores that nobody declared.
    pub(super) orphans: Vec<PathBuf>,
}

/// The walk, and the unit that grows.
pub(super) struct Plan<'w, 'p> {
    pool: &'w Pool<'w>,
    stores: Vec<Stored<'p>>,
    items: Vec<Piece>,
    /// How many records of it are kept.
    kept: usize,
    bytes: u64,
    descriptors: usize,
    /// The directory of the last item.
    directory: Option<Vec<u8>>,
    /// The last entry: whether it is a directory, and its path.
    last: Option<(bool, Vec<u8>)>,
    /// The first path of every inode with several names.
    links: HashMap<(usize, FileId), Vec<u8>>,
    /// The sizes of the files with holes.
    sparse_bytes: u64,
    /// What is kept of the archive that this one builds on.
    keeping: Option<Keeping<'p>>,
    notes: Notes,
}

/// The workers' end and the writer's end.
struct Ends {
    order: SyncSender<Receiver<Result<Made>>>,
    work: Sender<Job>,
}

/// Nobody takes any more: the run was stopped.
struct Stopped;

impl<'w, 'p> Plan<'w, 'p> {
    pub(super) fn new(
        pool: &'w Pool<'w>,
        inputs: &[Input<'p>],
        since: Option<(&'p Before<'p>, &'p Since)>,
    ) -> Result<Self> {
        let only = since.map(|(_, since)| &since.changes);
        let keeping = since.map(|(before, since)| Keeping::new(before, since, inputs));
        Ok(Self {
            keeping: keeping.transpose()?,
            pool,
            stores: inputs
                .iter()
                .map(|input| Stored::new(input, only))
                .collect(),
            items: Vec::new(),
            kept: 0,
            bytes: 0,
            descriptors: 0,
            directory: None,
            last: None,
            links: HashMap::new(),
            sparse_bytes: 0,
            notes: Notes::default(),
        })
    }

    pub(super) fn run(
        mut self,
        order: SyncSender<Receiver<Result<Made>>>,
        work: Sender<Job>,
    ) -> Walked {
        let ends = Ends { order, work };
        // An error means that the run is over, and why is known where it was stopped.
        let done = self.walk(&ends).and_then(|()| self.cut(&ends));
        drop(ends);
        match done {
            Ok(()) => Walked {
                notes: self.notes,
                absent: self
                    .stores
                    .iter_mut()
                    .flat_map(|s| std::mem::take(&mut s.absent))
                    .collect(),
                orphans: self
                    .stores
                    .iter_mut()
                    .flat_map(|s| std::mem::take(&mut s.orphans))
                    .collect(),
            },
            Err(Stopped) => Walked::default(),
        }
    }

    fn walk(&mut self, ends: &Ends) -> Result<(), Stopped> {
        loop {
            let n = next(&mut self.stores, &mut self.notes);
            let coming = n.and_then(|n| Some((self.stores[n].next.as_ref()?.path.clone(), n)));
            self.keep_until(coming.as_ref(), ends)?;
            let Some(n) = n else { return Ok(()) };
            let entry = self.stores[n].next.take().expect("it was just looked at");
            let path = entry.path.as_os_str().as_bytes().to_vec();
            let is_directory = entry.stat.kind == Kind::Directory;
            match self.way(n, &entry, &path) {
                Some(way) => {
                    self.last = Some((is_directory, path.clone()));
                    if let (Some(keeping), true) = (&mut self.keeping, is_directory) {
                        keeping.enter(n, &path);
                    }
                    let item = Item {
                        store: n,
                        entry,
                        path,
                        way,
                    };
                    self.add(item, ends)?;
                }
                None => {
                    if let Some(keeping) = &mut self.keeping {
                        keeping.is_without(&path);
                    }
                    if is_directory {
                        self.stores[n].walk.prune();
                    }
                }
            }
        }
    }

    /// Keeps what comes before the next entry, or all that is left.
    fn keep_until(
        &mut self,
        coming: Option<&(PathBuf, usize)>,
        ends: &Ends,
    ) -> Result<(), Stopped> {
        let Some(mut keeping) = self.keeping.take() else {
            return Ok(());
        };
        while let Some(kept) = keeping.next(coming, &mut self.notes).transpose() {
            match kept {
                Ok(Kept::Record(record)) if !self.may_be_kept(&record) => {
                    keeping.lose(record, TOO_MANY_HOLES, &mut self.notes);
                }
                Ok(Kept::Record(record)) => {
                    self.last = Some((record.what == What::Directory, record.path.clone()));
                    self.keep(Kept::Record(record), 1, ends)?;
                }
                Ok(Kept::Stretch(stretch)) => {
                    // Nothing that comes has a path that is in it.
                    self.last = None;
                    let lines = stretch.lines();
                    self.keep(Kept::Stretch(stretch), lines, ends)?;
                }
                Err(error) => {
                    let (to, made) = mpsc::sync_channel(1);
                    // The writer learns of it in its turn, and stops everything.
                    to.send(Err(error)).map_err(|_| Stopped)?;
                    ends.order.send(made).map_err(|_| Stopped)?;
                    return Err(Stopped);
                }
            }
        }
        self.keeping = Some(keeping);
        Ok(())
    }

    fn may_be_kept(&mut self, record: &Record) -> bool {
        match record.what {
            What::File {
                size,
                is_sparse: true,
                ..
            } => self.may_be_sparse(size),
            _ => true,
        }
    }

    fn keep(&mut self, kept: Kept, lines: usize, ends: &Ends) -> Result<(), Stopped> {
        if self.kept >= UNIT_KEPT {
            self.cut(ends)?;
        }
        self.kept += lines;
        self.items.push(Piece::Kept(kept));
        Ok(())
    }

    /// How an entry gets into the archive; `None`: it does not, and it was noted why.
    fn way(&mut self, store: usize, entry: &Entry, path: &[u8]) -> Option<Way> {
        let is_directory = entry.stat.kind == Kind::Directory;
        let notes = &mut self.notes;
        let is_again = (self.last.as_ref()).is_some_and(|(_, last)| last == path);
        if is_again {
            let was_directory = self.last.as_ref().is_some_and(|(was, _)| *was);
            if !(was_directory && is_directory) {
                notes.missing(path, "another store has something else there");
                return None;
            }
        }
        if path.len() > PATH_MAX || entry.name().len() > NAME_MAX {
            notes.missing(path, "its path is longer than 4095 bytes");
            return None;
        }
        match entry.boundary {
            None => {}
            Some(Boundary::Volume) => notes.missing(path, "a nested volume that no snapshot has"),
            Some(Boundary::Mount) => {
                notes.missing(path, "something is mounted over it");
                if !is_directory {
                    return None;
                }
            }
        }
        match entry.stat.kind {
            Kind::Socket => {
                notes.left_out(path, "a socket");
                return None;
            }
            Kind::CharDevice | Kind::BlockDevice => {
                notes.left_out(path, "a device node");
                return None;
            }
            Kind::Directory if is_again => return Some(Way::Shared),
            Kind::Directory => return Some(Way::Member),
            Kind::File | Kind::Symlink | Kind::Fifo if entry.stat.links < 2 => {
                return Some(Way::Member);
            }
            Kind::File | Kind::Symlink | Kind::Fifo => {}
        }
        if let Some(first) = self.keeping.as_ref().and_then(|k| k.first_of(store, path)) {
            return Some(Way::Link(first));
        }
        let inode = (store, entry.stat.id);
        if let Some(first) = self.links.get(&inode) {
            return Some(Way::Link(first.clone()));
        }
        // Further names need the first: it must be known now that it can be had.
        let way = match entry.stat.kind {
            Kind::File => entry.open().map(Way::Opened),
            Kind::Symlink => entry
                .link_target()
                .map(|target| Way::Target(target.into_vec())),
            _ => Ok(Way::Member),
        };
        match way {
            Ok(way) => {
                self.links.insert(inode, path.to_vec());
                Some(way)
            }
            Err(error) => {
                self.notes.unreadable(error);
                None
            }
        }
    }

    /// Counts a file with holes, unless with it they are more than they may be together.
    fn may_be_sparse(&mut self, size: u64) -> bool {
        let all = self.sparse_bytes.saturating_add(size);
        let may = all <= MOST_SPARSE_BYTES;
        if may {
            self.sparse_bytes = all;
        }
        may
    }

    fn may_have_holes(&mut self, store: usize, entry: &Entry) -> bool {
        let may = self.may_be_sparse(entry.stat.size);
        if !may {
            let path = entry.path.as_os_str().as_bytes();
            self.notes.missing(path, TOO_MANY_HOLES);
            self.forget(store, entry.stat.id);
        }
        may
    }

    /// What is not archived is not the first of several names.
    fn forget(&mut self, store: usize, inode: FileId) {
        self.links.remove(&(store, inode));
    }

    fn add(&mut self, item: Item, ends: &Ends) -> Result<(), Stopped> {
        let is_shared = matches!(item.way, Way::Shared);
        let is_content = matches!(item.way, Way::Member | Way::Opened(_));
        let size = match item.entry.stat.kind {
            Kind::File if is_content => item.entry.stat.size,
            _ => 0,
        };
        if size > UNIT_BYTES {
            return self.large(item, ends);
        }
        // Whether it has holes or is compressed, only its worker finds out: it counts.
        let is_smaller = item.entry.stat.allocated_bytes < size;
        if is_smaller && !self.may_have_holes(item.store, &item.entry) {
            return Ok(());
        }
        let bytes = HEADERS + padded(size);
        let slash = item.path.iter().rposition(|b| *b == b'/');
        let parent = &item.path[..slash.unwrap_or(0)];
        let descriptors = usize::from(self.directory.as_deref() != Some(parent))
            + usize::from(matches!(item.way, Way::Opened(_)));
        let is_full =
            self.bytes + bytes > UNIT_BYTES || self.descriptors + descriptors > UNIT_DESCRIPTORS;
        // What shares a member stays beside it.
        if is_full && !is_shared {
            self.cut(ends)?;
        }
        if self.items.is_empty() {
            self.directory = None;
        }
        if self.directory.as_deref() != Some(parent) {
            self.descriptors += 1;
            self.directory = Some(parent.to_vec());
        }
        self.descriptors += usize::from(matches!(item.way, Way::Opened(_)));
        self.bytes += bytes;
        self.items.push(Piece::Entry(item));
        Ok(())
    }

    /// Ends the unit that grows.
    fn cut(&mut self, ends: &Ends) -> Result<(), Stopped> {
        let items = std::mem::take(&mut self.items);
        let descriptors = std::mem::take(&mut self.descriptors);
        self.bytes = 0;
        self.kept = 0;
        match items.is_empty() {
            true => Ok(()),
            false => self.send(Unit::Entries(items), descriptors, ends),
        }
    }

    fn large(&mut self, item: Item, ends: &Ends) -> Result<(), Stopped> {
        self.cut(ends)?;
        let (store, inode) = (item.store, item.entry.stat.id);
        let Some(large) = Large::begin(self.pool.machine, item, &mut self.notes) else {
            self.forget(store, inode);
            return Ok(());
        };
        if large.is_sparse() && !self.may_have_holes(store, large.entry()) {
            return Ok(());
        }
        let large = Arc::new(large);
        for part in 0..large.parts() {
            self.send(Unit::Part(Arc::clone(&large), part), 2, ends)?;
        }
        Ok(())
    }

    fn send(&self, unit: Unit, descriptors: usize, ends: &Ends) -> Result<(), Stopped> {
        let (to, made) = mpsc::sync_channel(1);
        let held = self.pool.hold(descriptors);
        ends.order.send(made).map_err(|_| Stopped)?;
        ends.work
            .send((Task { unit, held }, to))
            .map_err(|_| Stopped)
    }
}
