//! The order in which an archive's entries are made.

use super::Job;
use super::attributes::Losses;
use super::beneath::Beneath;
use crate::archive::crew::Crew;
use crate::archive::manifest::{Record, What};
use crate::archive::member::name;
use crate::archive::read::{Members, Scope};
use crate::archive::{Error, Result};
use rustix::fs::OFlags;
use state_linux::metadata::{Flags, Place};
use state_linux::stat::Stat;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::AtomicU64;

/// As many files go to a worker at once, however small they are.
const MOST_FILES: usize = 1024;

/// What the lines have in them of what is made last, and of what is sealed: within a string no
/// quotation mark stands without a backslash.
const FURTHER: &[&str] = &["\"type\":\"symlink\"", "\"type\":\"link\""];
const SEALED: &[&str] = &["\"type\":\"directory\"", "\"flags\":"];

/// One thread's part of the work.
pub(super) struct Run<'a> {
    pub(super) job: Job<'a>,
    pub(super) members: Members<'a>,
    pub(super) beneath: Beneath<'a>,
    pub(super) losses: Losses<'a>,
    /// Files outside the wanted path that may have further names inside it, and the first such
    /// name once it has been made.
    pub(super) elsewhere: HashMap<Vec<u8>, (Record, Option<Vec<u8>>)>,
    /// How much content there is.
    pub(super) bytes: &'a AtomicU64,
}

/// Files that go to a worker together: those of one frame, so that it is read once. Among the files of
/// an archive others lie that have changed since: of each archive of the chain there may be one frame.
#[derive(Default)]
struct Batch {
    files: Vec<Record>,
    frames: BTreeMap<usize, u64>,
}

impl Batch {
    /// Whether something of this frame of this archive belongs into the next batch.
    fn is_full_for(&self, archive: usize, frame: u64) -> bool {
        let other = self.frames.get(&archive).is_some_and(|has| *has != frame);
        other || self.files.len() >= MOST_FILES
    }
}

pub(super) fn failed(doing: &str, record: &Record) -> impl Fn(io::Error) -> Error {
    let name = String::from_utf8_lossy(&name(&record.path)).into_owned();
    let doing = doing.to_owned();
    move |error| Error::os(format!("{doing} {name}"), error)
}

impl<'a> Run<'a> {
    pub(super) fn new(job: Job<'a>, stage: BorrowedFd<'a>, bytes: &'a AtomicU64) -> Self {
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
    pub(super) fn content(
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
                    let frame = self.job.archive.frame_of(&record);
                    if batch.is_full_for(record.archive, frame) {
                        let Batch { files, .. } = std::mem::take(&mut batch);
                        let path = &record.path;
                        crew.give(files, &mut || tell(entries, path))?;
                    }
                    batch.frames.insert(record.archive, frame);
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
    pub(super) fn further(&mut self, scope: &Scope) -> Result<()> {
        for block in scope.blocks() {
            self.job.go_on()?;
            for record in self.job.archive.block_with(block, scope, FURTHER)? {
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
    pub(super) fn seal(&mut self, scope: &Scope) -> Result<()> {
        for block in scope.blocks().rev() {
            let records = self.job.archive.block_with(block, scope, SEALED)?;
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
                    let found = Stat::of_open(&open).map_err(failed("looking at", &record))?;
                    self.losses.apply(&record, &place, Some(&found))?;
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
}
