//! Writing an archive: a stream of frames, whatever the size of the tree or of a file.
//!
//! Memory holds a few frames, and the manifest and the sums compressed. What cannot be read is
//! left out *by name*, and the archive says that it is incomplete.

mod end;
mod entry;
mod walk;

use super::machine::{self, Machine};
use super::manifest::{Block, Bytes, Digest, Missing, Totals, order};
use super::member::name;
use super::select::Selection;
use super::tar::{Spool, Tar};
use super::{Result, sums};
use sha2::{Digest as _, Sha256};
use state_api::{Interrupt, View};
use state_linux::stat::{self, FileId};
use std::collections::HashMap;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use walk::Stored;

/// The path of the sums.
pub const SUMS: &[u8] = b".state/SHA256SUMS";
/// The path of the manifest.
pub const MANIFEST: &[u8] = b".state/manifest.json";
/// How much is read at once.
const CHUNK: usize = 1 << 20;

/// One store to be archived.
#[derive(Debug)]
pub struct Input<'a> {
    /// Its content.
    pub view: &'a View,
    /// What of it.
    pub selection: &'a Selection,
}

/// How far the writing has come.
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress<'a> {
    /// Entries written.
    pub entries: u64,
    /// Bytes of content read.
    pub bytes: u64,
    /// The path at work.
    pub path: &'a [u8],
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
    /// The digest of the manifest.
    pub manifest_sha256: Digest,
    /// The digest of its index.
    pub index_sha256: Digest,
}

/// Writes an archive of `inputs`, which are `machine`'s stores in its order. `incomplete` is what
/// is known beforehand to be missing.
///
/// # Errors
/// The archive could not be written, or the run was interrupted. What of a store could not be
/// *read* is no error but [`Written::incomplete`].
pub fn write(
    out: &mut dyn Write,
    level: i32,
    machine: &Machine,
    inputs: &[Input<'_>],
    incomplete: Vec<Missing>,
    interrupt: &dyn Interrupt,
    watch: &mut dyn FnMut(Progress<'_>),
) -> Result<Written> {
    let mut writer = Writer {
        tar: Tar::new(out, level)?,
        machine,
        interrupt,
        watch,
        sums: Spool::default(),
        manifest: Spool::default(),
        blocks: Vec::new(),
        block_entries: 0,
        block_first: Vec::new(),
        totals: Totals::default(),
        sparse_bytes: 0,
        links: HashMap::new(),
        incomplete,
        left_out: Vec::new(),
        buffer: vec![0; CHUNK],
    };
    writer.manifest = Spool::after(writer.head().to_line().as_bytes());
    let text = machine.to_text();
    let machine_part = writer.part(machine::PATH, &text)?;
    sums::push_line(writer.sums.pending(), machine_part.sha256, machine::PATH);

    let mut stores: Vec<_> = inputs.iter().map(Stored::new).collect();
    let mut last: Option<Last> = None;
    loop {
        // The next path over all stores; of equal ones the first store's.
        for stored in &mut stores {
            stored.look_ahead(&mut writer);
        }
        let next = (stores.iter().enumerate())
            .filter_map(|(n, stored)| Some((stored.next.as_ref()?.path.as_os_str(), n)))
            .min_by(|(a, n), (b, m)| order(a.as_bytes(), b.as_bytes()).then(n.cmp(m)));
        let Some((_, n)) = next else { break };
        let entry = stores[n].next.take().expect("it was just looked at");
        let path = entry.path.as_os_str().as_bytes().to_vec();
        let is_directory = entry.stat.kind == stat::Kind::Directory;
        let shared = match last.as_ref().filter(|last| last.path == path) {
            Some(last) if last.is_directory && is_directory => Ok(Some(last.offset)),
            Some(_) => Err("another store has something else there"),
            None => Ok(None),
        };
        let offset = match shared {
            Ok(shared) => writer.entry(n, &entry, &path, shared)?,
            Err(why) => {
                writer.missing(&path, why);
                None
            }
        };
        if let Some(offset) = offset {
            last = Some(Last {
                path,
                offset,
                is_directory,
            });
        } else if is_directory {
            stores[n].walk.prune();
        }
    }
    let absent = stores
        .iter_mut()
        .flat_map(|s| std::mem::take(&mut s.absent))
        .collect();
    let orphans = stores
        .iter_mut()
        .flat_map(|s| std::mem::take(&mut s.orphans))
        .collect();
    writer.finish(machine_part, absent, orphans)
}

/// The member written last.
struct Last {
    path: Vec<u8>,
    offset: u64,
    is_directory: bool,
}

struct Writer<'w, 'c> {
    tar: Tar<'w>,
    machine: &'c Machine,
    interrupt: &'c dyn Interrupt,
    watch: &'c mut dyn FnMut(Progress<'_>),
    sums: Spool,
    manifest: Spool,
    blocks: Vec<Block>,
    block_entries: u64,
    block_first: Vec<u8>,
    totals: Totals,
    /// The sizes of the files with holes.
    sparse_bytes: u64,
    /// The first path of every inode with several names, and its content's digest if it has one.
    links: HashMap<(usize, FileId), (Vec<u8>, Option<Digest>)>,
    incomplete: Vec<Missing>,
    left_out: Vec<Missing>,
    buffer: Vec<u8>,
}

fn missing(path: &[u8], why: impl Into<String>) -> Missing {
    Missing {
        path: Bytes(name(path)),
        why: crate::failure::plain_errnos(&why.into()),
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
