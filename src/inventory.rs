//! Everything that belongs to a tree, noted down, so that two trees can be compared when only one
//! of them still exists. Stricter than `state diff`: times to the nanosecond and hard links count.

use crate::progress::{Progress, Watch};
use sha2::{Digest, Sha256};
use state_api::{Error, Result, View};
use state_linux::metadata::Metadata;
use state_linux::stat::{FileId, Kind, Time};
use state_linux::tree::{Entry, Unreadable, Walk};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// What one path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    kind: Kind,
    mode: u32,
    owner: (u32, u32),
    /// Of files; the size of a directory is its filesystem's affair.
    size: u64,
    modified: Time,
    target: Option<OsString>,
    device: u64,
    metadata: Metadata,
    sha256: Option<[u8; 32]>,
    /// The first path of the same inode.
    first_name: Option<PathBuf>,
}

/// A tree, noted down.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    facts: BTreeMap<PathBuf, Fact>,
    bytes: u64,
}

/// Notes down everything below the top of `view`, but for what `leave_out` says of a path and
/// everything below it.
///
/// # Errors
/// Something cannot be read, or the run was interrupted.
pub fn take<'w>(
    view: &View,
    leave_out: &dyn Fn(&Path) -> bool,
    watch: impl Into<Watch<'w>>,
) -> Result<Inventory> {
    let Watch {
        interrupt,
        progress,
    } = watch.into();
    let mut inventory = Inventory::default();
    let mut first_names: BTreeMap<FileId, PathBuf> = BTreeMap::new();
    let mut walk = Walk::new(view);
    while let Some(entry) = walk.next() {
        if interrupt.is_set() {
            return Err(Error::Interrupted);
        }
        let entry = entry.map_err(unreadable)?;
        if entry.path.as_os_str().is_empty() {
            continue;
        }
        if leave_out(&entry.path) {
            walk.prune();
            continue;
        }
        let is_several = entry.stat.links > 1 && entry.stat.kind != Kind::Directory;
        let first_name = is_several.then(|| {
            first_names
                .entry(entry.stat.id)
                .or_insert_with(|| entry.path.clone())
                .clone()
        });
        let fact = fact(&entry, first_name, progress)?;
        progress.advance(1);
        inventory.bytes += fact.size;
        inventory.facts.insert(entry.path, fact);
    }
    Ok(inventory)
}

fn unreadable(unreadable: Unreadable) -> Error {
    Error::os(
        format!("{} {}", unreadable.doing, unreadable.path.display()),
        unreadable.source,
    )
}

fn fact(entry: &Entry, first_name: Option<PathBuf>, progress: &dyn Progress) -> Result<Fact> {
    let stat = &entry.stat;
    let is_file = stat.kind == Kind::File;
    let target = (stat.kind == Kind::Symlink)
        .then(|| entry.link_target())
        .transpose();
    Ok(Fact {
        kind: stat.kind,
        mode: if stat.kind == Kind::Symlink {
            0
        } else {
            stat.mode
        },
        owner: (stat.uid, stat.gid),
        size: if is_file { stat.size } else { 0 },
        modified: stat.modified,
        target: target.map_err(unreadable)?,
        device: stat.device_number,
        metadata: entry.metadata().map_err(unreadable)?,
        sha256: is_file.then(|| digest(entry, progress)).transpose()?,
        first_name,
    })
}

fn digest(entry: &Entry, progress: &dyn Progress) -> Result<[u8; 32]> {
    let mut file = File::from(entry.open().map_err(unreadable)?);
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        progress.see(0, entry.path.as_os_str().as_bytes());
        let n = file
            .read(&mut buffer)
            .map_err(|error| Error::os(format!("reading {}", entry.path.display()), error))?;
        if n == 0 {
            return Ok(hash.finalize().into());
        }
        hash.update(&buffer[..n]);
    }
}

impl Inventory {
    /// How many paths there are.
    pub fn len(&self) -> usize {
        self.facts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    /// The sizes of all files together.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many paths are another name of an inode, carry attributes or ACLs, or are symlinks:
    /// what a copy loses first.
    pub fn delicate(&self) -> Delicate {
        let count = |is: &dyn Fn(&PathBuf, &Fact) -> bool| {
            self.facts
                .iter()
                .filter(|(path, fact)| is(path, fact))
                .count()
        };
        Delicate {
            symlinks: count(&|_, fact| fact.kind == Kind::Symlink),
            hard_links: count(&|path, fact| fact.first_name.as_ref().is_some_and(|f| f != path)),
            attributes: count(&|_, fact| !fact.metadata.xattrs.is_empty()),
            acls: count(&|_, fact| {
                fact.metadata.access_acl.is_some() || fact.metadata.default_acl.is_some()
            }),
        }
    }

    /// In what the two differ, a line for each path: `etc/passwd: owner, modified`.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        for (path, fact) in &self.facts {
            let aspects = match other.facts.get(path) {
                None => vec!["only in the first"],
                Some(theirs) => fact.aspects(theirs),
            };
            if !aspects.is_empty() {
                lines.push(format!(
                    "{}: {}",
                    crate::paths::Shown(path),
                    aspects.join(", ")
                ));
            }
        }
        for path in other
            .facts
            .keys()
            .filter(|path| !self.facts.contains_key(*path))
        {
            lines.push(format!("{}: only in the second", crate::paths::Shown(path)));
        }
        lines
    }
}

/// What a copy loses first, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Delicate {
    /// Symlinks.
    pub symlinks: usize,
    /// Further names of files.
    pub hard_links: usize,
    /// Paths with extended attributes.
    pub attributes: usize,
    /// Paths with ACLs.
    pub acls: usize,
}

impl Fact {
    fn aspects(&self, other: &Self) -> Vec<&'static str> {
        let (a, b) = (&self.metadata, &other.metadata);
        let aspects = [
            ("kind", self.kind != other.kind),
            ("mode", self.mode != other.mode),
            ("owner", self.owner != other.owner),
            ("size", self.size != other.size),
            ("content", self.sha256 != other.sha256),
            ("modified", self.modified != other.modified),
            ("target", self.target != other.target),
            ("device", self.device != other.device),
            ("attributes", a.xattrs != b.xattrs),
            (
                "acl",
                a.access_acl != b.access_acl || a.default_acl != b.default_acl,
            ),
            ("flags", a.flags != b.flags),
            ("hard links", self.first_name != other.first_name),
        ];
        aspects
            .iter()
            .filter(|(_, differs)| *differs)
            .map(|(aspect, _)| *aspect)
            .collect()
    }
}
