//! The manifest of the last archive, kept in the store: where archives are encrypted, the machine
//! cannot read its own.
//!
//! Its frames are followed by a seek table. It is believed only if the digest of its index is the one in
//! the archive's label, and all in front of that has the digests that the index says.

use crate::archive::Error;
use crate::archive::crew::cores;
use crate::archive::frame::{Frame, SeekTable, Unpacker};
use crate::archive::label::{DATA, Label};
use crate::archive::manifest::{Block, Bytes, Digest, Head, Index, Missing};
use crate::archive::older::{Lines, Older};
use crate::archive::write::Frames;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Where it is in a store.
const DIRECTORY: &str = ".state/archive";
/// The end of its name, after the archive's id.
const END: &str = ".manifest.zst";

/// Where manifests are kept.
pub(super) struct Cache(PathBuf);

/// A manifest that was kept.
pub(super) struct Manifest {
    file: Arc<File>,
    /// Where each of its blocks is.
    blocks: Arc<[(Frame, Block)]>,
    pub(super) stores: Vec<Bytes>,
    pub(super) left_out: Vec<Missing>,
}

impl Cache {
    /// That of a store.
    pub(super) fn of(store: &Path) -> Self {
        Self(store.join(DIRECTORY))
    }

    /// Makes its directory: before the store is looked at, whose top it changes.
    pub(super) fn prepare(&self) -> io::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
    }

    fn file(&self, label: &Label) -> PathBuf {
        self.0.join(format!("{}{END}", label.id))
    }

    /// Keeps the manifest of a new archive, and no other.
    pub(super) fn keep(&self, label: &Label, frames: &Frames) -> io::Result<()> {
        self.add(label, frames)?;
        let file = self.file(label);
        for other in fs::read_dir(&self.0)? {
            let other = other?.path();
            if other != file && other.to_string_lossy().ends_with(END) {
                fs::remove_file(other)?;
            }
        }
        Ok(())
    }

    /// Keeps the manifest of a new archive beside the others: not every target has it.
    pub(super) fn add(&self, label: &Label, frames: &Frames) -> io::Result<()> {
        self.prepare()?;
        let file = self.file(label);
        let draft = self.0.join("draft");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut open = options.open(&draft)?;
        frames.write(&mut open)?;
        // One that was torn by a loss of power is not believed. Where the archive can be read here, its own
        // manifest is; where it is encrypted, the next one would have to be a full one.
        let is_only_here = label.suffix != DATA;
        if is_only_here {
            open.sync_all()?;
        }
        fs::rename(&draft, &file)?;
        match is_only_here {
            true => File::open(&self.0)?.sync_all(),
            false => Ok(()),
        }
    }

    /// Whether the manifest of `label`'s archive was kept.
    pub(super) fn has(&self, label: &Label) -> bool {
        self.file(label).exists()
    }

    /// The manifest of `label`'s archive, if it was kept and is whole.
    pub(super) fn manifest(&self, label: &Label) -> Option<Manifest> {
        let file = File::open(self.file(label)).ok()?;
        let table = table(&file).ok()?;
        let [first, blocks @ .., last] = table.frames() else {
            return None;
        };
        let text = unpacked(&file, last).ok()?;
        if Digest::of(&text) != label.index_sha256 {
            return None;
        }
        let (index, _) = Index::from_frame(&text).ok()?;
        let head = unpacked(&file, first).ok()?;
        if Digest::of(&head) != index.head.sha256 || blocks.len() != index.blocks.len() {
            return None;
        }
        let head = Head::from_line(std::str::from_utf8(&head).ok()?).ok()?;
        let blocks: Arc<[_]> = blocks.iter().copied().zip(index.blocks).collect();
        are_whole(&file, &blocks).then(|| Manifest {
            file: Arc::new(file),
            blocks,
            stores: head.stores,
            left_out: index.left_out,
        })
    }
}

impl Manifest {
    /// Its records. `watch` is told of every block how many it has, and of its first path.
    pub(super) fn records<'w>(&self, watch: &'w (dyn Fn(u64, &[u8]) + Sync)) -> Older<'w> {
        let (file, blocks) = (Arc::clone(&self.file), Arc::clone(&self.blocks));
        let texts = (0..blocks.len()).map(move |n| {
            let (frame, block) = &blocks[n];
            let text = unpacked(&file, frame)
                .and_then(|text| String::from_utf8(text).map_err(io::Error::other))
                .map_err(|e| Error::os("reading the last archive's manifest", e))?;
            watch(block.entries, block.first.0.get(2..).unwrap_or_default());
            Ok(text)
        });
        Older::Lines(Lines::new(Box::new(texts)))
    }
}

/// Whether each block has its digest. Processors share the work.
fn are_whole(file: &File, blocks: &[(Frame, Block)]) -> bool {
    let next = AtomicUsize::new(0);
    let look = || loop {
        let Some((frame, block)) = blocks.get(next.fetch_add(1, Ordering::Relaxed)) else {
            return true;
        };
        if !unpacked(file, frame).is_ok_and(|text| Digest::of(&text) == block.sha256) {
            return false;
        }
    };
    let more = blocks.len().min(cores()).saturating_sub(1);
    thread::scope(|scope| {
        let others: Vec<_> = (0..more).map(|_| scope.spawn(look)).collect();
        let mine = look();
        others
            .into_iter()
            .all(|other| other.join().unwrap_or(false))
            && mine
    })
}

fn table(file: &File) -> io::Result<SeekTable> {
    let all = file.metadata()?.len();
    let tail = end_of(file, all, all.min(16))?;
    let length = SeekTable::length_at_end(&tail, all).map_err(io::Error::other)?;
    SeekTable::decode(&end_of(file, all, length)?, all).map_err(io::Error::other)
}

/// The last `length` of `all` bytes.
fn end_of(file: &File, all: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut end = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut end, all - length)?;
    Ok(end)
}

fn unpacked(file: &File, frame: &Frame) -> io::Result<Vec<u8>> {
    let mut packed = vec![0; frame.packed as usize];
    file.read_exact_at(&mut packed, frame.at)?;
    let mut content = Vec::new();
    let unpacked = Unpacker::default().unpack(&packed, frame.length as usize, &mut content);
    unpacked.map_err(io::Error::other)?;
    Ok(content)
}
