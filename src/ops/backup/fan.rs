//! One archive to several targets at once: each has its own outcome, and none waits for a retry
//! of another.

use crate::archive::manifest::Digest;
use crate::archive::{Error, Result};
use crate::target::{Target, Upload, write_failure};
use sha2::{Digest as _, Sha256};
use std::io::{self, Write};

/// Writes the same bytes to every target that still takes them.
pub(super) struct Fan<'t> {
    /// In the order of the targets: the upload, or why there is none any more.
    uploads: Vec<Result<Box<dyn Upload + 't>>>,
    hash: Sha256,
    bytes: u64,
}

impl<'t> Fan<'t> {
    pub(super) fn begin(targets: &[&'t dyn Target], name: &str) -> Self {
        Self {
            uploads: targets.iter().map(|target| target.put(name)).collect(),
            hash: Sha256::new(),
            bytes: 0,
        }
    }

    /// Whether no target takes anything any more.
    pub(super) fn is_lost(&self) -> bool {
        self.uploads.iter().all(Result::is_err)
    }

    /// The first target's failure.
    pub(super) fn into_failure(self) -> Option<Error> {
        self.uploads.into_iter().find_map(Result::err)
    }

    /// Makes the object visible at each target; its size, its digest, and each target's outcome.
    pub(super) fn finish(self) -> (u64, Digest, Vec<Result<()>>) {
        let outcomes = self.uploads.into_iter().map(|upload| upload?.finish());
        (self.bytes, self.hash.into(), outcomes.collect())
    }
}

impl Write for Fan<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for upload in &mut self.uploads {
            if let Ok(open) = upload
                && let Err(error) = open.write_all(bytes)
            {
                *upload = Err(write_failure("to the target", error));
            }
        }
        if self.is_lost() {
            return Err(io::Error::other("no target is left"));
        }
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
