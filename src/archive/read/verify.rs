//! Reading everything, and comparing everything with everything else.

use super::stream::Reader;
use super::{Archive, Digest, Error, Result, Source, stored};
use crate::archive::base::{Base, DELETED, is_deletable};
use crate::archive::crew::{Crew, cores};
use crate::archive::manifest::{Part, Record, What};
use crate::archive::member::Kind;
use crate::archive::older::Older;
use crate::archive::write::SUMS;
use crate::archive::{PATH_MAX, Progress, machine, sums};
use sha2::{Digest as _, Sha256};
use state_api::Interrupt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

/// What is hashed sooner than a thread is made.
const SMALL: u64 = 1 << 20;
/// As many members go to a worker at once, however small they are.
const MOST_RECORDS: usize = 4096;

/// Members that lie one behind the other: those of a few frames.
struct Stretch {
    records: Vec<Record>,
    begin: u64,
    end: u64,
    /// What comes behind them.
    next: Vec<u8>,
}

/// The members that are yet to be given out.
struct Stretches<'c> {
    crew: &'c Crew<Stretch>,
    records: Vec<Record>,
    begin: u64,
}

impl Archive<'_> {
    /// Reads every byte and compares everything with everything else. Of the archives it builds
    /// on only the manifest before its own is read: they are verified by themselves.
    ///
    /// # Errors
    /// Something is not as it must be, or the run was interrupted.
    pub fn verify(
        &self,
        interrupt: &dyn Interrupt,
        watch: &mut dyn FnMut(Progress<'_>),
    ) -> Result<()> {
        let stop = AtomicBool::new(false);
        let bytes = AtomicU64::new(0);
        let object = stored(self.object.source);
        let altered = || self.damaged("its digest is not the one its label names");
        let is_small = object.length() <= SMALL;
        if is_small && digest(object, interrupt, &mut |_| {})? != self.label.data_sha256 {
            return Err(altered());
        }
        thread::scope(|scope| {
            let whole = || digest(object, &Stop(&stop), &mut |_| {});
            let whole = (!is_small).then(|| scope.spawn(whole));
            let begin = || {
                let mut reader = self.reader();
                let (stop, bytes) = (&stop, &bytes);
                move |stretch| self.verify_stretch(&mut reader, &stretch, stop, bytes)
            };
            let verified = Crew::run(cores(), &stop, begin, |crew| {
                self.verify_tree(crew, interrupt, watch, &bytes)
            });
            if matches!(verified, Err(Error::Other(state_api::Error::Interrupted))) {
                stop.store(true, Ordering::Relaxed);
            }
            let Some(whole) = whole else { return verified };
            let whole = whole.join();
            let whole = whole.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            // That it was altered says more than where it shows.
            match (whole, verified) {
                (Ok(found), _) if found != self.label.data_sha256 => Err(altered()),
                (Err(error), Ok(())) => Err(error),
                (_, verified) => verified,
            }
        })
    }

    fn verify_tree(
        &self,
        crew: &Crew<Stretch>,
        interrupt: &dyn Interrupt,
        watch: &mut dyn FnMut(Progress<'_>),
        bytes: &AtomicU64,
    ) -> Result<()> {
        let mut reader = self.reader();
        self.verify_part(&mut reader, machine::PATH, &self.parts.index.machine)?;
        if let Some(deleted) = &self.parts.index.deleted {
            self.verify_deleted(deleted)?;
            self.verify_part(&mut reader, DELETED, deleted)?;
        }
        let mut stretches = Stretches {
            crew,
            records: Vec::new(),
            begin: reader.position(),
        };
        let before = match self.position() {
            0 => None,
            position => Some(self.at(position - 1)?),
        };
        let mut base = before.as_ref().map(|before| {
            let records = before.records().map(|record| Ok(record?.0));
            Base::new(Older::records(records), None, &|_| true)
        });
        let (mut gone, mut gone_bytes) = (Sha256::new(), 0);
        let mut sums = Sha256::new();
        let mut sums_bytes = 0;
        let mut line = Vec::new();
        sums::push_line(&mut line, self.parts.index.machine.sha256, machine::PATH);
        let mut records = self.records();
        let mut entries = 0;
        let mut meanwhile = |path: &[u8], entries| {
            let bytes = bytes.load(Ordering::Relaxed);
            watch(Progress {
                entries,
                bytes,
                path,
            });
            match interrupt.is_set() {
                true => Err(state_api::Error::Interrupted.into()),
                false => Ok(()),
            }
        };
        while let Some((record, has_member)) = records.next().transpose()? {
            entries += 1;
            meanwhile(&record.path, entries)?;
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
            if let Some(sha256) = records.order.digest(&record) {
                sums::push_line(&mut line, sha256, &record.path);
            }
            sums.update(&line);
            sums_bytes += line.len() as u64;
            line.clear();
            if has_member && record.archive == self.position() {
                let is_cut = self.object.table.beginning_at(record.offset).is_some();
                if is_cut || stretches.records.len() >= MOST_RECORDS {
                    let next = (record.offset, record.path.as_slice());
                    stretches.end(next, &mut || meanwhile(&record.path, entries))?;
                }
                stretches.records.push(record);
            }
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
        let part = &self.parts.index.sums;
        let mut meanwhile = || meanwhile(SUMS, entries);
        stretches.end((part.offset, SUMS), &mut meanwhile)?;
        sums.update(&line);
        sums_bytes += line.len() as u64;
        if Digest::from(sums) != part.sha256 || sums_bytes != part.size {
            return Err(self.damaged("./.state/SHA256SUMS contradicts the manifest"));
        }
        reader.seek(part.offset)?;
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
        crew.finish(&mut meanwhile)
    }

    fn verify_stretch(
        &self,
        reader: &mut Reader<'_>,
        stretch: &Stretch,
        stop: &AtomicBool,
        bytes: &AtomicU64,
    ) -> Result<()> {
        let misplaced = |path: &[u8]| Error::member(path, "it is not where it should be");
        reader.seek(stretch.begin)?;
        for record in &stretch.records {
            if reader.position() != record.offset {
                return Err(misplaced(&record.path));
            }
            reader.entry(record, &self.parts.machine, &mut |_, piece| {
                bytes.fetch_add(piece.len() as u64, Ordering::Relaxed);
                match stop.load(Ordering::Relaxed) {
                    true => Err(state_api::Error::Interrupted.into()),
                    false => Ok(()),
                }
            })?;
        }
        match reader.position() == stretch.end {
            true => Ok(()),
            false => Err(misplaced(&stretch.next)),
        }
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

impl Stretches<'_> {
    /// Gives out what there is. It ends where the next member begins, at the offset of that path.
    fn end(
        &mut self,
        (end, next): (u64, &[u8]),
        meanwhile: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()> {
        if self.records.is_empty() && self.begin == end {
            return Ok(());
        }
        let stretch = Stretch {
            records: std::mem::take(&mut self.records),
            begin: std::mem::replace(&mut self.begin, end),
            end,
            next: next.to_vec(),
        };
        self.crew.give(stretch, meanwhile)
    }
}

/// An interrupt of a thread by another.
#[derive(Debug)]
pub struct Stop<'a>(pub &'a AtomicBool);

impl Interrupt for Stop<'_> {
    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The digest of an object as it is stored. `watch` hears how much of it has been read.
///
/// # Errors
/// It cannot be read, or the run was interrupted.
pub fn digest(
    source: &dyn Source,
    interrupt: &dyn Interrupt,
    watch: &mut dyn FnMut(u64),
) -> Result<Digest> {
    const CHUNK: u64 = 4 << 20;
    let mut hash = Sha256::new();
    let mut at = 0;
    while at < source.length() {
        if interrupt.is_set() {
            return Err(state_api::Error::Interrupted.into());
        }
        let length = CHUNK.min(source.length() - at);
        hash.update(source.read(at, length as usize)?);
        watch(length);
        at += length;
    }
    Ok(hash.into())
}
