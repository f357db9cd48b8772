//! The two files of a copied entry: looking at them, and what is known of when they were last the
//! same.

use super::anchors::Anchors;
use super::seen::{Digest, Print};
use super::survey::stamp;
use crate::anchor::Anchor;
use crate::paths::Shown;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use state_api::{Error, Result};
use state_linux::metadata::Metadata;
use state_linux::stat::{Kind, Stat};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

/// Looks at the file at `path`; `None` where no file is.
pub(super) fn print(anchors: &Anchors, path: &Path) -> io::Result<Option<Print>> {
    let (anchor, rest) = anchors.locate(path).map_err(io::Error::other)?;
    print_in(anchor, rest)
}

/// The same below an open directory.
pub(super) fn print_in(anchor: &Anchor, path: &Path) -> io::Result<Option<Print>> {
    let file = match anchor.read(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let stat = Stat::of_open(&file)?;
    if stat.kind != Kind::File {
        return Ok(None);
    }
    let metadata = Metadata::read_open(&file)?;
    let mut hash = Sha256::new();
    hash.update(format!("{} {} {:o}", stat.uid, stat.gid, stat.mode));
    for (name, value) in &metadata.xattrs {
        hash.update(format!("\n{name:?} {value:?}"));
    }
    let acl = metadata.access_acl.map(|acl| acl.to_bytes());
    hash.update(format!("\n{acl:?}\n"));
    let mut file = File::from(file);
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => hash.update(&buffer[..n]),
        }
    }
    let mut digest = String::with_capacity(64);
    for byte in hash.finalize() {
        write!(digest, "{byte:02x}").expect("a string takes everything");
    }
    Ok(Some(Print {
        digest: Digest(digest),
        stamp: stamp(&stat),
    }))
}

/// What the two files of each copied entry were when they were last the same at this boot. It
/// lies in the run directory, which no boot inherits: without it a boot would take an old file of
/// root for a newer one than the store's.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreed {
    /// The boot it belongs to.
    boot_id: String,
    files: BTreeMap<String, Digest>,
}

impl Agreed {
    const FILE: &str = "copies.json";

    /// Reads what is known at this boot. What cannot be read is not known: then nothing is
    /// replaced that exists nowhere else.
    pub fn read(run_dir: &Path, boot_id: &str) -> Self {
        let text = fs::read(run_dir.join(Self::FILE)).unwrap_or_default();
        match serde_json::from_slice::<Self>(&text) {
            Ok(agreed) if agreed.boot_id == boot_id => agreed,
            _ => Self {
                boot_id: boot_id.to_owned(),
                files: BTreeMap::new(),
            },
        }
    }

    /// What the two files were when they were last the same.
    pub fn of(&self, path: &Path) -> Option<&Digest> {
        self.files.get(&Shown(path).to_string())
    }

    /// Notes that they are the same now; says whether that is news.
    pub fn note(&mut self, path: &Path, digest: &Digest) -> bool {
        let old = self.files.insert(Shown(path).to_string(), digest.clone());
        old.as_ref() != Some(digest)
    }

    /// Writes it down, whole or not at all.
    ///
    /// # Errors
    /// The run directory cannot be written.
    pub fn write(&self, run_dir: &Path) -> Result<()> {
        let write = || -> io::Result<()> {
            fs::create_dir_all(run_dir)?;
            let mut file = tempfile::NamedTempFile::new_in(run_dir)?;
            serde_json::to_writer_pretty(&mut file, self)?;
            file.write_all(b"\n")?;
            file.persist(run_dir.join(Self::FILE))?;
            Ok(())
        };
        write().map_err(|error| {
            let file = run_dir.join(Self::FILE);
            Error::os(format!("writing {}", file.display()), error)
        })
    }
}
