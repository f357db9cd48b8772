//! Initrds that were made: where they are, what is in them, and what speaks against booting them.

mod compression;
mod cpio;
pub mod elf;
pub mod find;
pub mod judge;
mod order;
pub mod uki;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};

/// What an initrd unpacks to, as far as anybody asks.
#[derive(Debug, Default)]
pub struct Tree {
    entries: BTreeMap<String, Entry>,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    /// A file; its content only where it was wanted.
    File(Option<Vec<u8>>),
    /// A symlink, and what it says.
    Link(String),
    /// A directory or a device.
    Other,
}

impl Tree {
    /// Reads an initrd, or the one within a unified kernel image. Of the files that `is_wanted` names
    /// the content is kept. What one archive has and a later one too is the later one's, as the
    /// kernel has it.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub fn read(mut file: File, is_wanted: &dyn Fn(&str) -> bool) -> io::Result<Self> {
        let end = uki::seek_initrd(&mut file)?;
        let mut tree = Self::default();
        let mut source = BufReader::new(io::Read::take(file, end));
        let mut reader = cpio::Reader::new(&mut tree, is_wanted);
        // Archives one after the other, padded by zeros; the last one mostly compressed.
        while let Some(first) = next(&mut source)? {
            if first == b'0' {
                reader.archive(&mut source)?;
                continue;
            }
            let mut unpacked = compression::unpack(source)?;
            while next(&mut unpacked)?.is_some() {
                reader.archive(&mut unpacked)?;
            }
            break;
        }
        match tree.entries.is_empty() {
            true => Err(wrong("it is empty")),
            false => Ok(tree),
        }
    }

    fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path.trim_start_matches('/'))
    }

    fn content(&self, path: &str) -> Option<&[u8]> {
        match self.get(path)? {
            Entry::File(content) => content.as_deref(),
            _ => None,
        }
    }

    fn has_file_named(&self, matches: impl Fn(&str) -> bool) -> bool {
        self.entries.iter().any(|(path, entry)| {
            *entry != Entry::Other && matches(path.rsplit('/').next().unwrap_or(path))
        })
    }
}

/// The first byte that is no padding; `None` at the end.
fn next(source: &mut dyn BufRead) -> io::Result<Option<u8>> {
    loop {
        let buffer = source.fill_buf()?;
        if buffer.is_empty() {
            return Ok(None);
        }
        let zeros = buffer.iter().take_while(|byte| **byte == 0).count();
        let first = buffer.get(zeros).copied();
        source.consume(zeros);
        if first.is_some() {
            return Ok(first);
        }
    }
}

fn wrong(fact: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, fact)
}

#[cfg(test)]
mod tests;
