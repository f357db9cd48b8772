//! Extracting into a staging directory that nobody else uses.
//!
//! The manifest says what is made; the tar only provides what it announced. Nothing is followed:
//! directories and files come first, symlinks when no file is made any more, further names link
//! only to what this run made. Directories get their modes and times last, deepest first, and
//! whatever forbids changes comes after everything else.

mod attributes;
mod beneath;

use super::manifest::{Digest, Record, What};
use super::member::name;
use super::owners::Owners;
use super::read::{Archive, Members};
use super::{Error, Result};
use attributes::Losses;
use beneath::{Beneath, Spot};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, fchmod, ftruncate, linkat, mkdirat, mknodat, readlinkat,
    symlinkat, unlinkat,
};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use state_api::Interrupt;
use state_linux::metadata::{Flags, Place};
use state_linux::stat::{FileId, Kind, Stat};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

/// Something that the destination could not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The path.
    pub path: Vec<u8>,
    /// What of it.
    pub aspect: Aspect,
    /// The same in words, and why.
    pub what: String,
}

/// What of an entry can be lost, each by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aspect {
    /// Its owner or group.
    Owner,
    /// Its permissions.
    Mode,
    /// When its content changed last.
    Time,
    /// Its ACL.
    Acl,
    /// A directory's ACL for what is made in it.
    DefaultAcl,
    /// Its inode flags.
    Flags,
    /// The extended attribute of that name.
    Attribute(Vec<u8>),
    /// That its names are of one inode.
    Links,
}

/// What is to be extracted.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// The archive.
    pub archive: &'a Archive<'a>,
    /// Which of its stores.
    pub store: usize,
    /// Only this path and what is below it, and the directories that lead to it.
    pub under: Option<&'a [u8]>,
    /// Whose it becomes.
    pub owners: &'a Owners,
    /// Asked between pieces.
    pub interrupt: &'a dyn Interrupt,
}

impl std::fmt::Debug for Job<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job")
            .field("store", &self.store)
            .field("under", &self.under)
            .finish_non_exhaustive()
    }
}

impl Job<'_> {
    /// Whether `record` is part of it.
    pub fn wants(&self, record: &Record) -> bool {
        let below = |path: &[u8], top: &[u8]| {
            top.is_empty()
                || path
                    .strip_prefix(top)
                    .is_some_and(|r| r.is_empty() || r[0] == b'/')
        };
        let Some(under) = self.under else {
            return record.store == self.store;
        };
        let leads = record.what == What::Directory && below(under, &record.path);
        record.store == self.store && (leads || below(&record.path, under))
    }

    /// Extracts into `stage`, and adopts what an interrupted run of the same job left there:
    /// content is compared before it is believed. `watch` hears of every byte of content.
    ///
    /// # Errors
    /// The archive is damaged, the disk is full, or the run was interrupted. What was made until
    /// then stays, to be adopted.
    pub fn extract(&self, stage: BorrowedFd<'_>, watch: &mut dyn FnMut(u64)) -> Result<Vec<Loss>> {
        let mut run = Run {
            job: *self,
            members: self.archive.members(),
            beneath: Beneath::new(stage),
            losses: Losses {
                owners: self.owners,
                losses: Vec::new(),
            },
            late: HashSet::new(),
            elsewhere: HashMap::new(),
            watch,
        };
        run.content()?;
        run.symlinks()?;
        run.seal()?;
        Ok(run.losses.losses)
    }

    fn go_on(&self) -> Result<()> {
        match self.interrupt.is_set() {
            true => Err(state_api::Error::Interrupted.into()),
            false => Ok(()),
        }
    }
}

struct Run<'a, 'w> {
    job: Job<'a>,
    members: Members<'a>,
    beneath: Beneath<'a>,
    losses: Losses<'a>,
    /// Symlinks with further names: those names have to wait for them.
    late: HashSet<Vec<u8>>,
    /// Files outside the wanted path that may have further names inside it, and the first such
    /// name once it has been made.
    elsewhere: HashMap<Vec<u8>, (Record, Option<Vec<u8>>)>,
    watch: &'w mut dyn FnMut(u64),
}

fn failed(doing: &str, record: &Record) -> impl Fn(io::Error) -> Error {
    let name = String::from_utf8_lossy(&name(&record.path)).into_owned();
    let doing = doing.to_owned();
    move |error| Error::os(format!("{doing} {name}"), error)
}

impl Run<'_, '_> {
    fn content(&mut self) -> Result<()> {
        for record in self.job.archive.records() {
            let (record, _) = record?;
            self.job.go_on()?;
            if !self.job.wants(&record) {
                if record.store == self.job.store && record.has_links {
                    self.elsewhere.insert(record.path.clone(), (record, None));
                }
                continue;
            }
            match &record.what {
                What::Directory => self.directory(&record)?,
                What::File { .. } => self.file(&record, &record)?,
                What::Fifo => self.fifo(&record)?,
                What::Symlink { .. } if record.has_links => {
                    self.late.insert(record.path.clone());
                }
                What::Symlink { .. } => {}
                What::Link { target } if self.late.contains(target) => {}
                What::Link { target } => self.link(&record, target)?,
            }
        }
        Ok(())
    }

    fn symlinks(&mut self) -> Result<()> {
        for record in self.job.archive.records() {
            let (record, _) = record?;
            self.job.go_on()?;
            if !self.job.wants(&record) {
                continue;
            }
            match &record.what {
                What::Symlink { target } => self.symlink(&record, target)?,
                What::Link { target } if self.late.contains(target) => {
                    self.link(&record, target)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Directories, deepest first, and what forbids further changes.
    fn seal(&mut self) -> Result<()> {
        for block in (0..self.job.archive.blocks()).rev() {
            for record in self.job.archive.block(block)?.into_iter().rev() {
                self.job.go_on()?;
                let is_directory = record.what == What::Directory;
                let is_file = matches!(record.what, What::File { .. });
                if !self.job.wants(&record) || !(is_directory || is_file) {
                    continue;
                }
                if is_file && record.extra.flags.is_none() {
                    continue;
                }
                let opening = failed("opening", &record);
                let flags = OFlags::RDONLY | OFlags::NONBLOCK;
                let open = self.beneath.open(&record.path, flags).map_err(opening)?;
                if is_directory {
                    let place = Place {
                        dir: open.as_fd(),
                        name: c"",
                    };
                    self.losses.apply(&record, &place)?;
                }
                let is_top = record.path.is_empty();
                self.losses
                    .flags(&record, &open, |flags| match (is_directory, is_top) {
                        (true, false) => flags,
                        (true, true) => flags.without(Flags::SEALS), // it has to be moved yet
                        (false, _) => flags.within(Flags::SEALS),
                    })?;
            }
        }
        Ok(())
    }

    fn directory(&mut self, record: &Record) -> Result<()> {
        if record.path.is_empty() {
            return Ok(()); // the staging directory itself
        }
        let making = failed("making", record);
        let spot = self.beneath.spot(&record.path).map_err(&making)?;
        match mkdirat(&spot.dir, &spot.name, Mode::RWXU) {
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
    fn file(&mut self, record: &Record, content: &Record) -> Result<()> {
        let What::File { size, sha256, .. } = content.what else {
            return Err(Error::member(&record.path, "a further name of no file"));
        };
        let writing = failed("writing", record);
        let spot = self.beneath.spot(&record.path).map_err(&writing)?;
        if let Some(open) = self.adopt(&spot, size, sha256).map_err(&writing)? {
            (self.watch)(size);
            return self.attributes(record, &open);
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let open = spot
            .open(flags, Mode::RUSR | Mode::WUSR)
            .map_err(&writing)?;
        let open = File::from(open);
        let before = |flags: Flags| flags.within(Flags::BEFORE_CONTENT);
        self.losses.flags(record, &open, before)?;
        ftruncate(&open, size).map_err(|e| writing(e.into()))?;
        let (job, watch) = (self.job, &mut *self.watch);
        self.members.entry(content, &mut |at, bytes| {
            job.go_on()?;
            watch(bytes.len() as u64);
            open.write_all_at(bytes, at).map_err(&writing)
        })?;
        self.attributes(record, &open)
    }

    fn attributes(&mut self, record: &Record, open: &File) -> Result<()> {
        let place = Place {
            dir: open.as_fd(),
            name: c"",
        };
        self.losses.apply(record, &place)?;
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

    fn fifo(&mut self, record: &Record) -> Result<()> {
        let making = failed("making", record);
        let spot = self.beneath.spot(&record.path).map_err(&making)?;
        let mode = Mode::RUSR | Mode::WUSR;
        match mknodat(&spot.dir, &spot.name, FileType::Fifo, mode, 0) {
            Err(Errno::EXIST) => self.expect(&spot, Kind::Fifo).map_err(&making)?,
            made => made.map_err(|e| making(e.into()))?,
        }
        self.apply_at(record, &spot)
    }

    fn symlink(&mut self, record: &Record, target: &[u8]) -> Result<()> {
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
        self.losses.apply(record, &place)
    }

    fn expect(&self, spot: &Spot, kind: Kind) -> io::Result<()> {
        match Stat::of(&*spot.dir, &spot.name)?.kind == kind {
            true => Ok(()),
            false => Err(io::Error::other("something else is there")),
        }
    }

    fn link(&mut self, record: &Record, target: &[u8]) -> Result<()> {
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

/// Takes off what forbids changes: an interrupted run may have come that far.
fn unseal(open: impl AsFd) -> io::Result<()> {
    let flags = Flags::of(&open)?.within(Flags::SEALS);
    if flags.is_none() {
        return Ok(());
    }
    flags.remove_from(open)
}
