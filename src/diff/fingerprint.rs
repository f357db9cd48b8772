//! What tells whether a change is the same one again: content and metadata, condensed.

use super::change::{Change, What};
use super::learned::Seen;
use sha2::{Digest as _, Sha256};
use state_api::{Changes, Extent, View};
use state_linux::metadata::Metadata;
use state_linux::stat::Kind;
use state_linux::tree::{Entry, Unreadable, Walk};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

/// Bigger files are not read: what is made anew at every boot is small.
const FILE_BYTES: u64 = 1 << 20;
/// No more than that is read in all.
const TOTAL_BYTES: u64 = 64 << 20;

/// What is at the paths of these changes now. What is deleted, renamed, big or unreadable is left
/// out: it is told as it is.
pub fn fingerprints<'c>(
    changes: impl Iterator<Item = &'c Change>,
    new: &View,
) -> BTreeMap<PathBuf, Seen> {
    let mut places = Changes::none();
    for change in changes {
        if matches!(change.what, What::Created | What::Changed { .. }) {
            places.add(change.path.clone(), Extent::Alone);
        }
    }
    let mut left = TOTAL_BYTES;
    let mut found = BTreeMap::new();
    for entry in Walk::over(new, &places).filter_map(Result::ok) {
        if entry.stat.kind == Kind::File {
            if entry.stat.size > FILE_BYTES.min(left) {
                continue;
            }
            left -= entry.stat.size;
        }
        let (Some(born), Ok(fingerprint)) = (entry.stat.born, fingerprint(&entry)) else {
            continue;
        };
        let seen = Seen::new(fingerprint, born, entry.stat.modified);
        found.insert(entry.path, seen);
    }
    found
}

fn fingerprint(entry: &Entry) -> Result<String, Unreadable> {
    let stat = &entry.stat;
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update(bytes.len().to_le_bytes());
        hash.update(bytes);
    };
    add(super::word(stat.kind).as_bytes());
    for number in [stat.mode, stat.uid, stat.gid] {
        add(&number.to_le_bytes());
    }
    add(&stat.device_number.to_le_bytes());
    let metadata = match stat.kind {
        Kind::File => {
            let file = File::from(entry.open()?);
            let metadata = entry.metadata_of(&file)?;
            add(&content(file, entry)?);
            metadata
        }
        Kind::Symlink => {
            add(entry.link_target()?.as_bytes());
            entry.metadata()?
        }
        _ => entry.metadata()?,
    };
    let Metadata {
        xattrs,
        access_acl,
        default_acl,
        flags,
    } = metadata;
    for (name, value) in &xattrs {
        add(name.as_bytes());
        add(value);
    }
    add(format!("{access_acl:?} {default_acl:?} {flags:?}").as_bytes());
    Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

fn content(file: File, entry: &Entry) -> Result<Vec<u8>, Unreadable> {
    let mut content = Vec::new();
    let read = file.take(FILE_BYTES).read_to_end(&mut content);
    match read {
        Ok(length) if length as u64 == entry.stat.size => Ok(content),
        read => Err(Unreadable {
            path: entry.path.clone(),
            doing: "reading",
            source: read
                .err()
                .unwrap_or_else(|| io::Error::other("it changed while being read")),
            is_live: false,
        }),
    }
}
