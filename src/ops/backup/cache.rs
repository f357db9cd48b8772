//! The manifest of the last archive, kept in the store: where archives are encrypted, the machine
//! cannot read its own.
//!
//! It is believed only if its digest is the one in the archive's label.

use crate::archive::base::Older;
use crate::archive::label::Label;
use crate::archive::manifest::{Bytes, Digest, Head, Index, Missing, records};
use crate::archive::write::Frames;
use crate::archive::{Error, Result};
use sha2::{Digest as _, Sha256};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Where it is in a store.
const DIRECTORY: &str = ".state/archive";
/// The end of its name, after the archive's id.
const END: &str = ".manifest.zst";
/// The longest line: a record may hold a megabyte of attributes, in hexadecimal.
const MOST_LINE: u64 = 16 << 20;

/// Where manifests are kept.
pub(super) struct Cache(PathBuf);

/// A manifest that was kept.
pub(super) struct Manifest {
    file: PathBuf,
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
        frames
            .0
            .iter()
            .try_for_each(|frame| open.write_all(frame))?;
        open.sync_all()?;
        fs::rename(&draft, &file)?;
        File::open(&self.0)?.sync_all()
    }

    /// Whether the manifest of `label`'s archive was kept.
    pub(super) fn has(&self, label: &Label) -> bool {
        self.file(label).exists()
    }

    /// The manifest of `label`'s archive, if it was kept and is whole.
    pub(super) fn manifest(&self, label: &Label) -> Option<Manifest> {
        let file = self.file(label);
        let mut hash = Sha256::new();
        let mut text = open(&file).ok()?;
        let head = line(&mut text).ok()?;
        hash.update(&head);
        // The last line is the index.
        let mut last = Vec::new();
        while !text.fill_buf().ok()?.is_empty() {
            last.clear();
            read_line(&mut text, &mut last).ok()?;
            hash.update(&last);
        }
        if Digest::from(hash) != label.manifest_sha256 {
            return None;
        }
        let head = Head::from_line(std::str::from_utf8(&head).ok()?).ok()?;
        let (index, _) = Index::from_frame(&last).ok()?;
        Some(Manifest {
            file,
            stores: head.stores,
            left_out: index.left_out,
        })
    }
}

impl Manifest {
    /// Its records.
    pub(super) fn records(&self) -> Result<Older<'static>> {
        let what = self.file.display().to_string();
        let failed = move |error: io::Error| Error::os(format!("reading {what}"), error);
        let mut text = open(&self.file).map_err(&failed)?;
        line(&mut text).map_err(&failed)?; // the head
        let mut is_first = true;
        Ok(Box::new(std::iter::from_fn(move || {
            let line = match line(&mut text) {
                Ok(line) => line,
                Err(error) => return Some(Err(failed(error))),
            };
            if line.starts_with(b"]") {
                return None; // the index
            }
            let is_first = std::mem::take(&mut is_first);
            let record = records(&line, is_first).map(|mut records| records.pop());
            record
                .map_err(|bad| failed(io::Error::other(bad)))
                .transpose()
        })))
    }
}

fn open(file: &Path) -> io::Result<impl BufRead + Send + use<>> {
    let decoder = zstd::stream::read::Decoder::new(File::open(file)?)?;
    Ok(BufReader::with_capacity(1 << 20, decoder))
}

fn line(text: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    read_line(text, &mut line)?;
    Ok(line)
}

fn read_line(text: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<()> {
    text.take(MOST_LINE).read_until(b'\n', line)?;
    match line.ends_with(b"\n") {
        true => Ok(()),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
