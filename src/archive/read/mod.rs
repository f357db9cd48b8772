//! Reading an archive: the end first, then what is asked for.
//!
//! An archive is opened by its label, which vouches for the index at the end of the manifest,
//! which vouches for the manifest's blocks, which vouch for every entry. Nothing is believed
//! before its digest is right, and what is read is bounded by what was believed before.

mod chain;
mod records;
mod scope;
mod stream;
mod verify;

pub use chain::Members;
pub use records::Records;
pub use scope::Scope;
pub(crate) use stream::Object;
pub use stream::{Piece, Reader};
pub use verify::{Stop, digest};

use super::frame::Unpacker;
use super::label::Label;
use super::machine::{self, Machine};
use super::manifest::{Digest, Head, Index, Parent, Record, records_where as parse};
use super::member::{BLOCK, Kind, padded};
use super::write::MANIFEST;
use super::{Bad, Error, Result};
use chain::Ancestor;
use std::fmt;
use std::sync::{Arc, Mutex};

/// The bytes of a data object, readable anywhere, by several threads at once.
pub trait Source: Send + Sync {
    /// What it is called, for errors.
    fn name(&self) -> &str;
    /// Its length.
    fn length(&self) -> u64;
    /// Exactly `length` bytes from `at` on.
    ///
    /// # Errors
    /// They cannot be read, or it is shorter than that.
    fn read(&self, at: u64, length: usize) -> Result<Vec<u8>>;
    /// The object as it is stored, if that is another one: what is encrypted.
    fn stored(&self) -> Option<&dyn Source> {
        None
    }
}

/// An object in memory.
impl Source for Vec<u8> {
    fn name(&self) -> &str {
        "the archive"
    }

    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, at: u64, length: usize) -> Result<Vec<u8>> {
        let begin = usize::try_from(at).unwrap_or(usize::MAX);
        let bytes = begin
            .checked_add(length)
            .and_then(|end| self.get(begin..end));
        let cut = || Error::damaged(self.name(), "it ends too early");
        bytes.map(<[u8]>::to_vec).ok_or_else(cut)
    }
}

/// The object as it is stored.
pub fn stored(source: &dyn Source) -> &dyn Source {
    source.stored().unwrap_or(source)
}

/// An archive, opened.
#[derive(Clone)]
pub struct Archive<'s> {
    object: Object<'s>,
    label: &'s Label,
    parts: Arc<Parts>,
    /// The archives it builds on, the full one first, once it was said where they are.
    ancestors: Arc<[Ancestor<'s>]>,
}

/// What opening an archive reads of it.
struct Parts {
    machine: Machine,
    head: Head,
    index: Index,
    /// The scope that was asked for last: for one path the same is looked at several times.
    scope: Mutex<Option<(Vec<u8>, Scope)>>,
    /// What decompresses the manifest's blocks: making one takes as long as a part of a block.
    unpacker: Mutex<Unpacker>,
}

impl<'s> Archive<'s> {
    /// Opens the archive that `label` is the label of. What it holds itself can be read then; for
    /// the rest see [`Archive::on`].
    ///
    /// # Errors
    /// It is cut off, altered, of a newer format, or another one than the label says.
    pub fn open(source: &'s dyn Source, label: &'s Label) -> Result<Self> {
        check_length(source, label)?;
        let object = Object::open(source)?;
        let mut reader = Reader::of(&object);
        let machine = read_machine(&object, &mut reader, label)?;
        let (index, index_bytes) = read_index(&object, reader.unpacker(), label)?;
        if Digest::of(&machine.to_text()) != index.machine.sha256 {
            return Err(object.damaged("./.state/machine.json is altered"));
        }
        let head = read_head(&object, &mut reader, &index, index_bytes)?;
        let stores = machine.stores.iter().map(|store| &store.path);
        if head.id != machine.id || !head.stores.iter().eq(stores) {
            return Err(object.damaged("its manifest is another archive's"));
        }
        let parent = label.parent.as_ref().map(|id| id.as_str());
        if head.position() as u64 != label.position
            || head.parents.last().map(|parent| parent.id.as_str()) != parent
            || machine.parent.as_deref() != parent
            || index.deleted.is_some() != parent.is_some()
        {
            return Err(object.damaged("it builds on other archives than its label says"));
        }
        Ok(Self {
            object,
            label,
            parts: Arc::new(Parts {
                machine,
                head,
                index,
                scope: Mutex::default(),
                unpacker: Mutex::new(std::mem::take(reader.unpacker())),
            }),
            ancestors: Arc::default(),
        })
    }

    fn damaged(&self, why: impl fmt::Display) -> Error {
        self.object.damaged(why)
    }

    /// The label it was opened by.
    pub fn label(&self) -> &Label {
        self.label
    }

    /// What machine and moment it is of.
    pub fn machine(&self) -> &Machine {
        &self.parts.machine
    }

    /// The archives it builds on, the full one first.
    pub fn parents(&self) -> &[Parent] {
        &self.parts.head.parents
    }

    /// What it holds in all.
    pub fn index(&self) -> &Index {
        &self.parts.index
    }

    /// How many blocks the manifest has.
    pub fn blocks(&self) -> usize {
        self.parts.index.blocks.len()
    }

    /// Those records of one block whose lines are wanted.
    ///
    /// # Errors
    /// It is not what the index says.
    fn block_where(&self, n: usize, wanted: &dyn Fn(&str) -> bool) -> Result<Vec<Record>> {
        let text = self.block_text(n)?;
        let block = &self.parts.index.blocks[n];
        let (mut lines, mut is_first_wanted) = (0, true);
        let records = parse(&text, n == 0, &mut |line| {
            lines += 1;
            let is_wanted = wanted(line);
            if lines == 1 {
                is_first_wanted = is_wanted;
            }
            is_wanted || lines == 1
        });
        let mut records = records.map_err(|bad| self.damaged(bad))?;
        let first = records
            .first()
            .map(|record| super::member::name(&record.path));
        if lines != block.entries || first.as_ref() != Some(&block.first.0) {
            return Err(self.damaged("a block of the manifest is not what the index says"));
        }
        if !is_first_wanted {
            records.remove(0);
        }
        Ok(records)
    }

    /// The lines of one block, which are those that the index vouches for.
    fn block_text(&self, n: usize) -> Result<Vec<u8>> {
        let block = &self.parts.index.blocks[n];
        let length = block.length as usize;
        let text = match self.object.table.beginning_at(block.offset) {
            // Nearly every block is one frame.
            Some((n, frame)) if frame.length as usize == length => {
                let (mut shared, mut own) = (self.parts.unpacker.try_lock(), Unpacker::default());
                let unpacker = match &mut shared {
                    Ok(shared) => shared,
                    Err(_) => &mut own, // another thread is at another block
                };
                self.object.frame(n, unpacker)?
            }
            _ => {
                let mut reader = self.reader();
                reader.seek(block.offset)?;
                reader.bytes(length)?
            }
        };
        if Digest::of(&text) != block.sha256 {
            let first = String::from_utf8_lossy(&block.first.0);
            return Err(self.damaged(format!("the manifest's block at {first} is altered")));
        }
        Ok(text)
    }

    /// All records in order, and whether each has a member of its own in the tar.
    pub fn records(&self) -> Records<'s> {
        Records::of(self.clone(), Scope::all(self.blocks()))
    }

    /// The data of the whole tree, wherever in the chain it lies.
    ///
    /// # Errors
    /// The manifest is not what the index says.
    pub fn data_bytes(&self) -> Result<u64> {
        self.records().try_fold(0_u64, |bytes, record| {
            Ok(bytes.saturating_add(record?.0.what.data_bytes()))
        })
    }

    /// Those of a scope.
    pub fn records_of(&self, scope: &Scope) -> Records<'s> {
        Records::of(self.clone(), scope.clone())
    }

    /// Where the frame begins that holds a record's member, in whichever archive of the chain that
    /// is: members of the same frame are read together. What cannot be found is told when it is
    /// read.
    pub fn frame_of(&self, record: &Record) -> u64 {
        let frame = |archive: &Self| {
            let table = &archive.object.table;
            let n = table.holding(record.offset)?;
            Some(table.frames()[n].offset)
        };
        let found = match record.archive == self.position() {
            true => frame(self),
            false => self.at(record.archive).ok().as_ref().and_then(frame),
        };
        found.unwrap_or(record.offset)
    }

    /// A reader of the tar.
    pub fn reader(&self) -> Reader<'s> {
        Reader::of(&self.object)
    }
}

impl fmt::Debug for Archive<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive")
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}

/// Whether the data is as long as its label says: what was cut off is known without reading it.
fn check_length(source: &dyn Source, label: &Label) -> Result<()> {
    let (length, wanted) = (stored(source).length(), label.data_bytes);
    if length == wanted {
        return Ok(());
    }
    let why = format!("it is {length} bytes long, not {wanted}");
    Err(Error::damaged(source.name(), why))
}

fn read_machine(object: &Object<'_>, reader: &mut Reader<'_>, label: &Label) -> Result<Machine> {
    let (member, _) = reader.member()?;
    if member.path != machine::PATH || member.stored_bytes > machine::MOST_BYTES {
        return Err(object.damaged("its first member is not ./.state/machine.json"));
    }
    let machine = Machine::from_text(&reader.bytes(member.stored_bytes as usize)?)?;
    if machine.id != label.id.as_str() || machine.machine != label.machine {
        return Err(object.damaged("it is another archive than its label says"));
    }
    Ok(machine)
}

/// Reads the index; says how long its text is.
fn read_index(object: &Object<'_>, unpacker: &mut Unpacker, label: &Label) -> Result<(Index, u64)> {
    let frame = object.frame(object.table.frames().len() - 1, unpacker)?;
    let (index, text) = Index::from_frame(&frame).map_err(|bad| object.damaged(bad))?;
    if Digest::of(text) != label.index_sha256 {
        return Err(object.damaged("the manifest's index is not the one its label names"));
    }
    if index.totals != label.totals || index.incomplete.is_empty() != label.is_complete {
        return Err(object.damaged("its label contradicts it"));
    }
    Ok((index, text.len() as u64))
}

fn read_head(
    object: &Object<'_>,
    reader: &mut Reader<'_>,
    index: &Index,
    index_bytes: u64,
) -> Result<Head> {
    let torn = || object.damaged("a manifest whose parts do not join");
    let part = &index.head;
    if part.size > 1 << 20 {
        return Err(torn());
    }
    reader.seek(part.offset)?;
    let (member, headers) = reader.member()?;
    let blocks: u64 = index.blocks.iter().map(|block| block.length).sum();
    let first = part.offset + headers as u64 + part.size;
    let end = part.offset + headers as u64 + padded(member.stored_bytes) + 2 * BLOCK as u64;
    let last_frame = object.table.frames().last().map_or(0, |frame| frame.offset);
    if member.path != MANIFEST
        || member.kind != Kind::File
        || member.stored_bytes != part.size + blocks + index_bytes
        || index
            .blocks
            .first()
            .is_some_and(|block| block.offset != first)
        || first + blocks != last_frame
        || object.table.content_bytes() != end
    {
        return Err(torn());
    }
    let line = reader.bytes(part.size as usize)?;
    if Digest::of(&line) != part.sha256 {
        return Err(object.damaged("the manifest's head is altered"));
    }
    let line = String::from_utf8(line).map_err(|_| torn())?;
    Head::from_line(&line).map_err(|bad: Bad| object.damaged(bad))
}
