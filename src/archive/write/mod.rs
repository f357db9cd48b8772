//! Writing an archive: a stream of frames, whatever the size of the tree or of a file.
//!
//! One thread walks the stores and cuts what it finds into units, workers turn each unit into
//! whole frames, and the calling thread writes these in the order of the units: the same input
//! gives the same bytes, however many workers there are.
//!
//! Memory holds a few frames, and the manifest and the sums compressed. What cannot be read is
//! left out *by name*, and the archive says that it is incomplete.

mod again;
mod ahead;
mod content;
mod end;
mod entry;
mod kept;
mod large;
mod leads;
mod notes;
mod places;
mod plan;
mod pool;
mod since;
mod unit;
mod walk;

use super::base::DELETED;
use super::frame::SeekTable;
use super::machine::{self, Machine};
use super::manifest::{Block, Digest, Head, Missing, Parent, Part, Totals};
use super::press::Growing;
use super::select::Selection;
use super::tar::{Packed, Tar};
use super::{Error, FORMAT, Progress, Result, sums};
pub use again::again;
use notes::Notes;
pub use places::{Told, places};
use plan::Plan;
use sha2::{Digest as _, Sha256};
pub use since::{Before, Since};
use state_api::{Interrupt, View};
use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
pub use walk::Weighing;

/// The path of the sums.
pub const SUMS: &[u8] = b".state/SHA256SUMS";
/// The path of the manifest.
pub const MANIFEST: &[u8] = b".state/manifest.json";

/// One store to be archived.
#[derive(Debug)]
pub struct Input<'a> {
    /// Its content.
    pub view: &'a View,
    /// What of it.
    pub selection: &'a Selection,
}

/// An archive that is to be written.
#[derive(Debug)]
pub struct Draft<'a> {
    /// zstd's level.
    pub level: i32,
    /// How many threads read and compress; 0: one per core. It makes no difference to the bytes.
    pub workers: usize,
    /// What machine and moment it is of.
    pub machine: &'a Machine,
    /// The machine's stores, in its order.
    pub inputs: &'a [Input<'a>],
    /// What is known beforehand to be missing.
    pub incomplete: Vec<Missing>,
    /// The archive that it builds on, and what changed since; else it is a full one.
    pub since: Option<(&'a Before<'a>, &'a Since)>,
}

/// What was written.
#[derive(Debug, Clone)]
pub struct Written {
    /// What the archive holds in all.
    pub totals: Totals,
    /// What should be in it and could not be had.
    pub incomplete: Vec<Missing>,
    /// What is left out on purpose.
    pub left_out: Vec<Missing>,
    /// Declared paths that the stores do not hold.
    pub absent: Vec<PathBuf>,
    /// Paths of the stores that nobody declared; what lies below them is not counted.
    pub orphans: Vec<PathBuf>,
    /// The manifest.
    pub manifest: Frames,
    /// The digest of the manifest.
    pub manifest_sha256: Digest,
    /// The digest of its index.
    pub index_sha256: Digest,
}

/// A text in zstd frames.
#[derive(Clone, Default)]
pub struct Frames(Vec<Packed>);

impl Frames {
    /// Writes them, and a seek table behind them.
    ///
    /// # Errors
    /// It could not be written.
    pub fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        let mut table = SeekTable::default();
        for Packed { frame, length } in &self.0 {
            table.push(frame.len(), *length).map_err(io::Error::other)?;
            to.write_all(frame)?;
        }
        to.write_all(&table.encode())
    }
}

impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Frames").field(&self.0.len()).finish()
    }
}

impl Draft<'_> {
    /// Writes it.
    ///
    /// # Errors
    /// The archive could not be written, or the run was interrupted. What of a store could not be
    /// *read* is no error but [`Written::incomplete`].
    pub fn write(
        self,
        out: &mut dyn Write,
        interrupt: &dyn Interrupt,
        watch: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Written> {
        let tar = Tar::new(out, self.level)?;
        let parents = self.since.map_or(&[][..], |(before, _)| &before.parents);
        let notes = Notes {
            missing: self.incomplete,
            ..Notes::default()
        };
        let (mut writer, machine_part) =
            Writer::begin(tar, self.machine, parents, notes, interrupt, watch)?;
        let deleted = self
            .since
            .map(|(_, since)| writer.part(DELETED, &since.deleted));
        let deleted = deleted.transpose()?;

        let pool = pool::Pool::new(self.workers, self.level, self.machine);
        let plan = Plan::new(&pool, self.inputs, self.since)?;
        let mut walked = pool.run(plan, interrupt, &mut |made| writer.take(made))?;
        if let Some((_, since)) = self.since {
            // This walk was not everywhere.
            walked.absent.clone_from(&since.absent);
            walked.orphans.clone_from(&since.orphans);
        }
        writer.finish(machine_part, deleted, walked)
    }
}

/// The calling thread's part: what comes in order.
struct Writer<'w, 'c> {
    tar: Tar<'w>,
    machine: &'c Machine,
    parents: &'c [Parent],
    head: Head,
    interrupt: &'c dyn Interrupt,
    watch: &'c mut dyn FnMut(Progress<'_>),
    sums: Growing,
    manifest: Growing,
    blocks: Vec<Block>,
    block_entries: u64,
    block_first: Vec<u8>,
    totals: Totals,
    /// The digests of files with several names, by their first.
    linked: HashMap<(usize, Vec<u8>), Digest>,
    notes: Notes,
}

impl<'w, 'c> Writer<'w, 'c> {
    /// Begins with the manifest's head and the first member; gives where that is.
    fn begin(
        tar: Tar<'w>,
        machine: &'c Machine,
        parents: &'c [Parent],
        notes: Notes,
        interrupt: &'c dyn Interrupt,
        watch: &'c mut dyn FnMut(Progress<'_>),
    ) -> Result<(Self, Part)> {
        let head = Head {
            format: FORMAT,
            id: machine.id.clone(),
            parents: parents.to_vec(),
            stores: machine.stores.iter().map(|s| s.path.clone()).collect(),
        };
        let mut writer = Self {
            tar,
            machine,
            parents,
            interrupt,
            watch,
            sums: Growing::sums()?,
            manifest: Growing::manifest(head.to_line().as_bytes())?,
            head,
            blocks: Vec::new(),
            block_entries: 0,
            block_first: Vec::new(),
            totals: Totals::default(),
            linked: HashMap::new(),
            notes,
        };
        let text = machine.to_text();
        if text.len() as u64 > machine::MOST_BYTES {
            let why = "it is larger than 1 MiB, which nobody would read: declare fewer entries";
            return Err(Error::damaged("./.state/machine.json", why));
        }
        let part = writer.part(machine::PATH, &text)?;
        sums::push_line(writer.sums.piece(), part.sha256, machine::PATH);
        Ok((writer, part))
    }
}

pub(super) fn hash_zeros(hash: &mut Sha256, mut length: u64) {
    static ZEROS: [u8; 65536] = [0; 65536];
    while length > 0 {
        let now = length.min(ZEROS.len() as u64);
        hash.update(&ZEROS[..now as usize]);
        length -= now;
    }
}

/// A path as bytes, as members and records have it.
pub fn path_bytes(path: &Path) -> &[u8] {
    path.strip_prefix("/")
        .unwrap_or(path)
        .as_os_str()
        .as_bytes()
}
