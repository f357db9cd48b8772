//! Extracting into a staging directory that nobody else uses.
//!
//! The manifest says what is made; the tar only provides what it announced. Nothing is followed:
//! directories come first, files by several threads, symlinks when no file is made any more,
//! further names link only to what this run made. Directories get their modes and times last, deepest first, and
//! whatever forbids changes comes after everything else.

mod attributes;
mod beneath;
mod make;
mod run;

use super::crew::{Crew, cores_for};
use super::manifest::{Record, What, is_in, order};
use super::owners::Owners;
use super::read::{Archive, Stop};
use super::{Progress, Result};
use run::Run;
use state_api::Interrupt;
use std::os::fd::BorrowedFd;
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
        let Some(under) = self.under else {
            return record.store == self.store;
        };
        let leads = record.what == What::Directory && is_in(under, &record.path);
        record.store == self.store && (leads || is_in(&record.path, under))
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
        Crew::run(cores_for(&scope), &stop, begin, |crew| {
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
