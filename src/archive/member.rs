//! One member of the tar: what its headers say, and the only way to say it.
//!
//! POSIX ustar, and a pax extended header in front of it for what ustar cannot carry. Every
//! member has exactly one encoding. The reader takes headers apart with its own eyes, and then
//! refuses whatever it would not have written itself: no other parser can see another archive.

mod decode;

use super::pax::{self, Time};
use super::{Bad, NAME_MAX, PATH_MAX};
use std::collections::BTreeMap;
use tar::{EntryType, Header};

/// The unit of a tar.
pub const BLOCK: usize = 512;
/// The largest numbers that ustar's octal fields hold.
const MOST_ID: u32 = 0o7_777_777;
const MOST_SIZE: u64 = 0o77_777_777_777;
/// No filesystem has larger files.
pub const MOST_STORED: u64 = 1 << 62;
/// The owner in the ustar field when the true one does not fit: nobody.
const NOBODY: u64 = 65534;
/// The name in the header of an extended header. It is never a file of its own.
const PAX_NAME: &[u8] = b"./PaxHeaders";
/// The directory part of a sparse member's ustar name, as GNU tar writes it.
const SPARSE_DIRECTORY: &[u8] = b"./GNUSparseFile.0/";

/// What kind of member it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file, whole.
    File,
    /// A regular file without its holes: a map, then the data (GNU's pax form 1.0).
    Sparse {
        /// The size of the file with its holes.
        real_size: u64,
    },
    /// A symlink.
    Symlink {
        /// Where it points, any bytes.
        target: Vec<u8>,
    },
    /// A further name of a member before it.
    Link {
        /// That member's path.
        target: Vec<u8>,
    },
    /// A named pipe.
    Fifo,
}

/// What the headers of a member say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Relative, without `./`; empty for the top.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// How many bytes follow the headers, padding left out.
    pub stored_bytes: u64,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The owner's name; empty if it has none.
    pub user: Vec<u8>,
    /// The group's name; empty if it has none.
    pub group: Vec<u8>,
    /// The last change of its content.
    pub modified: Time,
    /// What ustar knows nothing of.
    pub extra: Extra,
}

/// Attributes in their text forms.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extra {
    /// Extended attributes without ACLs, any bytes but NUL in the names.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The access ACL.
    pub access_acl: Option<String>,
    /// The default ACL.
    pub default_acl: Option<String>,
    /// Inode flags by name, joined by commas.
    pub flags: Option<String>,
}

impl Extra {
    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// How many bytes `length` takes in a tar.
pub fn padded(length: u64) -> u64 {
    length.next_multiple_of(BLOCK as u64)
}

/// The name of a path in the archive: `./etc/machine-id`.
pub fn name(path: &[u8]) -> Vec<u8> {
    [b"./", path].concat()
}

/// The path of a name, checked: `./` in front, no empty, `.` or `..` component, no NUL, within
/// the limits of length.
pub fn path_of(name: &[u8]) -> Result<&[u8], Bad> {
    let path = (name.strip_prefix(b"./")).ok_or("a name that does not begin with ./")?;
    if path.is_empty() {
        return Ok(path);
    }
    if path.len() > PATH_MAX {
        return Err("a path longer than 4095 bytes".into());
    }
    if path.contains(&0) {
        return Err("a NUL in a name".into());
    }
    for component in path.split(|b| *b == b'/') {
        match component {
            b"" | b"." | b".." => return Err("an empty, `.` or `..` component".into()),
            _ if component.len() > NAME_MAX => {
                return Err("a name longer than 255 bytes".into());
            }
            _ => {}
        }
    }
    Ok(path)
}

impl Member {
    /// Its headers: an extended one where needed, and the ustar one.
    ///
    /// # Errors
    /// Its attributes are larger than an extended header may be.
    pub fn encode(&self) -> Result<Vec<u8>, Bad> {
        let mut header = Header::new_ustar();
        // In front of them is room for their own header.
        let mut records = Vec::with_capacity(3 * BLOCK);
        records.resize(BLOCK, 0);
        let mut wire_name = name(&self.path);
        if self.kind == Kind::Directory && !self.path.is_empty() {
            wire_name.push(b'/');
        }
        let (entry_type, target) = match &self.kind {
            Kind::Directory => (EntryType::Directory, None),
            Kind::File | Kind::Sparse { .. } => (EntryType::Regular, None),
            Kind::Symlink { target } => (EntryType::Symlink, Some(target.clone())),
            Kind::Link { target } => (EntryType::Link, Some(name(target))),
            Kind::Fifo => (EntryType::Fifo, None),
        };
        let names = [
            &wire_name,
            target.as_ref().unwrap_or(&wire_name),
            &self.user,
            &self.group,
        ];
        if names.iter().any(|text| std::str::from_utf8(text).is_err()) {
            pax::push(&mut records, b"hdrcharset", b"BINARY");
        }
        let ustar = header.as_ustar_mut().expect("it was made as ustar");
        if let Kind::Sparse { real_size } = self.kind {
            pax::push(&mut records, b"GNU.sparse.major", b"1");
            pax::push(&mut records, b"GNU.sparse.minor", b"0");
            pax::push(&mut records, b"GNU.sparse.name", &wire_name);
            pax::push(
                &mut records,
                b"GNU.sparse.realsize",
                real_size.to_string().as_bytes(),
            );
            let last = self.path.rsplit(|b| *b == b'/').next().unwrap_or_default();
            put(&mut ustar.name, &[SPARSE_DIRECTORY, &ascii(last)].concat());
        } else if let Some(split) = ustar_split(&wire_name) {
            let (prefix, rest) = wire_name.split_at(split);
            put(&mut ustar.prefix, prefix);
            put(&mut ustar.name, rest.strip_prefix(b"/").unwrap_or(rest));
        } else {
            pax::push(&mut records, b"path", &wire_name);
            put(&mut ustar.name, &ascii(&wire_name));
        }
        if let Some(target) = target {
            if target.is_ascii() && target.len() <= ustar.linkname.len() {
                put(&mut ustar.linkname, &target);
            } else {
                pax::push(&mut records, b"linkpath", &target);
                put(&mut ustar.linkname, &ascii(&target));
            }
        }
        for (key, name, field) in [
            (&b"uname"[..], &self.user, &mut ustar.uname),
            (b"gname", &self.group, &mut ustar.gname),
        ] {
            if name.is_ascii() && name.len() < field.len() {
                put(field, name);
            } else {
                pax::push(&mut records, key, name);
            }
        }
        let id = |records: &mut Vec<u8>, key: &[u8], id: u32| {
            if id <= MOST_ID {
                return id.into();
            }
            pax::push(records, key, id.to_string().as_bytes());
            NOBODY
        };
        let (uid, gid) = (
            id(&mut records, b"uid", self.uid),
            id(&mut records, b"gid", self.gid),
        );
        header.set_uid(uid);
        header.set_gid(gid);
        header.set_mode(self.mode);
        header.set_entry_type(entry_type);
        if self.stored_bytes <= MOST_SIZE {
            header.set_size(self.stored_bytes);
        } else {
            pax::push(
                &mut records,
                b"size",
                self.stored_bytes.to_string().as_bytes(),
            );
            header.set_size(0);
        }
        match u64::try_from(self.modified.seconds) {
            Ok(seconds) if seconds <= MOST_SIZE && self.modified.nanoseconds == 0 => {
                header.set_mtime(seconds);
            }
            seconds => {
                pax::push(&mut records, b"mtime", self.modified.to_string().as_bytes());
                header.set_mtime(seconds.unwrap_or(0).min(MOST_SIZE));
            }
        }
        for (key, text) in [
            (&b"SCHILY.acl.access"[..], &self.extra.access_acl),
            (b"SCHILY.acl.default", &self.extra.default_acl),
            (b"STATE.flags", &self.extra.flags),
        ] {
            if let Some(text) = text {
                pax::push(&mut records, key, text.as_bytes());
            }
        }
        for (name, value) in &self.extra.xattrs {
            pax::push(&mut records, &xattr_key(name), value);
        }
        header.set_cksum();
        let length = records.len() - BLOCK;
        if length > pax::MOST_BYTES {
            return Err("attributes of more than 1 MiB".into());
        }
        match length {
            0 => records.clear(),
            _ => {
                records[..BLOCK].copy_from_slice(pax_header(length as u64).as_bytes());
                records.resize(records.len().next_multiple_of(BLOCK), 0);
            }
        }
        records.extend_from_slice(header.as_bytes());
        Ok(records)
    }
}

/// Copies as much as fits, the rest stays NUL.
fn put(field: &mut [u8], text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
}

/// What a reader that knows no pax would show.
fn ascii(text: &[u8]) -> Vec<u8> {
    let plain = |b: &u8| if b.is_ascii() { *b } else { b'_' };
    text.iter().map(plain).collect()
}

/// Where to cut a name into ustar's prefix (155 bytes) and name (100); `None` if it does not fit.
fn ustar_split(name: &[u8]) -> Option<usize> {
    if !name.is_ascii() {
        None
    } else if name.len() <= 100 {
        Some(0)
    } else {
        let slashes = (0..name.len().min(156)).rev().filter(|n| name[*n] == b'/');
        let mut cuts = slashes.filter(|n| (1..=100).contains(&(name.len() - n - 1)));
        cuts.next().filter(|cut| *cut > 0)
    }
}

/// The header of so many bytes of records.
fn pax_header(length: u64) -> Header {
    let mut header = Header::new_ustar();
    put(
        &mut header.as_ustar_mut().expect("it was made as ustar").name,
        PAX_NAME,
    );
    header.set_entry_type(EntryType::XHeader);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(length);
    header.set_cksum();
    header
}

const XATTR: &[u8] = b"SCHILY.xattr.";

/// The key of an attribute. `=` would end the key: it and `%` are written as GNU tar writes them.
fn xattr_key(name: &[u8]) -> Vec<u8> {
    let mut key = XATTR.to_vec();
    for byte in name {
        match byte {
            b'%' => key.extend_from_slice(b"%25"),
            b'=' => key.extend_from_slice(b"%3D"),
            byte => key.push(*byte),
        }
    }
    key
}
