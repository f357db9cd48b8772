//! The manifest as it grows, our own members, and the end of the archive.

use super::entry::time;
use super::{MANIFEST, SUMS, Writer, Written};
use crate::archive::frame::MOST_LAST_BYTES;
use crate::archive::manifest::{
    BLOCK_BYTES, Block, Bytes, Digest, Head, Index, Part, Record, What, push_line,
};
use crate::archive::member::{BLOCK, Extra, Kind, Member, name, padded};
use crate::archive::pax::Time;
use crate::archive::{Error, FORMAT, Result};
use state_linux::stat;
use state_linux::tree::Entry;
use std::path::PathBuf;

impl Writer<'_, '_> {
    pub(super) fn record(
        &mut self,
        store: usize,
        entry: &Entry,
        path: &[u8],
        what: What,
        extra: Extra,
        offset: u64,
    ) -> Result<()> {
        let record = Record {
            path: path.to_vec(),
            store,
            what,
            mode: entry.stat.mode,
            uid: entry.stat.uid,
            gid: entry.stat.gid,
            modified: time(entry.stat.modified),
            extra,
            has_links: entry.stat.links > 1 && entry.stat.kind != stat::Kind::Directory,
            archive: 0,
            offset,
            inode: entry.stat.id.inode,
            changed: time(entry.stat.changed),
        };
        if self.block_entries == 0 {
            self.block_first = name(path);
        }
        let is_first = self.totals.entries == 0;
        push_line(self.manifest.pending(), &record, is_first);
        self.totals.entries += 1;
        self.totals.tar_bytes = self.tar.position();
        self.block_entries += 1;
        if self.manifest.pending().len() >= BLOCK_BYTES {
            self.end_block()?;
        }
        Ok(())
    }

    fn end_block(&mut self) -> Result<()> {
        let offset = self.manifest.length(); // the tar's own offset is known at the end
        if let Some((sha256, length)) = self.manifest.cut(&mut self.tar)? {
            self.blocks.push(Block {
                first: Bytes(std::mem::take(&mut self.block_first)),
                offset,
                length,
                entries: std::mem::take(&mut self.block_entries),
                sha256,
            });
        }
        Ok(())
    }

    /// A member of ours.
    fn own(&self, path: &[u8], stored_bytes: u64) -> Result<Vec<u8>> {
        let at: chrono::DateTime<chrono::Utc> = (self.machine.time.parse()).unwrap_or_default();
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

    /// A member of ours in a frame of its own.
    pub(super) fn part(&mut self, path: &[u8], content: &[u8]) -> Result<Part> {
        let size = content.len() as u64;
        let headers = self.own(path, size)?;
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
        absent: Vec<PathBuf>,
        orphans: Vec<PathBuf>,
    ) -> Result<Written> {
        self.end_block()?;
        self.sums.cut(&mut self.tar)?;
        let sums = Part {
            offset: self.tar.position(),
            size: self.sums.length(),
            sha256: self.sums.digest(),
        };
        let headers = self.own(SUMS, sums.size)?;
        self.tar.push(&headers)?;
        self.tar.cut()?;
        self.tar.collected(&self.sums)?;
        self.tar.pad(sums.size)?;

        let head_line = self.head().to_line().into_bytes();
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
            deleted: None,
            sums,
            incomplete: std::mem::take(&mut self.incomplete),
            left_out: std::mem::take(&mut self.left_out),
        };
        // The headers come before the index, whose text holds offsets that depend on their length.
        let mut headers = self.own(MANIFEST, 0)?;
        let text = loop {
            let first = index.head.offset + headers.len() as u64 + index.head.size;
            index.blocks = self.blocks.clone();
            index
                .blocks
                .iter_mut()
                .for_each(|block| block.offset += first);
            let text = index.to_text().into_bytes();
            let size = index.head.size + self.manifest.length() + text.len() as u64;
            let again = self.own(MANIFEST, size)?;
            let is_settled = again.len() == headers.len();
            headers = again;
            if is_settled {
                break text;
            }
        };
        self.tar.push(&headers)?;
        self.tar.push(&head_line)?;
        self.tar.cut()?;
        self.tar.collected(&self.manifest)?;
        let size = index.head.size + self.manifest.length() + text.len() as u64;
        let mut end = text.clone();
        end.resize(text.len() + (padded(size) - size) as usize + 2 * BLOCK, 0);
        if end.len() > MOST_LAST_BYTES {
            let why = "the manifest's index is longer than any that is read";
            return Err(Error::os("ending the archive", std::io::Error::other(why)));
        }
        self.tar.whole_frame(&end)?;

        let manifest_sha256 = self.manifest.digest_with(&text);
        self.tar.finish()?;
        Ok(Written {
            totals: index.totals,
            incomplete: index.incomplete,
            left_out: index.left_out,
            absent,
            orphans,
            manifest_sha256,
            index_sha256: Digest::of(&text),
        })
    }

    pub(super) fn head(&self) -> Head {
        Head {
            format: FORMAT,
            id: self.machine.id.clone(),
            parents: Vec::new(),
            stores: self.machine.stores.iter().map(|s| s.path.clone()).collect(),
        }
    }
}
