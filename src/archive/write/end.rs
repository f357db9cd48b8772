//! The manifest as it grows, our own members, and the end of the archive.

use super::entry::OWN;
use super::plan::Walked;
use super::unit::{Lines, Listed, Made};
use super::{Frames, MANIFEST, Progress, SUMS, Writer, Written};
use crate::archive::frame::{FRAME_BYTES, MOST_LAST_BYTES};
use crate::archive::machine::Machine;
use crate::archive::manifest::{
    BLOCK_BYTES, Block, Bytes, Digest, Index, Missing, Part, Record, What, order, place_of,
    push_line,
};
use crate::archive::member::{BLOCK, Extra, Kind, Member, name, padded};
use crate::archive::pax::Time;
use crate::archive::{Error, Result, sums};

impl Writer<'_, '_> {
    /// Takes what became of the next unit.
    pub(super) fn take(&mut self, made: Made) -> Result<()> {
        let begin = self.tar.position() - made.back;
        made.frames
            .iter()
            .try_for_each(|frame| self.tar.packed_frame(frame))?;
        self.totals.files += made.files;
        self.totals.bytes += made.bytes;
        self.totals.tar_bytes = self.tar.position();
        self.notes.append(made.notes);
        for listed in made.listed {
            if self.interrupt.is_set() {
                return Err(state_api::Error::Interrupted.into());
            }
            match listed {
                Listed::Record(mut record) => {
                    if record.archive == OWN {
                        record.archive = self.parents.len();
                        record.offset += begin;
                    }
                    self.record(&record)?;
                    self.told(&record.path);
                }
                Listed::Lines(lines) => self.kept(&lines)?,
            }
        }
        Ok(())
    }

    fn told(&mut self, path: &[u8]) {
        (self.watch)(Progress {
            entries: self.totals.entries,
            bytes: self.totals.bytes,
            path,
        });
    }

    /// Takes lines of the older manifest over as they are.
    fn kept(&mut self, kept: &Lines) -> Result<()> {
        self.sums.piece().extend_from_slice(&kept.sums);
        self.cut_sums_if_full()?;
        let mut rest = kept.stretch.text();
        while !rest.is_empty() {
            let first = rest.get(1..).and_then(place_of);
            let Some((path, _)) = first else {
                let why = "a bad record in the last archive's manifest";
                return Err(Error::os("archiving", std::io::Error::other(why)));
            };
            if self.block_entries == 0 {
                self.block_first = name(&path);
            }
            // The line that fills the block is its last one.
            let block = self.manifest.piece();
            let room = BLOCK_BYTES.saturating_sub(block.len()).max(1);
            let end = rest.as_bytes().get(room - 1..);
            let end = end.and_then(|behind| memchr::memchr(b'\n', behind));
            let (lines, behind) = rest.split_at(end.map_or(rest.len(), |end| room + end));
            block.push(if self.totals.entries == 0 { b' ' } else { b',' });
            block.extend_from_slice(&lines.as_bytes()[1..]);
            let count = memchr::memchr_iter(b'\n', lines.as_bytes()).count() as u64;
            self.totals.entries += count;
            self.block_entries += count;
            self.end_block_if_full()?;
            self.told(&path);
            rest = behind;
        }
        Ok(())
    }

    pub(super) fn record(&mut self, record: &Record) -> Result<()> {
        let sha256 = match &record.what {
            What::File { sha256, .. } => {
                if record.has_links {
                    let first = (record.store, record.path.clone());
                    self.linked.insert(first, *sha256);
                }
                Some(*sha256)
            }
            What::Link { target } => self.linked.get(&(record.store, target.clone())).copied(),
            _ => None,
        };
        if let Some(sha256) = sha256 {
            sums::push_line(self.sums.piece(), sha256, &record.path);
            self.cut_sums_if_full()?;
        }
        if self.block_entries == 0 {
            self.block_first = name(&record.path);
        }
        let is_first = self.totals.entries == 0;
        push_line(self.manifest.piece(), record, is_first);
        self.totals.entries += 1;
        self.block_entries += 1;
        self.end_block_if_full()
    }

    fn cut_sums_if_full(&mut self) -> Result<()> {
        if self.sums.piece().len() >= FRAME_BYTES {
            self.sums.cut()?;
        }
        Ok(())
    }

    fn end_block_if_full(&mut self) -> Result<()> {
        if self.manifest.piece().len() >= BLOCK_BYTES {
            let offset = self.manifest.length();
            let length = self.manifest.cut()?;
            self.note_block(offset, length);
        }
        Ok(())
    }

    /// Notes where a block is, as far as it is known: its offset in the tar and its digest are
    /// filled in at the end.
    fn note_block(&mut self, offset: u64, length: u64) {
        self.blocks.push(Block {
            first: Bytes(std::mem::take(&mut self.block_first)),
            offset,
            length,
            entries: std::mem::take(&mut self.block_entries),
            sha256: Digest([0; 32]),
        });
    }

    /// A member of ours in a frame of its own.
    pub(super) fn part(&mut self, path: &[u8], content: &[u8]) -> Result<Part> {
        let size = content.len() as u64;
        let headers = own(self.machine, path, size)?;
        let offset = self.tar.position();
        self.tar.push(&headers)?;
        self.tar.push(content)?;
        self.tar.pad(size)?;
        self.tar.cut()?;
        Ok(Part {
            offset,
            size,
            sha256: Digest::of(content),
        })
    }

    pub(super) fn finish(
        mut self,
        machine: Part,
        deleted: Option<Part>,
        walked: Walked,
    ) -> Result<Written> {
        self.notes.append(walked.notes);
        self.notes.settle(self.parents.is_empty());
        // In the order of the entries, whoever noted them.
        let in_order = |a: &Missing, b: &Missing| order(&a.path.0, &b.path.0);
        self.notes.missing.sort_by(in_order);
        self.notes.left_out.sort_by(in_order);
        let (offset, last) = (self.manifest.length(), self.manifest.piece().len() as u64);
        if last > 0 {
            self.note_block(offset, last);
        }
        let pressed_sums = self.sums.end()?;
        let mut pressed = self.manifest.end()?;
        let digests = pressed.digests.iter().flatten();
        for (block, sha256) in self.blocks.iter_mut().zip(digests) {
            block.sha256 = *sha256;
        }
        let sums = Part {
            offset: self.tar.position(),
            size: self.sums.length(),
            sha256: pressed_sums.digest_with(&[]),
        };
        let headers = own(self.machine, SUMS, sums.size)?;
        self.tar.push(&headers)?;
        self.tar.cut()?;
        self.tar.frames(&pressed_sums.frames)?;
        self.tar.pad(sums.size)?;

        let head_line = self.head.to_line().into_bytes();
        let head = Part {
            offset: self.tar.position(),
            size: head_line.len() as u64,
            sha256: Digest::of(&head_line),
        };
        let mut index = Index {
            blocks: Vec::new(),
            totals: self.totals,
            head,
            machine,
            deleted,
            sums,
            incomplete: std::mem::take(&mut self.notes.missing),
            left_out: std::mem::take(&mut self.notes.left_out),
        };
        // The headers come before the index, whose text holds offsets that depend on their length.
        let mut headers = own(self.machine, MANIFEST, 0)?;
        let text = loop {
            let first = index.head.offset + headers.len() as u64 + index.head.size;
            index.blocks = self.blocks.clone();
            index
                .blocks
                .iter_mut()
                .for_each(|block| block.offset += first);
            let text = index.to_text().into_bytes();
            let size = index.head.size + self.manifest.length() + text.len() as u64;
            let again = own(self.machine, MANIFEST, size)?;
            let is_settled = again.len() == headers.len();
            headers = again;
            if is_settled {
                break text;
            }
        };
        self.tar.push(&headers)?;
        self.tar.push(&head_line)?;
        self.tar.cut()?;
        self.tar.frames(&pressed.frames)?;
        let size = index.head.size + self.manifest.length() + text.len() as u64;
        let mut end = text.clone();
        end.resize(text.len() + (padded(size) - size) as usize + 2 * BLOCK, 0);
        if end.len() > MOST_LAST_BYTES {
            let why = "the manifest's index is longer than any that is read";
            return Err(Error::os("ending the archive", std::io::Error::other(why)));
        }
        self.tar.whole_frame(&end)?;

        let manifest_sha256 = pressed.digest_with(&text);
        let (first, last) = (pressed.pack(&head_line)?, pressed.pack(&text)?);
        let blocks = pressed.frames.into_iter();
        let frames = [first].into_iter().chain(blocks).chain([last]).collect();
        self.tar.finish()?;
        Ok(Written {
            totals: index.totals,
            incomplete: index.incomplete,
            left_out: index.left_out,
            absent: walked.absent,
            orphans: walked.orphans,
            manifest: Frames(frames),
            manifest_sha256,
            index_sha256: Digest::of(&text),
        })
    }
}

/// The headers of a member of ours.
fn own(machine: &Machine, path: &[u8], stored_bytes: u64) -> Result<Vec<u8>> {
    let at: chrono::DateTime<chrono::Utc> = (machine.time.parse()).unwrap_or_default();
    let member = Member {
        path: path.to_vec(),
        kind: Kind::File,
        stored_bytes,
        mode: 0o600,
        uid: 0,
        gid: 0,
        user: Vec::new(),
        group: Vec::new(),
        modified: Time {
            seconds: at.timestamp(),
            nanoseconds: 0,
        },
        extra: Extra::default(),
    };
    (member.encode()).map_err(|bad| Error::os("encoding a member", std::io::Error::other(bad)))
}
