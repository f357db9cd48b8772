//! The manifest of the last archive, kept in the store: where archives are encrypted, the machine
//! cannot read its own.
//!
//! Its frames are followed by a seek table. It is believed only if the digest of its index is the one in
//! the archive's label, and all in front of that has the digests that the index says.

use crate::archive::crew::{cores, share};
use crate::archive::frame::{SeekTable, Unpacker};
use crate::archive::label::{DATA, Label};
use crate::archive::manifest::{Block, Bytes, Digest, Head, Index, Missing};
use crate::archive::older::{Lines, Older};
use crate::archive::read::Object;
use crate::archive::write::Frames;
use crate::target::FileSource;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where it is in a store.
const DIRECTORY: &str = ".state/archive";
/// The end of its name, after the archive's id.
const END: &str = ".manifest.zst";

/// Where manifests are kept.
pub(super) struct Cache(PathBuf);

/// A manifest that was kept.
pub(super) struct Manifest {
    source: FileSource,
    table: Arc<SeekTable>,
    blocks: Vec<Block>,
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
        let file = self.file(label);
        let source = FileSource::new(file.display().to_string(), File::open(file).ok()?).ok()?;
        let object = Object::open(&source).ok()?;
        let mut unpacker = Unpacker::default();
        let last = object.table.frames().len() - 1;
        let text = object.frame(last, &mut unpacker).ok()?;
        if Digest::of(&text) != label.index_sha256 {
            return None;
        }
        let (index, _) = Index::from_frame(&text).ok()?;
        let head = object.frame(0, &mut unpacker).ok()?;
        if Digest::of(&head) != index.head.sha256 || last != index.blocks.len() + 1 {
            return None;
        }
        let head = Head::from_line(std::str::from_utf8(&head).ok()?).ok()?;
        let (object, blocks) = (&object, &index.blocks);
        let is_whole = || {
            let mut unpacker = Unpacker::default();
            move |n: usize| {
                let text = object.frame(n + 1, &mut unpacker);
                text.is_ok_and(|text| Digest::of(&text) == blocks[n].sha256)
            }
        };
        if !share(blocks.len(), cores(), is_whole) {
            return None;
        }
        let table = Arc::clone(&object.table);
        Some(Manifest {
            source,
            table,
            blocks: index.blocks,
            stores: head.stores,
            left_out: index.left_out,
        })
    }
}

impl Manifest {
    /// Its records. `watch` is told of every block how many it has, and of its first path.
    pub(super) fn records<'w>(&'w self, watch: &'w (dyn Fn(u64, &[u8]) + Sync)) -> Older<'w> {
        let object = Object {
            source: &self.source,
            table: Arc::clone(&self.table),
        };
        let mut unpacker = Unpacker::default();
        let texts = self.blocks.iter().enumerate().map(move |(n, block)| {
            let text = String::from_utf8(object.frame(n + 1, &mut unpacker)?);
            watch(block.entries, block.first.0.get(2..).unwrap_or_default());
            text.map_err(|_| object.damaged("a manifest that is no text"))
        });
        Older::Lines(Lines::new(Box::new(texts)))
    }
}
