//! What acts do to a disk, and when they are refused.

use super::disk::{Answer, Disk, Entry, Spot};
use rustix::io::Errno;
use state_btrfs::TOP_LEVEL;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

impl Disk {
    fn writable(&self, volume: u64) -> Answer<()> {
        if self.is_read_only || self.volume(volume)?.info.is_read_only {
            return Err(Errno::ROFS);
        }
        Ok(())
    }

    /// Changes names in a subvolume; its content counts as changed in this transaction.
    fn entries_mut(&mut self, volume: u64) -> Answer<&mut BTreeMap<PathBuf, Entry>> {
        self.writable(volume)?;
        let transid = self.transid;
        let volume = self.volume_mut(volume)?;
        volume.info.ctransid = transid;
        Ok(Rc::make_mut(&mut volume.entries))
    }

    fn new_name(&self, path: &Path) -> Answer<Spot> {
        if path.as_os_str().is_empty() {
            return Err(Errno::EXIST);
        }
        let spot = self.spot(path)?;
        let parent = spot.directory();
        if !parent.path.as_os_str().is_empty()
            && !matches!(self.entry(&parent), Some(Entry::Directory))
        {
            return Err(Errno::NOENT);
        }
        match self.entry(&spot) {
            Some(_) => Err(Errno::EXIST),
            None => Ok(spot),
        }
    }

    pub(super) fn add(&mut self, path: &Path, entry: Entry) -> Answer<()> {
        let spot = self.new_name(path)?;
        self.entries_mut(spot.volume)?.insert(spot.path, entry);
        Ok(())
    }

    /// Replaces or makes a file, as programs do that write in root.
    pub(super) fn put(&mut self, path: &Path, bytes: &[u8]) -> Answer<()> {
        let spot = self.spot(path)?;
        self.entries_mut(spot.volume)?
            .insert(spot.path, Entry::File(bytes.into()));
        Ok(())
    }

    pub(super) fn unlink(&mut self, path: &Path) -> Answer<()> {
        let spot = self.spot(path)?;
        match self.entry(&spot) {
            None => Err(Errno::NOENT),
            Some(Entry::File(_) | Entry::Symlink(_)) => {
                self.entries_mut(spot.volume)?.remove(&spot.path);
                Ok(())
            }
            Some(_) => Err(Errno::ISDIR),
        }
    }

    pub(super) fn remove_directory(&mut self, at: &Path) -> Answer<()> {
        let spot = self.spot(at)?;
        match self.entry(&spot) {
            None => Err(Errno::NOENT),
            Some(Entry::Directory) if self.below(&spot)?.next().is_some() => Err(Errno::NOTEMPTY),
            Some(Entry::Directory) => {
                self.entries_mut(spot.volume)?.remove(&spot.path);
                Ok(())
            }
            Some(_) => Err(Errno::NOTDIR),
        }
    }

    pub(super) fn create(&mut self, at: &Path) -> Answer<u64> {
        let spot = self.new_name(at)?;
        self.writable(spot.volume)?;
        let id = self.add_volume(None);
        self.entries_mut(spot.volume)?
            .insert(spot.path, Entry::Volume(id));
        Ok(id)
    }

    pub(super) fn snapshot(&mut self, from: &Path, to: &Path, read_only: bool) -> Answer<u64> {
        let source = self.volume(self.id_at(from)?)?.clone();
        let spot = self.new_name(to)?;
        self.writable(spot.volume)?;
        if source.swapfile {
            return Err(Errno::TXTBSY);
        }
        let id = self.add_volume(Some((&source, read_only)));
        self.entries_mut(spot.volume)?
            .insert(spot.path, Entry::Volume(id));
        // The ioctl ends with a commit (`create_snapshot` in fs/btrfs/ioctl.c), so that what is
        // written next is of a later transaction. The simulator does not make it durable.
        self.commit();
        Ok(id)
    }

    pub(super) fn commit(&mut self) {
        self.transid += 1;
    }

    /// Whether the thing at `from` may get a name in another directory: a read-only subvolume
    /// may not, because its `..` changes.
    fn movable(&self, from: &Spot, entry: &Entry, to: &Spot) -> Answer<()> {
        if let Entry::Volume(id) = entry {
            if from.directory() != to.directory() {
                self.writable(*id)?;
            }
        } else if from.volume != to.volume {
            return Err(Errno::XDEV);
        }
        if from.volume == to.volume && to.path.starts_with(&from.path) {
            return Err(Errno::INVAL);
        }
        Ok(())
    }

    fn lift(&mut self, spot: &Spot) -> Answer<Vec<(PathBuf, Entry)>> {
        let entries = self.entries_mut(spot.volume)?;
        let paths: Vec<PathBuf> = entries
            .keys()
            .filter(|path| path.starts_with(&spot.path))
            .cloned()
            .collect();
        Ok(paths
            .into_iter()
            .map(|path| {
                let rest = path.strip_prefix(&spot.path).expect("filtered").into();
                let entry = entries.remove(&path).expect("collected above");
                (rest, entry)
            })
            .collect())
    }

    fn put_down(&mut self, spot: &Spot, things: Vec<(PathBuf, Entry)>) -> Answer<()> {
        let entries = self.entries_mut(spot.volume)?;
        for (rest, entry) in things {
            let path = if rest.as_os_str().is_empty() {
                spot.path.clone()
            } else {
                spot.path.join(rest)
            };
            entries.insert(path, entry);
        }
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> Answer<()> {
        let from = self.spot(from)?;
        let entry = self.entry(&from).cloned().ok_or(Errno::NOENT)?;
        let to = self.new_name(to)?;
        self.movable(&from, &entry, &to)?;
        let things = self.lift(&from)?;
        self.put_down(&to, things)
    }

    pub(super) fn exchange(&mut self, a: &Path, b: &Path) -> Answer<()> {
        let (a, b) = (self.spot(a)?, self.spot(b)?);
        let first = self.entry(&a).cloned().ok_or(Errno::NOENT)?;
        let second = self.entry(&b).cloned().ok_or(Errno::NOENT)?;
        self.movable(&a, &first, &b)?;
        self.movable(&b, &second, &a)?;
        let (first, second) = (self.lift(&a)?, self.lift(&b)?);
        self.put_down(&b, first)?;
        self.put_down(&a, second)
    }

    pub(super) fn delete(&mut self, id: u64) -> Answer<()> {
        if id == TOP_LEVEL {
            return Err(Errno::INVAL);
        }
        let volume = self.volume(id)?;
        let spot = self.spot(&self.path_of(id)?)?;
        self.writable(spot.volume)?;
        if id == self.default || volume.swapfile || volume.sending {
            return Err(Errno::PERM);
        }
        if !self.children(id)?.is_empty() {
            return Err(Errno::NOTEMPTY);
        }
        self.entries_mut(spot.volume)?.remove(&spot.path);
        self.volumes.remove(&id);
        Ok(())
    }
}
