//! Reading everything, and comparing everything with everything else.

use super::stream::Reader;
use super::{Archive, Digest, Error, Result, Source, stored};
use crate::archive::base::{Base, DELETED, is_deletable};
use crate::archive::manifest::{Part, Record, What};
use crate::archive::member::Kind;
use crate::archive::write::SUMS;
use crate::archive::{PATH_MAX, machine, sums};
use sha2::{Digest as _, Sha256};
use state_api::Interrupt;

impl Archive<'_> {
    /// Reads every byte and compares everything with everything else. Of the archives it builds
    /// on only the manifest before its own is read: they are verified by themselves.
    ///
    /// # Errors
    /// Something is not as it must be, or the run was interrupted.
    pub fn verify(&self, interrupt: &dyn Interrupt, watch: &mut dyn FnMut(&Record)) -> Result<()> {
        let found = digest(stored(self.object.source), interrupt)?;
        if found != self.label.data_sha256 {
            let why = "its digest is not the one its label names";
            return Err(self.damaged(why));
        }
        let mut reader = self.reader();
        self.verify_part(&mut reader, machine::PATH, &self.parts.index.machine)?;
        if let Some(deleted) = &self.parts.index.deleted {
            self.verify_deleted(deleted)?;
            self.verify_part(&mut reader, DELETED, deleted)?;
        }
        let before = match self.position() {
            0 => None,
            position => Some(self.at(position - 1)?),
        };
        let mut base = before.as_ref().map(|before| {
            let records = before.records().map(|record| Ok(record?.0));
            Base::new(Box::new(records), &|_| true)
        });
        let (mut gone, mut gone_bytes) = (Sha256::new(), 0);
        let mut sums = Sha256::new();
        let mut sums_bytes = 0;
        let mut line = Vec::new();
        sums::push_line(&mut line, self.parts.index.machine.sha256, machine::PATH);
        let mut records = self.records();
        while let Some((record, has_member)) = records.next().transpose()? {
            if interrupt.is_set() {
                return Err(state_api::Error::Interrupted.into());
            }
            watch(&record);
            if let Some(base) = &mut base {
                base.go(&record.path, record.what == What::Directory)?;
                let lines = base.gone();
                gone_bytes += lines.len() as u64;
                gone.update(lines);
                let is_kept = record.archive < self.position();
                if is_kept && base.here(record.store) != Some(&record) {
                    let why = "the archive before has something else there";
                    return Err(Error::member(&record.path, why));
                }
            }
            if has_member && record.archive == self.position() {
                if reader.position() != record.offset {
                    return Err(Error::member(&record.path, "it is not where it should be"));
                }
                reader.entry(
                    &record,
                    &self.parts.machine,
                    &mut |_, _| match interrupt.is_set() {
                        true => Err(state_api::Error::Interrupted.into()),
                        false => Ok(()),
                    },
                )?;
            }
            if let Some(sha256) = records.order.digest(&record) {
                sums::push_line(&mut line, sha256, &record.path);
            }
            sums.update(&line);
            sums_bytes += line.len() as u64;
            line.clear();
        }
        if let (Some(mut base), Some(part)) = (base, &self.parts.index.deleted) {
            base.end()?;
            let lines = base.gone();
            gone_bytes += lines.len() as u64;
            gone.update(lines);
            let is_it = Digest::from(gone) == part.sha256 && gone_bytes == part.size;
            // What could not be read may be missing without having been listed as gone.
            if self.label.is_complete && !is_it {
                return Err(self.damaged("./.state/deleted contradicts the manifest"));
            }
        }
        sums.update(&line);
        sums_bytes += line.len() as u64;
        let part = &self.parts.index.sums;
        if Digest::from(sums) != part.sha256 || sums_bytes != part.size {
            return Err(self.damaged("./.state/SHA256SUMS contradicts the manifest"));
        }
        self.verify_part(&mut reader, SUMS, part)?;
        if reader.position() != self.parts.index.head.offset {
            return Err(self.damaged("there is more in it than its manifest lists"));
        }
        let (member, _) = reader.member()?;
        let mut whole = Sha256::new();
        reader.pump(member.stored_bytes, &mut |bytes| {
            whole.update(bytes);
            Ok(())
        })?;
        if Digest::from(whole) != self.label.manifest_sha256 {
            return Err(self.damaged("its manifest is not the one its label names"));
        }
        Ok(())
    }

    /// Whether the list of what is gone can be acted upon.
    fn verify_deleted(&self, part: &Part) -> Result<()> {
        let mut reader = self.reader();
        reader.seek(part.offset)?;
        let (member, _) = reader.member()?;
        let (mut line, mut last) = (Vec::new(), None::<Vec<u8>>);
        let bad = || self.damaged("./.state/deleted lists what is no path of the tree");
        reader.pump(member.stored_bytes.min(part.size), &mut |bytes| {
            for piece in bytes.split_inclusive(|b| *b == 0) {
                line.extend_from_slice(piece);
                if line.ends_with(&[0]) {
                    if !is_deletable(&line, last.as_deref()) {
                        return Err(bad());
                    }
                    last = Some(std::mem::take(&mut line));
                } else if line.len() > PATH_MAX + 2 {
                    return Err(bad());
                }
            }
            Ok(())
        })?;
        line.is_empty().then_some(()).ok_or_else(bad)
    }

    fn verify_part(&self, reader: &mut Reader<'_>, path: &[u8], part: &Part) -> Result<()> {
        let is_here = reader.position() == part.offset;
        let (member, _) = reader.member()?;
        let is_it = member.path == path && member.stored_bytes == part.size;
        if !is_here || !is_it || member.kind != Kind::File {
            return Err(Error::member(path, "it is not where it should be"));
        }
        let mut hash = Sha256::new();
        reader.pump(part.size, &mut |bytes| {
            hash.update(bytes);
            Ok(())
        })?;
        reader.skip_padding(part.size)?;
        if Digest::from(hash) != part.sha256 {
            return Err(Error::member(path, "its digest is not the one announced"));
        }
        Ok(())
    }
}

/// The digest of an object as it is stored.
///
/// # Errors
/// It cannot be read, or the run was interrupted.
pub fn digest(source: &dyn Source, interrupt: &dyn Interrupt) -> Result<Digest> {
    const CHUNK: u64 = 4 << 20;
    let mut hash = Sha256::new();
    let mut at = 0;
    while at < source.length() {
        if interrupt.is_set() {
            return Err(state_api::Error::Interrupted.into());
        }
        let length = CHUNK.min(source.length() - at);
        hash.update(source.read(at, length as usize)?);
        at += length;
    }
    Ok(hash.into())
}
