//! A manifest that is believed, as text.
//!
//! Of hundreds of thousands of records an increment changes a few. The others are the same lines in the
//! next manifest: they are not taken apart, but passed over and passed on as text.

use super::{Passed, Spots};
use crate::archive::manifest::{Record, inode_of, order, place_of};
use crate::archive::{Bad, Error, Result};
use memchr::memmem;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::io;
use std::sync::Arc;

/// What a line says that may not be passed on unseen. Quotes inside of strings are escaped: it is found nowhere
/// else in a line.
const SPECIAL: [&str; 2] = [",\"links\":true", ",\"sparse\":true"];

/// Blocks of a manifest's lines. Whoever hands them over has compared them with digests that are
/// believed.
pub type Blocks<'a> = Box<dyn Iterator<Item = Result<String>> + Send + 'a>;

/// Goes through the lines of a manifest.
pub struct Lines<'a> {
    blocks: Blocks<'a>,
    text: Arc<String>,
    /// Where each line of the block begins, and where the last one ends.
    starts: Vec<usize>,
    /// The numbers of the lines that are special.
    special: Vec<usize>,
    /// The number of the next line.
    at: usize,
}

/// Lines that follow each other, none of them special.
#[derive(Debug, Clone)]
pub struct Stretch {
    block: Arc<String>,
    begin: usize,
    end: usize,
    lines: usize,
}

impl Stretch {
    /// The lines, each with what is before its record and with its line feed.
    pub fn text(&self) -> &str {
        &self.block[self.begin..self.end]
    }

    /// How many.
    pub fn lines(&self) -> usize {
        self.lines
    }
}

impl fmt::Debug for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl<'a> Lines<'a> {
    /// The lines of these blocks.
    pub fn new(blocks: Blocks<'a>) -> Self {
        Self {
            blocks,
            text: Arc::default(),
            starts: vec![0],
            special: Vec::new(),
            at: 0,
        }
    }

    /// Has a line ready; `false`: there is none any more.
    fn is_ready(&mut self) -> Result<bool> {
        while self.at + 1 >= self.starts.len() {
            let Some(text) = self.blocks.next().transpose()? else {
                return Ok(false);
            };
            self.starts.clear();
            self.starts.push(0);
            let ends = memchr::memchr_iter(b'\n', text.as_bytes());
            self.starts.extend(ends.map(|end| end + 1));
            if self.starts.last() != Some(&text.len()) {
                return Err(bad("a manifest with a torn line".into()));
            }
            self.special.clear();
            for what in SPECIAL {
                for at in memmem::find_iter(text.as_bytes(), what) {
                    self.special
                        .push(self.starts.partition_point(|start| *start <= at) - 1);
                }
            }
            self.special.sort_unstable();
            self.text = Arc::new(text);
            self.at = 0;
        }
        Ok(true)
    }

    /// A line's record.
    fn line(&self, n: usize) -> &str {
        let line = &self.text[self.starts[n]..self.starts[n + 1]];
        // One byte before it: a space, or a comma.
        line.get(1..line.len() - 1).unwrap_or_default()
    }

    fn place(&self, n: usize) -> Result<(Cow<'_, [u8]>, usize)> {
        place_of(self.line(n)).ok_or_else(|| bad("a bad record".into()))
    }

    pub(super) fn peek(&mut self) -> Result<Option<(Cow<'_, [u8]>, usize)>> {
        match self.is_ready()? {
            true => self.place(self.at).map(Some),
            false => Ok(None),
        }
    }

    pub(super) fn take(&mut self) -> Result<Option<Record>> {
        if !self.is_ready()? {
            return Ok(None);
        }
        let record = Record::from_own_line(self.line(self.at)).map_err(bad)?;
        self.at += 1;
        Ok(Some(record))
    }

    pub(super) fn pass(&mut self) -> Result<Option<Passed<'_>>> {
        if !self.is_ready()? {
            return Ok(None);
        }
        self.at += 1;
        let passed = inode_of(self.line(self.at - 1));
        let passed = passed.map(|(path, store, kind, inode)| Passed {
            path,
            store,
            is_directory: kind == "directory",
            inode,
        });
        passed.map(Some).ok_or_else(|| bad("a bad record".into()))
    }

    pub(super) fn stretch(
        &mut self,
        spots: &mut Spots,
        limit: Option<&[u8]>,
    ) -> Result<Option<Stretch>> {
        if !self.is_ready()? {
            return Ok(None);
        }
        let first = self.at;
        let special = self.special.partition_point(|n| *n < first);
        let special = self.special.get(special).copied();
        let most = special.unwrap_or(self.starts.len() - 1);
        let is_before = |path: &[u8], limit: Option<&[u8]>| {
            limit.is_none_or(|limit| order(path, limit) == Ordering::Less)
        };
        let end = if most == first {
            first
        } else {
            let (path, _) = self.place(first)?;
            match is_before(&path, limit) && !spots.are_about(&path) {
                true => self.first_behind(first, most, |path| {
                    is_before(path, limit) && is_before(path, spots.next())
                })?,
                false => first,
            }
        };
        let stretch = Stretch {
            block: Arc::clone(&self.text),
            begin: self.starts[first],
            end: self.starts[end],
            lines: end - first,
        };
        self.at = end;
        Ok((stretch.lines > 0).then_some(stretch))
    }

    /// The first line behind `first` whose path is not before something, at the latest `most`.
    fn first_behind(
        &self,
        first: usize,
        most: usize,
        is_before: impl Fn(&[u8]) -> bool,
    ) -> Result<usize> {
        // What is looked for is mostly near: steps that grow, and then halves.
        let (mut low, mut step) = (first, 1);
        let mut high = most;
        while low + step < most {
            match is_before(&self.place(low + step)?.0) {
                true => low += step,
                false => {
                    high = low + step;
                    break;
                }
            }
            step *= 2;
        }
        while low + 1 < high {
            let middle = low.midpoint(high);
            match is_before(&self.place(middle)?.0) {
                true => low = middle,
                false => high = middle,
            }
        }
        Ok(high)
    }
}

fn bad(bad: Bad) -> Error {
    Error::os("reading the last archive's manifest", io::Error::other(bad))
}
