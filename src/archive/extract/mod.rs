//! Extracting into a staging directory that nobody else uses.
//!
//! The manifest says what is made; the tar only provides what it announced. Nothing is followed:
//! directories come first, files by several threads, symlinks when no file is made any more,
//! further names link only to what this run made. Directories get their modes and times last, deepest first, and
//! whatever forbids changes comes after everything else.

mod attributes;
mod beneath;

use super::crew::{Crew, cores};
use super::manifest::{Digest, Record, What, order};
use super::member::name;
use super::owners::Owners;
use super::read::{Archive, Members, Scope, Stop};
use super::{Error, Progress, Result};
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
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

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
    /// content is compared before it is believed. `watch` hears how far it is.
    ///
    /// # Errors
    /// The archive is damaged, the disk is full, or the run was interrupted. What was made until
    /// then stays, to be adopted.
    pub fn extract(
        &self,
        stage: BorrowedFd<'_>,
        watch: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Vec<Loss>> {
        let scope = self.archive.scope(self.under)?;
        let (stop, bytes) = (AtomicBool::new(false), AtomicU64::new(0));
        let mut run = Run::new(*self, stage, &bytes);
        let others = Mutex::new(Vec::new());
        let mut tell = |entries, path: &[u8]| {
            watch(Progress {
                entries,
                bytes: bytes.load(Ordering::Relaxed),
                path,
            });
            self.go_on()
        };
        let Self {
            archive,
            store,
            under,
            owners,
            ..
        } = *self;
        let begin = || {
            |files: Vec<Record>| {
                let job = Job {
                    archive,
                    store,
                    under,
                    owners,
                    interrupt: &Stop(&stop),
                };
                let mut run = Run::new(job, stage, &bytes);
                let mut files = files.iter();
                files.try_for_each(|record| run.file(record, record))?;
                let mut others = others.lock().unwrap_or_else(PoisonError::into_inner);
                others.append(&mut run.losses.losses);
                Ok(())
            }
        };
        Crew::run(cores(), &stop, begin, |crew| {
            run.content(&scope, crew, &mut tell)
        })?;
        run.further(&scope)?;
        run.seal(&scope)?;
        let mut losses = run.losses.losses;
        losses.extend(others.into_inner().unwrap_or_else(PoisonError::into_inner));
        losses.sort_by(|a, b| order(&a.path, &b.path));
        Ok(losses)
    }

    fn go_on(&self) -> Result<()> {
        match self.interrupt.is_set() {
            true => Err(state_api::Error::Interrupted.into()),
            false => Ok(()),
        }
    }
}

struct Run<'a> {
    job: Job<'a>,
    members: Members<'a>,
    beneath: Beneath<'a>,
    losses: Losses<'a>,
    /// Files outside the wanted path that may have further names inside it, and the first such
    /// name once it has been made.
    elsewhere: HashMap<Vec<u8>, (Record, Option<Vec<u8>>)>,
    /// How much content there is.
    bytes: &'a AtomicU64,
}

/// Files that go to a worker together: those of one frame, so that it is read once.
#[derive(Default)]
struct Batch {
    files: Vec<Record>,
    frame: (usize, u64),
}

/// As many files go to a worker at once, however small they are.
const MOST_FILES: usize = 1024;

fn failed(doing: &str, record: &Record) -> impl Fn(io::Error) -> Error {
    let name = String::from_utf8_lossy(&name(&record.path)).into_owned();
    let doing = doing.to_owned();
    move |error| Error::os(format!("{doing} {name}"), error)
}

impl<'a> Run<'a> {
    fn new(job: Job<'a>, stage: BorrowedFd<'a>, bytes: &'a AtomicU64) -> Self {
        Self {
            job,
            members: job.archive.members(),
            beneath: Beneath::new(stage),
            losses: Losses {
                owners: job.owners,
                losses: Vec::new(),
            },
            elsewhere: HashMap::new(),
            bytes,
        }
    }

    /// Directories, and files by the crew.
    fn content(
        &mut self,
        scope: &Scope,
        crew: &Crew<Vec<Record>>,
        tell: &mut dyn FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut batch = Batch::default();
        let mut entries = 0;
        for record in self.job.archive.records_of(scope) {
            let (record, _) = record?;
            entries += 1;
            tell(entries, &record.path)?;
            if !self.job.wants(&record) {
                if record.store == self.job.store && record.has_links {
                    self.elsewhere.insert(record.path.clone(), (record, None));
                }
                continue;
            }
            match &record.what {
                What::Directory => self.directory(&record)?,
                What::File { .. } => {
                    let frame = (record.archive, self.job.archive.frame_of(&record));
                    if frame != batch.frame || batch.files.len() >= MOST_FILES {
                        let files = std::mem::take(&mut batch.files);
                        let path = &record.path;
                        crew.give(files, &mut || tell(entries, path))?;
                    }
                    batch.frame = frame;
                    batch.files.push(record);
                }
                What::Fifo => self.fifo(&record)?,
                What::Link { target } if self.is_outside(target) == Some(false) => {
                    self.link(&record, target)?;
                }
                What::Symlink { .. } | What::Link { .. } => {} // when no file is made any more
            }
        }
        // Whatever is left, its last files are at work.
        let last = batch.files.last().map(|file| file.path.clone());
        let mut tell = || tell(entries, last.as_deref().unwrap_or_default());
        crew.give(batch.files, &mut tell)?;
        crew.finish(&mut tell)
    }

    /// Symlinks, and further names.
    fn further(&mut self, scope: &Scope) -> Result<()> {
        for record in self.job.archive.records_of(scope) {
            let (record, _) = record?;
            self.job.go_on()?;
            if !self.job.wants(&record) {
                continue;
            }
            match &record.what {
                What::Symlink { target } => self.symlink(&record, target)?,
                What::Link { target } if self.is_outside(target) != Some(false) => {
                    self.link(&record, target)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the first name of an inode lies outside what is wanted, and if so, whether it is a
    /// symlink.
    fn is_outside(&self, first: &[u8]) -> Option<bool> {
        let (first, _) = self.elsewhere.get(first)?;
        Some(matches!(first.what, What::Symlink { .. }))
    }

    /// Directories, deepest first, and what forbids further changes.
    fn seal(&mut self, scope: &Scope) -> Result<()> {
        for block in scope.blocks().rev() {
            let records = self.job.archive.block_of(block, scope)?;
            for record in records.into_iter().rev() {
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
                    self.losses.apply(&record, &place, None)?;
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
        // Nobody else gets into the staging directory: the mode may as well be right at once.
        let mode = Mode::from_raw_mode(record.mode & 0o777) | Mode::RUSR | Mode::WUSR;
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
        self.losses.apply(record, &place, None)
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
