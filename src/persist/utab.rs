//! Words for file managers beside bind mounts (`x-gvfs-hide`, `x-gvfs-trash`).
//!
//! The kernel keeps no such options: mount(8) notes them in libmount's table, and file managers
//! read them there, matched with the kernel's list by target, source and root. We mount without
//! mount(8), so we note them ourselves, under libmount's own lock.

use super::entry::Entry;
use rustix::fs::{FlockOperation, flock};
use state_api::{Error, Result};
use state_linux::mountinfo::{self, Mount};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Where libmount keeps its table.
pub const TABLE: &str = "/run/mount/utab";

/// Notes the words of those `entries` that are mounted and have words not yet noted in `table`.
/// Says how many were.
///
/// # Errors
/// The table cannot be read or written. It is as it was then.
pub fn note<'e>(table: &Path, entries: impl Iterator<Item = &'e Entry>) -> Result<usize> {
    let failed =
        |error: io::Error| Error::os(format!("noting words in {}", table.display()), error);
    let wanted: Vec<_> = entries
        .filter(|entry| !entry.mount_words.is_empty())
        .collect();
    if wanted.is_empty() {
        return Ok(0);
    }
    let dir = table.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(dir).map_err(failed)?;
    let lock = File::create(table.with_extension("lock")).map_err(failed)?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|errno| failed(errno.into()))?;
    let old = match fs::read(table) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        text => text.map_err(failed)?,
    };
    let mounts = mountinfo::read().map_err(failed)?;
    // Of several mounts at one place the last is the one that is seen.
    let seen: BTreeMap<&Path, &Mount> = mounts
        .iter()
        .map(|mount| (mount.at.as_path(), mount))
        .collect();
    let mut lines = lines(&old);
    let mut count = 0;
    for entry in wanted {
        if let Some(mount) = seen.get(entry.path.as_path()) {
            count += usize::from(add(&mut lines, entry, mount));
        }
    }
    if count > 0 {
        let mut text = lines.join(&b'\n');
        text.push(b'\n');
        write(table, dir, &text).map_err(failed)?;
    }
    Ok(count)
}

fn lines(text: &[u8]) -> Vec<Vec<u8>> {
    (text.split(|byte| *byte == b'\n'))
        .filter(|line| !line.is_empty())
        .map(<[u8]>::to_vec)
        .collect()
}

/// Adds the entry's words to its line, or a line; says whether anything was missing.
fn add(lines: &mut Vec<Vec<u8>>, entry: &Entry, mount: &Mount) -> bool {
    let is_same = |line: &[u8]| {
        let has = |key: &str, value: &OsStr| {
            let field = [key.as_bytes(), &mangled(value)].concat();
            line.split(|byte| *byte == b' ').any(|word| word == field)
        };
        has("SRC=", &mount.source)
            && has("TARGET=", mount.at.as_os_str())
            && has("ROOT=", mount.root.as_os_str())
    };
    let Some(line) = lines.iter_mut().find(|line| is_same(line)) else {
        let mut line = Vec::new();
        for (key, value) in [
            ("SRC=", mount.source.as_os_str()),
            (" TARGET=", mount.at.as_os_str()),
            (" ROOT=", mount.root.as_os_str()),
            (" BINDSRC=", entry.source().as_os_str()),
        ] {
            line.extend_from_slice(key.as_bytes());
            line.extend(mangled(value));
        }
        line.extend_from_slice(b" OPTS=");
        line.extend_from_slice(entry.mount_words.join(",").as_bytes());
        lines.push(line);
        return true;
    };
    let options = line
        .split(|byte| *byte == b' ')
        .find_map(|word| word.strip_prefix(b"OPTS="))
        .unwrap_or_default();
    let present: Vec<&[u8]> = options
        .split(|byte| *byte == b',')
        .filter(|word| !word.is_empty())
        .collect();
    let mut all = present.clone();
    all.extend(
        (entry.mount_words.iter())
            .map(|word| word.as_bytes())
            .filter(|word| !present.contains(word)),
    );
    if all.len() == present.len() {
        return false;
    }
    let all = [b"OPTS=".as_slice(), &all.join(&b',')].concat();
    let others: Vec<&[u8]> = (line.split(|byte| *byte == b' '))
        .filter(|word| !word.starts_with(b"OPTS="))
        .chain([all.as_slice()])
        .collect();
    *line = others.join(&b' ');
    true
}

/// Octal escapes for what separates fields, as in mountinfo.
fn mangled(text: &OsStr) -> Vec<u8> {
    let mut mangled = Vec::with_capacity(text.len());
    for byte in text.as_bytes() {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' => {
                mangled.extend_from_slice(format!("\\{byte:03o}").as_bytes());
            }
            byte => mangled.push(*byte),
        }
    }
    mangled
}

/// Replaces the table whole: libmount watches for the rename.
fn write(table: &Path, dir: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = tempfile::Builder::new()
        .prefix("utab.")
        .permissions(Permissions::from_mode(0o644))
        .tempfile_in(dir)?;
    file.write_all(text)?;
    file.persist(table)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::{PersistTree, Users};

    fn tree() -> PersistTree {
        let text =
            "[persist.\"/p\"]\nhide-mounts = true\nallow-trash = true\ndirectories = [\"/a b\"]";
        PersistTree::resolve(
            &crate::config::parse_text(Path::new("state.toml"), text).unwrap(),
            &Users::default(),
        )
        .unwrap()
    }

    #[test]
    fn words_are_added_once_and_beside_others() {
        let mounts =
            mountinfo::parse(b"9 1 8:1 /p/a\\040b /a\\040b rw - ext4 /dev/sda1 rw\n").unwrap();
        let tree = tree();
        let entry = tree.entry(Path::new("/a b")).unwrap();
        let expected = b"SRC=/dev/sda1 TARGET=/a\\040b ROOT=/p/a\\040b BINDSRC=/p/a\\040b \
                         OPTS=x-gvfs-hide,x-gvfs-trash";
        let mut table = lines(b"SRC=x TARGET=/other ROOT=/ OPTS=user\n");
        assert!(add(&mut table, entry, &mounts[0]));
        assert!(!add(&mut table, entry, &mounts[0]));
        assert_eq!(
            table,
            [
                b"SRC=x TARGET=/other ROOT=/ OPTS=user".to_vec(),
                expected.to_vec()
            ]
        );

        let by_mount =
            b"SRC=/dev/sda1 TARGET=/a\\040b ROOT=/p/a\\040b OPTS=x-gvfs-trash,user ATTRS=z";
        let mut table = lines(by_mount);
        assert!(add(&mut table, entry, &mounts[0]));
        let expected = b"SRC=/dev/sda1 TARGET=/a\\040b ROOT=/p/a\\040b ATTRS=z \
                         OPTS=x-gvfs-trash,user,x-gvfs-hide";
        assert_eq!(table, [expected.to_vec()]);
    }
}
