//! The frame around a manifest's records: its head, and the index of its blocks at its end.
//!
//! The whole is one JSON document with one record per line:
//!
//! ```text
//! {"format":1,"id":…,"parents":[…],"stores":[…],"entries":[
//!  {"path":"./",…}
//! ,{"path":"./etc",…}
//! ],"blocks":[…],"totals":{…},…}
//! ```

use super::{Bytes, Digest, Record};
use crate::archive::{Bad, FORMAT, MOST_CHAIN};
use serde::{Deserialize, Serialize};
use std::io;

/// How much of the manifest is one block: what must be read to learn about one path.
pub const BLOCK_BYTES: usize = 256 << 10;
/// The largest block that is read: one record may hold a megabyte of attributes.
pub const MOST_BLOCK_BYTES: u64 = 16 << 20;

/// The first line of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Head {
    /// [`FORMAT`].
    pub format: u64,
    /// The archive's id.
    pub id: String,
    /// The archives it builds on, the full one first. A record's `archive` counts in this list,
    /// and then comes this archive: equal records of one chain are equal lines.
    pub parents: Vec<Parent>,
    /// The stores, by the directories they were mounted at.
    pub stores: Vec<Bytes>,
}

/// An archive that another one builds on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Parent {
    /// Its id.
    pub id: String,
    /// The digest of its manifest's index, as its label has it: no other archive can take its
    /// place.
    pub index_sha256: Digest,
}

impl Head {
    /// The archive's place in its chain.
    pub fn position(&self) -> usize {
        self.parents.len()
    }

    /// The line, which leaves a list open.
    pub fn to_line(&self) -> String {
        let json = serde_json::to_string(self).expect("a head is JSON");
        let open = json.strip_suffix('}').expect("it is an object");
        format!("{open},\"entries\":[\n")
    }

    /// Reads the line back.
    ///
    /// # Errors
    /// It is not what [`Head::to_line`] writes.
    pub fn from_line(line: &str) -> Result<Self, Bad> {
        let bad = || Bad::from("a manifest without a head");
        let open = line.strip_suffix(",\"entries\":[\n").ok_or_else(bad)?;
        let head: Self = serde_json::from_str(&format!("{open}}}")).map_err(|_| bad())?;
        let mut chain: Vec<&str> = head.parents.iter().map(|p| p.id.as_str()).collect();
        chain.push(&head.id);
        // Ids grow along a chain: nothing builds on itself.
        let is_ours =
            head.format == FORMAT && chain.len() <= MOST_CHAIN && chain.is_sorted_by(|a, b| a < b);
        (is_ours && head.to_line() == line)
            .then_some(head)
            .ok_or_else(bad)
    }
}

/// A stretch of records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Block {
    /// The name of its first record's path.
    pub first: Bytes,
    /// Where it begins in the tar. It ends with a frame.
    pub offset: u64,
    /// Its length.
    pub length: u64,
    /// How many records it holds.
    pub entries: u64,
    /// Its digest.
    pub sha256: Digest,
}

/// A member that is not an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Part {
    /// Where its headers begin in the tar.
    pub offset: u64,
    /// Its size.
    pub size: u64,
    /// Its digest.
    pub sha256: Digest,
}

/// What the archive holds in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Totals {
    /// Records.
    pub entries: u64,
    /// Regular files, further names not counted.
    pub files: u64,
    /// Their sizes, holes not counted.
    pub bytes: u64,
    /// How long the tar is up to the end of the last entry.
    pub tar_bytes: u64,
}

/// Something that is not in the archive, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Missing {
    /// Its path on the machine.
    pub path: Bytes,
    /// Why it could not be had.
    pub why: String,
}

/// The end of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Index {
    /// The blocks, in order, without a gap.
    pub blocks: Vec<Block>,
    /// What the archive holds in all.
    pub totals: Totals,
    /// The manifest's own headers and head line.
    pub head: Part,
    /// `.state/machine.json`.
    pub machine: Part,
    /// `.state/deleted`, in an archive that builds on another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Part>,
    /// `.state/SHA256SUMS`.
    pub sums: Part,
    /// What should be in the archive and could not be had. Empty: the archive is complete.
    pub incomplete: Vec<Missing>,
    /// What is left out on purpose: sockets and device nodes.
    pub left_out: Vec<Missing>,
}

impl Index {
    /// The end of the document.
    pub fn to_text(&self) -> String {
        let json = serde_json::to_string(self).expect("an index is JSON");
        let inner = json.strip_prefix('{').expect("it is an object");
        format!("],{inner}\n")
    }

    /// Reads it back from the last frame of an archive, with what follows it there.
    ///
    /// # Errors
    /// It is not what [`Index::to_text`] writes, or something else follows.
    pub fn from_frame(frame: &[u8]) -> Result<(Self, &[u8]), Bad> {
        let bad = || Bad::from("no index at the end of the manifest");
        let end = frame.iter().position(|b| *b == b'\n').ok_or_else(bad)? + 1;
        let (text, rest) = frame.split_at(end);
        let inner = text.strip_prefix(b"],").ok_or_else(bad)?;
        let json = [b"{", inner].concat();
        let index: Self = serde_json::from_slice(&json).map_err(|_| bad())?;
        let mut left = Left(&json);
        let is_ours = serde_json::to_writer(&mut left, &index).is_ok() && left.0 == b"\n";
        if !is_ours || rest.iter().any(|b| *b != 0) {
            return Err(bad());
        }
        let mut end = None;
        for block in &index.blocks {
            let joins = end.is_none_or(|end| end == block.offset);
            if !joins || block.length == 0 || block.length > MOST_BLOCK_BYTES {
                return Err("an index whose blocks do not join".into());
            }
            end = block.offset.checked_add(block.length);
        }
        Ok((index, text))
    }

    /// The number of the first block that can hold `path`.
    pub fn first_for(&self, path: &[u8]) -> usize {
        let before = |block: &Block| {
            let first = block.first.0.strip_prefix(b"./").unwrap_or_default();
            super::order(first, path).is_lt()
        };
        self.blocks.partition_point(before).saturating_sub(1)
    }
}

/// What has yet to be written for it to be the same: an index is long, and need not be made twice to be
/// compared.
struct Left<'a>(&'a [u8]);

impl io::Write for Left<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self
            .0
            .strip_prefix(bytes)
            .ok_or(io::ErrorKind::InvalidData)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Appends a record to a block's text. `is_first` says whether it is the manifest's first.
pub fn push_line(block: &mut Vec<u8>, record: &Record, is_first: bool) {
    block.push(if is_first { b' ' } else { b',' });
    record.push_line(block);
    block.push(b'\n');
}

/// The records of a block's text. `is_first` says whether the block is the manifest's first.
///
/// # Errors
/// A line is not what [`push_line`] writes.
pub fn records(block: &[u8], is_first: bool) -> Result<Vec<Record>, Bad> {
    records_where(block, is_first, &mut |_| true)
}

/// Those records of a block's text whose lines are `wanted`. `is_first` says
/// whether the block is the manifest's first.
///
/// # Errors
/// A line is not what [`push_line`] writes.
pub fn records_where(
    block: &[u8],
    is_first: bool,
    wanted: &mut dyn FnMut(&str) -> bool,
) -> Result<Vec<Record>, Bad> {
    let text = std::str::from_utf8(block).map_err(|_| "a manifest that is no text")?;
    let mut records = Vec::new();
    for (n, line) in text.split_inclusive('\n').enumerate() {
        let lead = if is_first && n == 0 { ' ' } else { ',' };
        let line = line
            .strip_prefix(lead)
            .and_then(|line| line.strip_suffix('\n'));
        let line = line.ok_or("a manifest with a torn line")?;
        if wanted(line) {
            records.push(Record::from_line(line)?);
        }
    }
    Ok(records)
}
