//! Where a store may differ from what the last archive was made from.
//!
//! Some filesystems tell places, others the numbers of inodes. What the last archive has under a number its
//! manifest knows, every name of it; what is new is found in the directories that differ, whose names are compared
//! with those in the manifest.

use super::Input;
use crate::archive::Result;
use crate::archive::manifest::is_in;
use crate::archive::older::Older;
use state_api::{ChangedInodes, Changes, Extent, Inodes, Interrupt, View};
use state_linux::stat::Kind;
use state_linux::tree::{Entry, Walk, numbers};
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What a store's filesystem tells.
#[derive(Debug)]
pub enum Told {
    /// Where it may differ.
    Places(Changes),
    /// Which inodes may.
    Inodes(ChangedInodes),
}

/// The places of each store. `older` gives the records of the last archive, and is only asked if they are needed.
///
/// # Errors
/// Its manifest cannot be read, or the run was interrupted.
pub fn places<'o>(
    inputs: &[Input<'_>],
    told: Vec<Told>,
    older: impl FnOnce() -> Result<Older<'o>>,
    interrupt: &dyn Interrupt,
) -> Result<Vec<Changes>> {
    let mut all: Vec<_> = (inputs.iter().zip(told))
        .map(|(input, told)| Sought::new(input.view, told))
        .collect();
    if all.iter().any(|sought| !sought.volumes.is_empty()) {
        let mut older = older()?;
        while let Some(passed) = older.pass()? {
            if interrupt.is_set() {
                return Err(state_api::Error::Interrupted.into());
            }
            if let Some(sought) = all.get_mut(passed.store) {
                sought.pass(&passed.path, passed.inode, passed.is_directory);
            }
        }
    }
    Ok(all.into_iter().map(Sought::end).collect())
}

/// The names in a directory, and the inodes that they lead to.
type Names = HashMap<Vec<u8>, u64>;

/// One store's places, while they are looked for.
struct Sought<'v> {
    view: &'v View,
    /// The numbers that may differ, of volumes of which more is not known.
    volumes: HashMap<PathBuf, HashSet<u64>>,
    /// The directories that may differ, with the names that the manifest knows in them.
    directories: HashMap<Vec<u8>, Names>,
    places: Changes,
}

impl<'v> Sought<'v> {
    fn new(view: &'v View, told: Told) -> Self {
        let mut sought = Self {
            view,
            volumes: HashMap::new(),
            directories: HashMap::new(),
            places: Changes::none(),
        };
        match told {
            Told::Places(places) => sought.places = places,
            Told::Inodes(changed) => {
                for (at, inodes) in changed.volumes {
                    match inodes {
                        Inodes::All => sought.places.add(at, Extent::Whole),
                        Inodes::Numbers(numbers) => drop(sought.volumes.insert(at, numbers)),
                    }
                }
            }
        }
        sought
    }

    /// The volume that a path is in.
    fn volume_of(&self, path: &[u8]) -> &Path {
        let grafts = self.view.grafts.iter().rev();
        let mut holding = grafts.filter(|graft| is_in(path, graft.at.as_os_str().as_bytes()));
        holding.next().map_or(Path::new(""), |graft| &graft.at)
    }

    /// Takes note of what the manifest has at a path. Directories come before what is in them.
    fn pass(&mut self, path: &[u8], inode: u64, is_directory: bool) {
        if let Some((directory, name)) = parent(path)
            && let Some(names) = self.directories.get_mut(directory)
        {
            names.insert(name.to_vec(), inode);
        }
        let volume = self.volume_of(path);
        let Some(numbers) = self.volumes.get(volume) else {
            return;
        };
        let is_top = volume.as_os_str().as_bytes() == path;
        if is_top || numbers.contains(&inode) {
            // What was no directory may be one now, and have the same number.
            let extent = match is_directory {
                true => Extent::Alone,
                false => Extent::Whole,
            };
            self.places.add(path_of(path), extent);
            if is_directory {
                self.directories.insert(path.to_vec(), Names::new());
            }
        }
    }

    /// Compares the directories with what they hold now.
    fn end(mut self) -> Changes {
        let mut directories = Changes::none();
        for path in self.directories.keys() {
            directories.add(path_of(path), Extent::Alone);
        }
        for found in Walk::over(self.view, &directories) {
            // What cannot be listed is looked at as a whole, below.
            if let Ok(entry) = found
                && let Ok(now) = listed(&entry)
                && let Some(before) = self.directories.remove(entry.path.as_os_str().as_bytes())
            {
                self.compare(&entry.path, &before, &now);
            }
        }
        for path in self.directories.into_keys() {
            self.places.add(path_of(&path), Extent::Whole);
        }
        self.places
    }

    fn compare(&mut self, directory: &Path, before: &Names, now: &Names) {
        let others = before.keys().filter(|name| !now.contains_key(*name));
        let others = others.chain(
            now.keys()
                .filter(|name| now.get(*name) != before.get(*name)),
        );
        for name in others {
            let path = directory.join(OsStr::from_bytes(name));
            // Where a volume is mounted, its top has another number than the directory under it.
            let is_graft = self.view.grafts.iter().any(|graft| graft.at == path);
            if !(is_graft && before.contains_key(name)) {
                self.places.add(path, Extent::Whole);
            }
        }
    }
}

fn listed(entry: &Entry) -> io::Result<Names> {
    if entry.stat.kind != Kind::Directory {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    let dir = entry.open().map_err(|error| error.source)?;
    let names = numbers(dir)?.into_iter();
    Ok(names
        .map(|(name, inode)| (name.into_bytes(), inode))
        .collect())
}

/// The directory that a path is in, and its name there; nothing for the top.
fn parent(path: &[u8]) -> Option<(&[u8], &[u8])> {
    match memchr::memrchr(b'/', path) {
        Some(slash) => Some((&path[..slash], &path[slash + 1..])),
        None => (!path.is_empty()).then_some((b"", path)),
    }
}

fn path_of(path: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::manifest::{Digest, Record, What};
    use crate::archive::pax::Time;
    use crate::archive::select::Selection;
    use state_api::Never;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    fn record(path: &str, what: What, inode: u64) -> Record {
        Record {
            path: path.into(),
            store: 0,
            what,
            mode: 0o755,
            uid: 0,
            gid: 0,
            modified: Time::default(),
            extra: Default::default(),
            has_links: false,
            archive: 0,
            offset: 0,
            inode,
            changed: Time::default(),
        }
    }

    /// Numbers are given again. A name that was a file's may be a directory's, with the same number: the directory
    /// above shows no difference.
    #[test]
    fn what_took_the_number_of_something_else_is_looked_at_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("same/below")).unwrap();
        fs::write(dir.path().join("other"), "x").unwrap();
        let inode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().ino();
        let file = || What::File {
            size: 0,
            sha256: Digest([0; 32]),
            is_sparse: false,
        };
        let records = [
            record("", What::Directory, 1),
            record("other", file(), inode("other") + 1000),
            record("same", file(), inode("same")),
        ];
        let numbers = HashSet::from([inode("same")]);
        let changed = ChangedInodes {
            volumes: [(PathBuf::new(), Inodes::Numbers(numbers))].into(),
            ..ChangedInodes::default()
        };
        let view = View::live(fs::File::open(dir.path()).unwrap().into());
        let selection = Selection::all();
        let inputs = [Input {
            view: &view,
            selection: &selection,
        }];
        let older = || Ok(Older::records(records.into_iter().map(Ok)));
        let found = places(&inputs, vec![Told::Inodes(changed)], older, &Never).unwrap();
        let found: Vec<_> = found[0].places().collect();
        let wanted = [
            (Path::new(""), Extent::Alone),
            (Path::new("other"), Extent::Whole),
            (Path::new("same"), Extent::Whole),
        ];
        assert_eq!(found, wanted);
    }
}
