//! A btrfs filesystem as values: subvolumes, what lies in them, and the rules of its acts.
//!
//! Every rule here was seen on a real btrfs (kernel 6.18) or is stricter. An act is a function
//! of a `&mut Disk` that answers an errno; the tape throws the half-done copy away.

use crate::tree::{Leaf, Tree};
use rustix::io::Errno;
use state_btrfs::{Child, Node, Subvolume, TOP_LEVEL};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

pub(super) type Answer<T> = Result<T, Errno>;

/// What a name in a subvolume stands for.
#[derive(Debug, Clone, PartialEq, Hash)]
pub(super) enum Entry {
    Directory,
    File(Vec<u8>),
    Symlink(PathBuf),
    /// The top of a nested subvolume, by id.
    Volume(u64),
}

#[derive(Debug, Clone, PartialEq, Hash)]
pub(super) struct Volume {
    pub(super) info: Subvolume,
    /// An active swapfile lies in it.
    pub(super) swapfile: bool,
    /// `btrfs send` reads it.
    pub(super) sending: bool,
    /// By path relative to the subvolume's top; shared between frames until written to.
    pub(super) entries: Rc<BTreeMap<PathBuf, Entry>>,
}

/// What is on its disk.
#[derive(Debug, Clone, PartialEq, Hash)]
pub struct Disk {
    pub(super) uuid: String,
    pub(super) is_read_only: bool,
    pub(super) default: u64,
    /// Seconds since 1970; a machine without a battery stands at its beginning.
    pub(super) clock: i64,
    next_id: u64,
    /// The running transaction.
    pub(super) transid: u64,
    pub(super) volumes: BTreeMap<u64, Volume>,
}

/// A name: the subvolume it is in and its path from that subvolume's top.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Spot {
    pub(super) volume: u64,
    pub(super) path: PathBuf,
}

impl Spot {
    pub(super) fn directory(&self) -> Spot {
        Spot {
            volume: self.volume,
            path: self.path.parent().unwrap_or(Path::new("")).into(),
        }
    }
}

impl Disk {
    pub(super) fn new() -> Self {
        let mut disk = Self {
            uuid: "8a1f5c5e-7d1b-4a39-9d0e-2f6b1f3c0001".into(),
            is_read_only: false,
            default: TOP_LEVEL,
            clock: 0,
            next_id: TOP_LEVEL,
            transid: 5,
            volumes: BTreeMap::new(),
        };
        disk.add_volume(None);
        disk.next_id = 256;
        disk.transid = 7;
        disk
    }

    pub(super) fn add_volume(&mut self, from: Option<(&Volume, bool)>) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let mut uuid = [0; 16];
        uuid[..8].copy_from_slice(&id.to_be_bytes());
        uuid[15] = 1;
        let mut volume = Volume {
            info: Subvolume {
                id,
                uuid,
                parent_uuid: [0; 16],
                is_read_only: false,
                ctransid: self.transid,
                otransid: self.transid,
                otime_seconds: self.clock,
            },
            swapfile: false,
            sending: false,
            entries: Rc::default(),
        };
        if let Some((from, read_only)) = from {
            volume.info.parent_uuid = from.info.uuid;
            volume.info.is_read_only = read_only;
            // As the kernel: a snapshot takes over what its source said of its content.
            volume.info.ctransid = from.info.ctransid;
            volume.entries = from.entries.clone();
            let nested = |entry: &Entry| matches!(entry, Entry::Volume(_));
            if volume.entries.values().any(nested) {
                for entry in Rc::make_mut(&mut volume.entries).values_mut() {
                    if nested(entry) {
                        *entry = Entry::Directory;
                    }
                }
            }
        }
        self.volumes.insert(id, volume);
        id
    }

    pub(super) fn volume(&self, id: u64) -> Answer<&Volume> {
        self.volumes.get(&id).ok_or(Errno::NOENT)
    }

    pub(super) fn volume_mut(&mut self, id: u64) -> Answer<&mut Volume> {
        self.volumes.get_mut(&id).ok_or(Errno::NOENT)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = u64> {
        self.volumes.keys().copied()
    }

    pub(super) fn entry(&self, spot: &Spot) -> Option<&Entry> {
        self.volumes.get(&spot.volume)?.entries.get(&spot.path)
    }

    /// Finds a name. Its parents must be there; symlinks are never followed.
    pub(super) fn spot(&self, path: &Path) -> Answer<Spot> {
        let mut spot = Spot {
            volume: TOP_LEVEL,
            path: PathBuf::new(),
        };
        let mut rest = path.components().peekable();
        while let Some(part) = rest.next() {
            let Component::Normal(name) = part else {
                panic!("{path:?} is not a plain path relative to the top level");
            };
            spot.path.push(name);
            if rest.peek().is_some() {
                match self.entry(&spot) {
                    Some(Entry::Directory) => (),
                    Some(Entry::Volume(id)) => {
                        spot = Spot {
                            volume: *id,
                            path: PathBuf::new(),
                        }
                    }
                    Some(_) => return Err(Errno::NOTDIR),
                    None => return Err(Errno::NOENT),
                }
            }
        }
        Ok(spot)
    }

    /// What stands at a path; `None` also if its parents are missing.
    pub(super) fn look(&self, path: &Path) -> Answer<Option<Entry>> {
        if path.as_os_str().is_empty() {
            return Ok(Some(Entry::Volume(TOP_LEVEL)));
        }
        match self.spot(path) {
            Ok(spot) => Ok(self.entry(&spot).cloned()),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    pub(super) fn id_at(&self, path: &Path) -> Answer<u64> {
        match self.look(path)? {
            Some(Entry::Volume(id)) => Ok(id),
            Some(_) => Err(Errno::INVAL),
            None => Err(Errno::NOENT),
        }
    }

    pub(super) fn node(&self, path: &Path) -> Answer<Node> {
        Ok(match self.look(path)? {
            None => Node::Missing,
            Some(Entry::Volume(id)) => Node::Subvolume(self.volume(id)?.info.clone()),
            Some(Entry::Directory) => Node::Directory,
            Some(_) => Node::Other,
        })
    }

    /// The directory or subvolume at a path, as a place whose entries have that prefix.
    pub(super) fn inside(&self, path: &Path) -> Answer<Spot> {
        match self.look(path)? {
            Some(Entry::Volume(volume)) => Ok(Spot {
                volume,
                path: PathBuf::new(),
            }),
            Some(Entry::Directory) => self.spot(path),
            Some(_) => Err(Errno::NOTDIR),
            None => Err(Errno::NOENT),
        }
    }

    /// Entries strictly below a directory of one subvolume, in the order of their paths.
    pub(super) fn below(&self, dir: &Spot) -> Answer<impl Iterator<Item = (&Path, &Entry)>> {
        let volume = self.volume(dir.volume)?;
        let prefix = dir.path.clone();
        Ok(volume.entries.iter().filter_map(move |(path, entry)| {
            let rest = path.strip_prefix(&prefix).ok()?;
            (!rest.as_os_str().is_empty()).then_some((rest, entry))
        }))
    }

    /// Every subvolume below `id` with its path from there, parents before children.
    pub(super) fn children(&self, id: u64) -> Answer<Vec<Child>> {
        let mut found = Vec::new();
        let mut queue = vec![(id, PathBuf::new())];
        while let Some((parent, at)) = queue.pop() {
            for (path, entry) in self.volume(parent)?.entries.iter() {
                if let Entry::Volume(id) = entry {
                    let path = at.join(path);
                    queue.push((*id, path.clone()));
                    found.push(Child {
                        id: *id,
                        parent,
                        path,
                    });
                }
            }
        }
        Ok(found)
    }

    /// Where a subvolume is now.
    pub(super) fn path_of(&self, id: u64) -> Answer<PathBuf> {
        if id == TOP_LEVEL {
            return Ok(PathBuf::new());
        }
        let child = self.children(TOP_LEVEL)?.into_iter().find(|c| c.id == id);
        child.map(|child| child.path).ok_or(Errno::NOENT)
    }

    /// The whole tree below a directory, nested subvolumes included.
    pub(super) fn tree(&self, dir: &Spot) -> Answer<Tree> {
        let mut tree = Tree::new();
        for (path, entry) in self.below(dir)? {
            let leaf = match entry {
                Entry::Directory => Leaf::Directory,
                Entry::File(bytes) => Leaf::File(bytes.clone()),
                Entry::Symlink(to) => Leaf::Symlink(to.clone()),
                Entry::Volume(id) => {
                    let top = Spot {
                        volume: *id,
                        path: PathBuf::new(),
                    };
                    let nested = self.tree(&top)?;
                    tree.extend(nested.into_iter().map(|(p, leaf)| (path.join(p), leaf)));
                    Leaf::Volume
                }
            };
            tree.insert(path.into(), leaf);
        }
        Ok(tree)
    }
}
