//! One path out of a manifest: which blocks of it have to be read, and which of their lines.

use super::{Archive, Result};
use crate::archive::crew::share;
use crate::archive::frame::FRAME_BYTES;
use crate::archive::manifest::{BLOCK_BYTES, Bytes, Index, Record, What, above, order};
use crate::archive::member::name;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

/// A part of a manifest.
#[derive(Debug, Clone)]
pub struct Scope {
    blocks: Arc<[usize]>,
    /// `None`: everything.
    part: Option<Arc<Part>>,
}

/// One path, what is below it, and what that needs.
#[derive(Debug)]
struct Part {
    under: Vec<u8>,
    /// The path, first names of inodes that have further ones below it, and all the directories
    /// that lead to these.
    names: BTreeSet<Vec<u8>>,
    /// How lines name what is below the path: what leads to it is a beginning of that.
    below: String,
    /// Those of the names that do not lead to the path, as lines have them: there may be as many as
    /// files.
    others: HashSet<String>,
    /// The records of blocks that were read, by number, as long as they are few.
    found: Mutex<BTreeMap<usize, Vec<Record>>>,
}

/// The records of so many blocks are kept: those of a path with little below it.
const KEPT_BLOCKS: usize = 16;
/// How long such a block may be: none but those with very many attributes is longer.
const KEPT_BYTES: u64 = 2 * BLOCK_BYTES as u64;

/// So few entries are little, if their content is not longer than a frame.
const LITTLE_ENTRIES: usize = 64;

const PATH: &str = "{\"path\":";

impl Scope {
    /// The whole of a manifest with so many blocks.
    pub(super) fn all(blocks: usize) -> Self {
        Self {
            blocks: (0..blocks).collect(),
            part: None,
        }
    }

    /// Whether it is the whole manifest.
    pub(super) fn is_all(&self) -> bool {
        self.part.is_none()
    }

    /// The numbers of the blocks that it takes, in order.
    pub fn blocks(&self) -> impl DoubleEndedIterator<Item = usize> + '_ {
        self.blocks.iter().copied()
    }

    fn part(index: &Index, under: &[u8], also: &[Vec<u8>]) -> Self {
        let mut names = BTreeSet::new();
        for path in also.iter().map(Vec::as_slice).chain([under]) {
            names.extend(above(path).map(<[u8]>::to_vec));
            names.insert(path.to_vec());
        }
        names.insert(Vec::new());
        let mut blocks = BTreeSet::new();
        for path in &names {
            let mut n = index.first_for(path);
            while let Some(block) = index.blocks.get(n) {
                let first = block.first.0.strip_prefix(b"./").unwrap_or_default();
                let is_beyond = order(first, path) == Ordering::Greater;
                if is_beyond && !(path == under && is_below(first, under)) {
                    break;
                }
                blocks.insert(n);
                n += 1;
            }
        }
        let json = |path: &[u8]| serde_json::to_string(&Bytes(name(path))).expect("bytes are JSON");
        // Where that is no text it begins nothing: such lines are always read.
        let path = json(under);
        let below = format!("{}/", path.strip_suffix('"').unwrap_or(&path));
        let leads = |path: &[u8]| path.is_empty() || path == under || is_below(under, path);
        let others = names.iter().filter(|path| !leads(path));
        Self {
            blocks: blocks.into_iter().collect(),
            part: Some(Arc::new(Part {
                under: under.to_vec(),
                others: others.map(|path| json(path)).collect(),
                names,
                below,
                found: Mutex::default(),
            })),
        }
    }

    /// Whether a line may be of a record that is wanted: nearly all are of none, and only the record
    /// tells.
    fn wants_line(&self, line: &str) -> bool {
        let Some(part) = &self.part else { return true };
        // Of names that are no text only the record tells anything.
        let Some(json) = line.strip_prefix(PATH).filter(|json| json.starts_with('"')) else {
            return true;
        };
        let (name, below) = (json.as_bytes(), part.below.as_bytes());
        let same = name.iter().zip(below).take_while(|(a, b)| a == b).count();
        let leads = || name.get(same) == Some(&b'"');
        let is_other = || text(json).is_none_or(|name| part.others.contains(name));
        same == below.len() || leads() || (!part.others.is_empty() && is_other())
    }

    fn found(&self, block: usize) -> Option<Vec<Record>> {
        let found = self.part.as_ref()?.found.lock();
        let found = found.unwrap_or_else(PoisonError::into_inner);
        found.get(&block).cloned()
    }

    fn keep(&self, block: usize, records: &[Record]) {
        let Some(part) = &self.part else { return };
        let found = part.found.lock();
        let mut found = found.unwrap_or_else(PoisonError::into_inner);
        if found.len() < KEPT_BLOCKS {
            found.insert(block, records.to_vec());
        }
    }

    /// Whether it is known to be so little that one thread is done with it before a second has begun.
    pub(in crate::archive) fn is_little(&self) -> bool {
        let Some(part) = &self.part else { return false };
        let found = part.found.lock();
        let found = found.unwrap_or_else(PoisonError::into_inner);
        let records = || found.values().flatten();
        let bytes = records().map(|record| record.what.data_bytes());
        found.len() == self.blocks.len()
            && records().count() <= LITTLE_ENTRIES
            && bytes.fold(0, u64::saturating_add) <= FRAME_BYTES as u64
    }

    fn wants(&self, record: &Record) -> bool {
        self.part.as_ref().is_none_or(|part| {
            part.names.contains(&record.path) || is_below(&record.path, &part.under)
        })
    }
}

/// The JSON text that `json` begins with, in its quotes.
fn text(json: &str) -> Option<&str> {
    let mut is_escaped = false;
    let end = json.strip_prefix('"')?.bytes().position(|byte| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    })?;
    Some(&json[..end + 2])
}

fn is_below(path: &[u8], top: &[u8]) -> bool {
    let rest = path.strip_prefix(top);
    rest.is_some_and(|rest| rest.starts_with(b"/"))
}

impl Archive<'_> {
    /// What of the manifest has to be read for a path and what is below it: their own records,
    /// those of the directories that lead there, and first names elsewhere of inodes that have
    /// further ones there. `None`: everything.
    ///
    /// # Errors
    /// A block is damaged.
    pub fn scope(&self, under: Option<&[u8]>) -> Result<Scope> {
        let Some(under) = under.filter(|under| !under.is_empty()) else {
            return Ok(Scope::all(self.blocks()));
        };
        let last = || {
            let last = self.parts.scope.lock();
            last.unwrap_or_else(PoisonError::into_inner)
        };
        if let Some((path, scope)) = &*last()
            && path == under
        {
            return Ok(scope.clone());
        }
        let scope = self.find_scope(under)?;
        *last() = Some((under.to_vec(), scope.clone()));
        Ok(scope)
    }

    fn find_scope(&self, under: &[u8]) -> Result<Scope> {
        let index = self.index();
        let scope = Scope::part(index, under, &[]);
        self.read_ahead(&scope);
        let mut elsewhere = Vec::new();
        for n in scope.blocks() {
            for record in self.block_of(n, &scope)? {
                if let What::Link { target } = record.what
                    && !is_below(&target, under)
                {
                    elsewhere.push(target);
                }
            }
        }
        Ok(match elsewhere.is_empty() {
            true => scope,
            false => Scope::part(index, under, &elsewhere),
        })
    }

    /// Reads the blocks of a scope by two threads, if they are kept: who wants one path waits for little
    /// else. What is wrong with one is told when its turn comes.
    fn read_ahead(&self, scope: &Scope) {
        let is_kept = |n: usize| self.index().blocks[n].length <= KEPT_BYTES;
        let count = scope.blocks.len();
        if !(2..=KEPT_BLOCKS).contains(&count) || !scope.blocks().all(is_kept) {
            return;
        }
        share(count, 2, || {
            |n: usize| {
                drop(self.block_of(scope.blocks[n], scope));
                true
            }
        });
    }

    /// The records of one block that a scope takes.
    ///
    /// # Errors
    /// It is not what the index says.
    pub fn block_of(&self, n: usize, scope: &Scope) -> Result<Vec<Record>> {
        if let Some(records) = scope.found(n) {
            return Ok(records);
        }
        let mut records = self.block_where(n, &|line| scope.wants_line(line))?;
        records.retain(|record| scope.wants(record));
        if self.index().blocks[n].length <= KEPT_BYTES {
            scope.keep(n, &records);
        }
        Ok(records)
    }

    /// The same of those records alone that have one of `marks` in their lines, and maybe some
    /// others: what is looked at once more for a few need not be taken apart whole.
    ///
    /// # Errors
    /// Those of [`Archive::block_of`].
    pub fn block_with(&self, n: usize, scope: &Scope, marks: &[&str]) -> Result<Vec<Record>> {
        if !scope.is_all() {
            return self.block_of(n, scope);
        }
        self.block_where(n, &|line| marks.iter().any(|mark| line.contains(mark)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_ends_with_its_own_quote() {
        for (json, wanted) in [
            (r#""./a","kind":"#, Some(r#""./a""#)),
            (r#""./a\"b\\","#, Some(r#""./a\"b\\""#)),
            (r#""","#, Some(r#""""#)),
            (r#""./a\","#, None),
            ("[1,2]", None),
            ("", None),
        ] {
            assert_eq!(text(json), wanted, "{json}");
        }
    }
}
