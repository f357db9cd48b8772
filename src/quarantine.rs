//! The quarantine of a store: what was taken out of it, or replaced in it, and is kept for a while.
//!
//! Each time something is put there it gets a directory `STORE/.state/quarantine/TIME` with the
//! things themselves below `content`, at their paths in the store, and a journal that is on the
//! disk before anything moves. Putting there and back are renames within one filesystem: nothing
//! is copied, and nothing exists in neither place.

use crate::anchor::{Anchor, Found};
use crate::paths::{self, Shown};
use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use rustix::fs::{AtFlags, RenameFlags, fsync, linkat, renameat, renameat_with};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use state_api::{Error, Result};
use state_linux::stat::Kind;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Where it is in a store.
const DIRECTORY: &str = ".state/quarantine";
/// The journal's name beside `content`.
const JOURNAL: &str = "journal.json";
const CONTENT: &str = "content";
/// The version of the journal's form.
const VERSION: u32 = 1;
/// How long things stay unless somebody says otherwise.
pub const DAYS: u32 = 30;

/// Why something is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// No entry declared it any more.
    Orphan,
    /// A newer file took its place.
    Replaced,
}

/// What is known of one directory of the quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// The version of this form.
    pub version: u32,
    /// When it was made.
    pub at: DateTime<Utc>,
    /// From when on it may be deleted.
    pub expires: DateTime<Utc>,
    /// Why.
    pub why: Why,
    /// The paths that were to be moved, relative to the store: some may not have been, if the run
    /// was interrupted.
    #[serde(
        serialize_with = "paths::serialize_all",
        deserialize_with = "read_paths"
    )]
    pub paths: Vec<PathBuf>,
}

/// Reads what [`paths::serialize_all`] wrote: text, or bytes that are none.
fn read_paths<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<PathBuf>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Text(String),
        Bytes(Vec<u8>),
    }
    let written: Vec<Written> = Deserialize::deserialize(from)?;
    Ok((written.into_iter())
        .map(|path| match path {
            Written::Text(text) => text.into(),
            Written::Bytes(bytes) => OsStr::from_bytes(&bytes).into(),
        })
        .collect())
}

/// One directory of the quarantine.
#[derive(Debug)]
pub struct Batch {
    /// Its name: when it was made.
    pub name: String,
    /// What is known of it.
    pub journal: Journal,
    dir: Anchor,
}

/// All of a store's, oldest first, and what is no such directory.
///
/// # Errors
/// The quarantine cannot be read.
pub fn list(store: &Anchor) -> Result<(Vec<Batch>, Vec<String>)> {
    let failed = |error| Error::os("reading the quarantine", error);
    let quarantine = match store.directory(Path::new(DIRECTORY)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
        opened => opened.map_err(failed)?,
    };
    let (mut batches, mut strange) = (Vec::new(), Vec::new());
    let names = quarantine.directory(Path::new("")).map_err(failed)?;
    let mut names = state_linux::tree::names(names).map_err(failed)?;
    names.sort();
    for name in names {
        let name = String::from_utf8_lossy(name.as_bytes()).into_owned();
        match Batch::open(&quarantine, &name) {
            Ok(batch) => batches.push(batch),
            Err(error) => strange.push(format!("{DIRECTORY}/{}: {error}", Shown(name.as_ref()))),
        }
    }
    Ok((batches, strange))
}

impl Batch {
    /// Makes one for `paths`, relative to the store: its journal is on the disk afterwards.
    ///
    /// # Errors
    /// The store cannot be written. Nothing was moved.
    pub fn begin(
        store: &Anchor,
        (now, days, why): (DateTime<Utc>, u32, Why),
        paths: Vec<PathBuf>,
    ) -> Result<Self> {
        let journal = Journal {
            version: VERSION,
            at: now.trunc_subsecs(0),
            expires: now.trunc_subsecs(0) + TimeDelta::days(days.into()),
            why,
            paths,
        };
        Self::make(store, journal).map_err(|error| Error::os("making a quarantine", error))
    }

    fn make(store: &Anchor, journal: Journal) -> io::Result<Self> {
        // Closed: what was readable for few in its place must not become so for many.
        store.make_directory(".state".as_ref(), 0, 0, 0o700)?;
        let ours = store.directory(Path::new(".state"))?;
        ours.make_directory("quarantine".as_ref(), 0, 0, 0o700)?;
        let quarantine = ours.directory(Path::new("quarantine"))?;
        let stamp = journal.at.format("%Y%m%dT%H%M%SZ").to_string();
        let mut name = stamp.clone();
        let mut n = 1;
        while !quarantine.make_directory(name.as_ref(), 0, 0, 0o700)? {
            n += 1;
            name = format!("{stamp}-{n}");
        }
        let dir = quarantine.directory(Path::new(&name))?;
        dir.make_directory(CONTENT.as_ref(), 0, 0, 0o700)?;
        let mut text = serde_json::to_vec_pretty(&journal)?;
        text.push(b'\n');
        let file = crate::anchor::create_file(&dir, JOURNAL.as_ref())?;
        let mut file = fs::File::from(file);
        file.write_all(&text)?;
        file.sync_all()?;
        for made in [&dir, &quarantine, &ours, store] {
            fsync(made.directory(Path::new(""))?)?;
        }
        Ok(Self { name, journal, dir })
    }

    fn open(quarantine: &Anchor, name: &str) -> io::Result<Self> {
        let dir = quarantine.directory(Path::new(name))?;
        let mut text = String::new();
        let file = dir.read(Path::new(JOURNAL))?;
        io::Read::read_to_string(&mut fs::File::from(file), &mut text)?;
        let journal: Journal = serde_json::from_str(&text)?;
        if journal.version != VERSION {
            return Err(io::Error::other("a newer state wrote it"));
        }
        let name = name.to_owned();
        Ok(Self { name, journal, dir })
    }

    /// Moves `path` of the store here.
    ///
    /// # Errors
    /// It is where it was then.
    pub fn take(&self, store: &Anchor, path: &Path) -> Result<()> {
        self.content()
            .and_then(|content| shift(store, &content, path))
            .map_err(|error| Error::os(format!("moving {} into quarantine", Shown(path)), error))
    }

    /// Gives the file at `path` of the store a second name here.
    ///
    /// # Errors
    /// It has none then.
    pub fn link(&self, store: &Anchor, path: &Path) -> Result<()> {
        let link = || -> io::Result<()> {
            let content = self.content()?;
            lead(store, &content, path)?;
            let (from, name) = store.parent(path)?;
            let (to, _) = content.parent(path)?;
            linkat(&from, name, &to, name, AtFlags::empty())?;
            Ok(fsync(to.directory(Path::new(""))?)?)
        };
        link().map_err(|error| Error::os(format!("keeping {}", Shown(path)), error))
    }

    /// What is here of what the journal names.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn held(&self) -> Result<Vec<PathBuf>> {
        let failed = |error| Error::os(format!("reading the quarantine {}", self.name), error);
        let content = self.content().map_err(failed)?;
        let mut held = Vec::new();
        for path in &self.journal.paths {
            if let Found::Here(..) = content.find(path).map_err(failed)? {
                held.push(path.clone());
            }
        }
        Ok(held)
    }

    /// Moves what is here back to where it was. What stands there now is never replaced.
    ///
    /// # Errors
    /// Something stands in its place, or the store cannot be written; it is here still.
    pub fn give_back(&self, store: &Anchor, path: &Path) -> Result<()> {
        self.content()
            .and_then(|content| shift(&content, store, path))
            .map_err(|error| Error::os(format!("moving {} out of quarantine", Shown(path)), error))
    }

    /// What it holds, as a tree.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn content(&self) -> io::Result<Anchor> {
        self.dir.directory(Path::new(CONTENT))
    }

    /// Deletes it with everything in it. The journal goes last: what is left of an interrupted
    /// deletion is deleted by the next.
    ///
    /// # Errors
    /// Something could not be deleted.
    pub fn delete(self, store: &Anchor) -> Result<()> {
        let delete = || -> io::Result<()> {
            let fd = self.dir.directory(Path::new(""))?;
            let here = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
            match fs::remove_dir_all(Path::new(&here).join(CONTENT)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
            fs::remove_file(Path::new(&here).join(JOURNAL))?;
            let quarantine = store.directory(Path::new(DIRECTORY))?;
            Ok(rustix::fs::unlinkat(
                &quarantine,
                self.name.as_str(),
                AtFlags::REMOVEDIR,
            )?)
        };
        delete().map_err(|error| Error::os(format!("deleting the quarantine {}", self.name), error))
    }
}

/// Makes the directories that lead to `path` in `to` as they are in `from`.
fn lead(from: &Anchor, to: &Anchor, path: &Path) -> io::Result<()> {
    let mut above: Vec<_> = path.ancestors().skip(1).collect();
    above.pop();
    for dir in above.into_iter().rev() {
        let (parent, name) = to.parent(dir)?;
        let Found::Here(_, stat) = from.find(dir)? else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if stat.kind != Kind::Directory {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        parent.make_directory(name, stat.uid, stat.gid, stat.mode)?;
    }
    Ok(())
}

/// Moves `path` from one tree into another of the same filesystem, without replacing anything.
fn shift(from: &Anchor, to: &Anchor, path: &Path) -> io::Result<()> {
    lead(from, to, path)?;
    let (old, name) = from.parent(path)?;
    let (new, _) = to.parent(path)?;
    match renameat_with(&old, name, &new, name, RenameFlags::NOREPLACE) {
        // ZFS before 2.2 cannot promise that.
        Err(Errno::INVAL) => match to.find(path)? {
            Found::Missing => renameat(&old, name, &new, name)?,
            _ => return Err(Errno::EXIST.into()),
        },
        moved => moved?,
    }
    fsync(new.directory(Path::new(""))?)?;
    Ok(fsync(old.directory(Path::new(""))?)?)
}
