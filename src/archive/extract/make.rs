//! Making each kind of entry, or adopting what an interrupted run made of it.

use super::beneath::Spot;
use super::run::{Run, failed};
use crate::archive::manifest::{Digest, Record, What};
use crate::archive::{Error, Result};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, fchmod, ftruncate, linkat, mkdirat, mknodat, readlinkat,
    symlinkat, unlinkat,
};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use state_linux::metadata::{Flags, Place};
use state_linux::stat::{FileId, Kind, Stat};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

impl Run<'_> {
    pub(super) fn directory(&mut self, record: &Record) -> Result<()> {
        if record.path.is_empty() {
            return Ok(()); // the staging directory itself
        }
        let making = failed("making", record);
        let spot = self.beneath.spot(&record.path).map_err(&making)?;
        match mkdirat(&spot.dir, &spot.name, permissions(record) | Mode::RWXU) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => {
                let open = spot.open(OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty());
                let open = open.map_err(&making)?;
                unseal(&open).map_err(&making)?;
                fchmod(&open, Mode::RWXU).map_err(|e| making(e.into()))
            }
            Err(errno) => Err(making(errno.into())),
        }
    }

    /// Makes `record`'s file with the content of `content`'s member, which is the same but when
    /// the first name of an inode is not extracted.
    pub(super) fn file(&mut self, record: &Record, content: &Record) -> Result<()> {
        let What::File {
            size,
            sha256,
            is_sparse,
        } = content.what
        else {
            return Err(Error::member(&record.path, "a further name of no file"));
        };
        let writing = failed("writing", record);
        let spot = self.beneath.spot(&record.path).map_err(&writing)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let mode = permissions(record) | Mode::RUSR | Mode::WUSR;
        let open = match spot.open(flags, mode) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if let Some(open) = self.adopt(&spot, size, sha256).map_err(&writing)? {
                    self.bytes.fetch_add(size, Ordering::Relaxed);
                    return self.attributes(record, &open);
                }
                spot.open(flags, mode)
            }
            open => open,
        };
        let open = File::from(open.map_err(&writing)?);
        let before = |flags: Flags| flags.within(Flags::BEFORE_CONTENT);
        self.losses.flags(record, &open, before)?;
        if is_sparse {
            ftruncate(&open, size).map_err(|e| writing(e.into()))?;
        }
        let (job, count) = (self.job, self.bytes);
        self.members.entry(content, &mut |at, bytes| {
            job.go_on()?;
            count.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            open.write_all_at(bytes, at).map_err(&writing)
        })?;
        self.attributes(record, &open)
    }

    fn attributes(&mut self, record: &Record, open: &File) -> Result<()> {
        let place = Place {
            dir: open.as_fd(),
            name: c"",
        };
        let found = Stat::of_open(open).map_err(failed("looking at", record))?;
        self.losses.apply(record, &place, Some(&found))?;
        let middle = |flags: Flags| flags.without(Flags::BEFORE_CONTENT).without(Flags::SEALS);
        self.losses.flags(record, open, middle)
    }

    /// A file that an interrupted run left there, if it is whole; removes it if it is not.
    fn adopt(&self, spot: &Spot, size: u64, sha256: Digest) -> io::Result<Option<File>> {
        let kind = match Stat::of(&*spot.dir, &spot.name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            stat => stat?.kind,
        };
        if kind != Kind::File {
            return Err(io::Error::other("something else is there"));
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let open = File::from(spot.open(flags, Mode::empty())?);
        unseal(&open)?;
        if open.metadata()?.len() == size {
            let mut hash = Sha256::new();
            let mut buffer = vec![0; 1 << 20];
            let mut at = 0;
            while at < size {
                match open.read_at(&mut buffer, at)? {
                    0 => break,
                    n => {
                        hash.update(&buffer[..n]);
                        at += n as u64;
                    }
                }
            }
            if Digest::from(hash) == sha256 {
                return Ok(Some(open));
            }
        }
        unlinkat(&*spot.dir, &spot.name, AtFlags::empty())?;
        Ok(None)
    }

    pub(super) fn fifo(&mut self, record: &Record) -> Result<()> {
        let making = failed("making", record);
        let spot = self.beneath.spot(&record.path).map_err(&making)?;
        let mode = Mode::RUSR | Mode::WUSR;
        match mknodat(&spot.dir, &spot.name, FileType::Fifo, mode, 0) {
            Err(Errno::EXIST) => self.expect(&spot, Kind::Fifo).map_err(&making)?,
            made => made.map_err(|e| making(e.into()))?,
        }
        self.apply_at(record, &spot)
    }

    pub(super) fn symlink(&mut self, record: &Record, target: &[u8]) -> Result<()> {
        let making = failed("making", record);
        let spot = self.beneath.spot(&record.path).map_err(&making)?;
        match symlinkat(target, &spot.dir, &spot.name) {
            Err(Errno::EXIST) => {
                self.expect(&spot, Kind::Symlink).map_err(&making)?;
                let there = readlinkat(&spot.dir, &spot.name, Vec::new());
                let there = there.map_err(|e| making(e.into()))?;
                if there.as_bytes() != target {
                    return Err(making(io::Error::other("another link is there")));
                }
            }
            made => made.map_err(|e| making(e.into()))?,
        }
        self.apply_at(record, &spot)
    }

    fn apply_at(&mut self, record: &Record, spot: &Spot) -> Result<()> {
        let place = Place {
            dir: spot.dir.as_fd(),
            name: spot.name.as_c_str(),
        };
        self.losses.apply(record, &place, None)
    }

    fn expect(&self, spot: &Spot, kind: Kind) -> io::Result<()> {
        match Stat::of(&*spot.dir, &spot.name)?.kind == kind {
            true => Ok(()),
            false => Err(io::Error::other("something else is there")),
        }
    }

    pub(super) fn link(&mut self, record: &Record, target: &[u8]) -> Result<()> {
        let mut target = target.to_vec();
        if let Some((first, made)) = self.elsewhere.get(&target) {
            match made {
                Some(made) => target = made.clone(),
                None => {
                    let content = first.clone();
                    return self.outsider(record, &content);
                }
            }
        }
        let linking = failed("linking", record);
        let from = self.beneath.spot(&target).map_err(&linking)?;
        let to = self.beneath.spot(&record.path).map_err(&linking)?;
        match linkat(&from.dir, &from.name, &to.dir, &to.name, AtFlags::empty()) {
            Err(Errno::EXIST) => {
                let id = |spot: &Spot| Stat::of(&*spot.dir, &spot.name).map(|stat| stat.id);
                let ids: io::Result<Vec<FileId>> = [&from, &to].into_iter().map(id).collect();
                let ids = ids.map_err(&linking)?;
                if ids[0] != ids[1] {
                    unlinkat(&*to.dir, &to.name, AtFlags::empty())
                        .map_err(|e| linking(e.into()))?;
                    linkat(&from.dir, &from.name, &to.dir, &to.name, AtFlags::empty())
                        .map_err(|e| linking(e.into()))?;
                }
                Ok(())
            }
            made => made.map_err(|e| linking(e.into())),
        }
    }

    /// A name whose first one lies outside the wanted path: it becomes the first.
    fn outsider(&mut self, record: &Record, first: &Record) -> Result<()> {
        let mut made = first.clone();
        made.path = record.path.clone();
        match &first.what {
            What::File { .. } => self.file(&made, first)?,
            What::Fifo => self.fifo(&made)?,
            What::Symlink { target } => self.symlink(&made, target)?,
            What::Directory | What::Link { .. } => {
                return Err(Error::member(&record.path, "a further name of no file"));
            }
        }
        if let Some((_, name)) = self.elsewhere.get_mut(&first.path) {
            *name = Some(record.path.clone());
        }
        Ok(())
    }
}

/// What may be right at once: nobody else gets into the staging directory.
fn permissions(record: &Record) -> Mode {
    Mode::from_raw_mode(record.mode & 0o777)
}

/// Takes off what forbids changes: an interrupted run may have come that far.
fn unseal(open: impl AsFd) -> io::Result<()> {
    let flags = Flags::of(&open)?.within(Flags::SEALS);
    if flags.is_none() {
        return Ok(());
    }
    flags.remove_from(open)
}
