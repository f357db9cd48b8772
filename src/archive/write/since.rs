//! What changed since the archive that the next one builds on.
//!
//! The tree is compared with what `stat` said when each record was made, never with a clock: a
//! path is kept if its inode, times, owner, mode and size are what they were (of the tops of volumes, whose number
//! may be another in each snapshot, all but the inode).

use super::Input;
use super::entry::time;
use super::leads;
use super::notes::Notes;
use super::walk::{Stored, next};
use crate::archive::base::Base;
use crate::archive::manifest::{Parent, Record, What};
use crate::archive::older::{Older, Spots};
use crate::archive::select::Choice;
use crate::archive::{NAME_MAX, PATH_MAX, Result};
use state_api::{Changes, Extent, Interrupt};
use state_linux::stat::{FileId, Kind};
use state_linux::tree::Entry;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The archive that the next one builds on.
pub struct Before<'a> {
    /// The archives that the next one builds on, this one last.
    pub parents: Vec<Parent>,
    /// When it was begun, in seconds since 1970. What changed after that second, or in the one
    /// before it, may have changed again unseen: kernels' clocks tick.
    pub begun: i64,
    /// Its records from the first on.
    pub older: &'a (dyn Fn() -> Result<Older<'a>> + Sync),
}

impl fmt::Debug for Before<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Before")
            .field("parents", &self.parents)
            .finish_non_exhaustive()
    }
}

/// What changed since then.
#[derive(Debug, Clone, Default)]
pub struct Since {
    /// The paths that have to be archived or are gone, each alone, of whichever store.
    pub(super) changes: Changes,
    /// `.state/deleted`.
    pub(super) deleted: Vec<u8>,
    /// Further names of what is kept: the first name by the further one.
    pub(super) links: BTreeMap<(usize, Vec<u8>), Vec<u8>>,
    /// Declared paths that the stores do not hold.
    pub(super) absent: Vec<PathBuf>,
    /// Paths of the stores that nobody declared.
    pub(super) orphans: Vec<PathBuf>,
    has_changed: bool,
    bytes: u64,
}

impl Since {
    /// Compares the stores with what the last archive has of them. `places` says of each store
    /// where it may differ from what that was made of; without it everything is looked at.
    ///
    /// # Errors
    /// The older manifest cannot be read, or the run was interrupted. What of a store cannot be
    /// read is a change.
    pub fn look(
        inputs: &[Input<'_>],
        before: &Before<'_>,
        places: Option<&[Changes]>,
        interrupt: &dyn Interrupt,
    ) -> Result<Self> {
        if let Some(places) = places
            && let Some(mut since) = Self::look_at(inputs, before, places, interrupt)?
        {
            leads::look(inputs, &mut since);
            return Ok(since);
        }
        let is_gone = |_: &Record| true;
        let mut look = Look::new((before.older)()?, None, before.begun, &is_gone);
        look.run(inputs, None, interrupt)?;
        Ok(look.since)
    }

    /// Looks at these places only. `None`: an inode has names elsewhere, too.
    fn look_at(
        inputs: &[Input<'_>],
        before: &Before<'_>,
        places: &[Changes],
        interrupt: &dyn Interrupt,
    ) -> Result<Option<Self>> {
        let unseen = RefCell::new(Unseen::default());
        let is_gone = |record: &Record| {
            let path = Path::new(OsStr::from_bytes(&record.path));
            let is_gone = match (places.get(record.store), inputs.get(record.store)) {
                (Some(places), Some(input)) => {
                    let choice = input.selection.choose(path);
                    let is_wanted = matches!(choice, Choice::Take | Choice::Lead);
                    !is_wanted || places.covers(path).is_some()
                }
                _ => true,
            };
            unseen.borrow_mut().note(record, is_gone);
            is_gone
        };
        // What is elsewhere is the same, and is wanted: the selection is that of the archive before.
        let spots = Some(Spots::of(places));
        let mut look = Look::new((before.older)()?, spots, before.begun, &is_gone);
        look.replaced = Some(&unseen);
        look.run(inputs, Some(places), interrupt)?;
        let is_whole = look.seen.values().all(|(seen, links)| seen >= links);
        let since = look.since;
        Ok((is_whole && unseen.borrow().is_consistent()).then_some(since))
    }

    /// Whether anything is another than it was.
    pub fn has_changed(&self) -> bool {
        self.has_changed
    }

    /// How much data the files have that are to be archived, as far as `stat` can tell.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

struct Look<'l> {
    base: Base<'l>,
    begun: i64,
    /// The first path of every inode with several names, and whether it is kept.
    firsts: HashMap<(usize, FileId), (Vec<u8>, bool)>,
    /// How many names of an inode with several were come to, and how many it has.
    seen: HashMap<(usize, FileId), (u32, u32)>,
    /// The path at work, and the stores that have something there.
    here: (Vec<u8>, Vec<usize>),
    /// Where records are noted that something else has taken the place of.
    replaced: Option<&'l RefCell<Unseen>>,
    since: Since,
}

/// What the older manifest says of inodes with several names, of names that the walk did not come
/// to: whether some are gone, and whether some are kept.
///
/// A directory that is renamed does not touch what is in it: names of one inode inside and outside
/// of it cannot be known from the places alone.
#[derive(Default)]
struct Unseen(HashMap<(usize, u64), (bool, bool)>);

impl Unseen {
    fn note(&mut self, record: &Record, is_gone: bool) {
        if record.has_links {
            let (gone, kept) = self.0.entry((record.store, record.inode)).or_default();
            *(if is_gone { gone } else { kept }) = true;
        }
    }

    fn is_consistent(&self) -> bool {
        self.0.values().all(|names| *names != (true, true))
    }
}

impl<'l> Look<'l> {
    fn new(
        older: Older<'l>,
        spots: Option<Spots>,
        begun: i64,
        is_gone: &'l dyn Fn(&Record) -> bool,
    ) -> Self {
        Self {
            base: Base::new(older, spots, is_gone),
            begun,
            firsts: HashMap::new(),
            seen: HashMap::new(),
            here: (Vec::new(), Vec::new()),
            replaced: None,
            since: Since::default(),
        }
    }

    fn run(
        &mut self,
        inputs: &[Input<'_>],
        places: Option<&[Changes]>,
        interrupt: &dyn Interrupt,
    ) -> Result<()> {
        let mut stores: Vec<_> = (inputs.iter().enumerate())
            .map(|(n, input)| Stored::new(input, places.map(|places| &places[n])))
            .collect();
        // Whatever is noted here is a change, and is noted again when it is archived.
        let mut notes = Notes::default();
        while let Some(n) = next(&mut stores, &mut notes) {
            if interrupt.is_set() {
                return Err(state_api::Error::Interrupted.into());
            }
            let entry = stores[n].next.take().expect("it was just looked at");
            let is_directory = entry.stat.kind == Kind::Directory;
            if !self.entry(n, &entry)? && is_directory {
                stores[n].walk.prune();
            }
        }
        self.leave();
        self.base.end()?;
        self.gone();
        // What went away while it was looked at is gone, as what went away before.
        for missing in &notes.missing {
            let path = missing.path.0.strip_prefix(b"./").unwrap_or_default();
            self.change(path);
        }
        for stored in &mut stores {
            self.since.absent.extend(std::mem::take(&mut stored.absent));
            self.since.orphans.append(&mut stored.orphans);
        }
        Ok(())
    }

    /// Looks at one entry; says whether it can be in an archive.
    fn entry(&mut self, store: usize, entry: &Entry) -> Result<bool> {
        let path = entry.path.as_os_str().as_bytes();
        let is_directory = entry.stat.kind == Kind::Directory;
        match entry.stat.kind {
            Kind::Socket | Kind::CharDevice | Kind::BlockDevice => {
                self.visit(path);
                return Ok(false);
            }
            _ if path.len() > PATH_MAX || entry.name().len() > NAME_MAX => {
                self.change(path);
                return Ok(false);
            }
            _ => {}
        }
        if self.here.0 != path || self.here.1.is_empty() {
            self.leave();
            self.here = (path.to_vec(), Vec::new());
        }
        self.here.1.push(store);
        self.base.go(path, is_directory)?;
        self.gone();
        let record = self.base.here(store);
        if let (Some(replaced), Some(record)) = (self.replaced, record)
            && record.inode != entry.stat.id.inode
        {
            replaced.borrow_mut().note(record, true);
        }
        let is_kept = entry.boundary.is_none()
            && record.is_some_and(|record| {
                self.is_same(entry, record) && self.fits(store, entry, record)
            });
        if entry.stat.links > 1 && !is_directory {
            let inode = (store, entry.stat.id);
            self.seen.entry(inode).or_insert((0, entry.stat.links)).0 += 1;
            match self.firsts.get(&inode) {
                None => {
                    self.firsts.insert(inode, (path.to_vec(), is_kept));
                }
                Some((first, true)) if !is_kept => {
                    let further = (store, path.to_vec());
                    self.since.links.insert(further, first.clone());
                }
                Some(_) => {}
            }
        }
        if !is_kept {
            self.change(path);
            if entry.stat.kind == Kind::File {
                self.since.bytes += entry.stat.data_bytes();
            }
        }
        Ok(true)
    }

    /// Whether the inode is the one that was archived, and as it was.
    fn is_same(&self, entry: &Entry, record: &Record) -> bool {
        let stat = &entry.stat;
        let is_kind = match (&record.what, stat.kind) {
            (What::Directory, Kind::Directory)
            | (What::Symlink { .. }, Kind::Symlink)
            | (What::Fifo, Kind::Fifo) => true,
            (What::File { size, .. }, Kind::File) => *size == stat.size,
            (What::Link { .. }, Kind::File | Kind::Symlink | Kind::Fifo) => true,
            _ => false,
        };
        is_kind
            && (record.inode == stat.id.inode || entry.is_top())
            && record.changed == time(stat.changed)
            && record.modified == time(stat.modified)
            && (record.mode, record.uid, record.gid) == (stat.mode, stat.uid, stat.gid)
            && record.has_links == (stat.links > 1 && stat.kind != Kind::Directory)
            && record.changed.seconds < self.begun - 1
    }

    /// Whether a name of an inode with several is what its record says: the first, or a further
    /// one of a first that is kept.
    fn fits(&self, store: usize, entry: &Entry, record: &Record) -> bool {
        let first = self.firsts.get(&(store, entry.stat.id));
        match (&record.what, first) {
            (What::Link { target }, Some((first, true))) => target == first,
            (What::Link { .. }, _) | (_, Some(_)) => false,
            (_, None) => true,
        }
    }

    /// Goes on to another path: what a store has no longer, although another one has.
    fn leave(&mut self) {
        let (path, stores) = std::mem::take(&mut self.here);
        if !stores.is_empty() && self.base.has_others(&path, &stores) {
            self.change(&path);
        }
    }

    fn gone(&mut self) {
        let gone = self.base.gone();
        for line in gone.split(|b| *b == 0).filter(|line| !line.is_empty()) {
            let path = line.strip_prefix(b"./").unwrap_or_default();
            self.change(path);
            // What was below it is gone with it.
            let path = PathBuf::from(OsStr::from_bytes(path));
            self.since.changes.add(path, Extent::Whole);
        }
        self.since.deleted.extend(gone);
    }

    /// Something is another here. Its directory is archived with it: whoever extracts changes its
    /// time.
    fn change(&mut self, path: &[u8]) {
        self.visit(path);
        if let Some(directory) = Path::new(OsStr::from_bytes(path)).parent() {
            self.visit(directory.as_os_str().as_bytes());
        }
        self.since.has_changed = true;
    }

    fn visit(&mut self, path: &[u8]) {
        let path = PathBuf::from(OsStr::from_bytes(path));
        self.since.changes.add(path, Extent::Alone);
    }
}
