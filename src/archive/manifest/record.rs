//! One record of a manifest: everything about one path of one store.

use super::bytes::push_json;
use super::{Bytes, Digest};
use crate::archive::member::{Extra, Kind, MOST_STORED, Member, name, path_of};
use crate::archive::pax::{self, Time};
use crate::archive::{Bad, NAME_MAX, XATTR_MAX};
use serde::Deserialize;
use std::fmt::Display;
use std::io::Write;

/// Everything about one path of one store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it is on the machine, relative to `/`; empty for the store's top.
    pub path: Vec<u8>,
    /// Which of the manifest's stores holds it.
    pub store: usize,
    /// What it is.
    pub what: What,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The last change of its content.
    pub modified: Time,
    /// What `stat` knows nothing of.
    pub extra: Extra,
    /// Whether the inode has more than one name.
    pub has_links: bool,
    /// Which archive of the chain has its member; the full one is 0.
    pub archive: usize,
    /// Where the member's headers begin in that archive's tar.
    pub offset: u64,
    /// The inode it was read from, and that inode's last change: how a later run knows, without
    /// reading it, that it is the same still.
    pub inode: u64,
    /// See `inode`.
    pub changed: Time,
}

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Its size, holes included.
        size: u64,
        /// The digest of its content, holes read as zeros.
        sha256: Digest,
        /// Whether it has holes.
        is_sparse: bool,
    },
    /// A symlink.
    Symlink {
        /// Where it points, any bytes.
        target: Vec<u8>,
    },
    /// Another name of an earlier path of the same store.
    Link {
        /// That path.
        target: Vec<u8>,
    },
    /// A named pipe.
    Fifo,
}

impl What {
    /// How much data it has, in bytes, as far as it can be told: that of a file with holes is in the
    /// totals of all entries only.
    pub fn data_bytes(&self) -> u64 {
        match self {
            Self::File {
                size,
                is_sparse: false,
                ..
            } => *size,
            _ => 0,
        }
    }
}

/// A record as it is read: one line of JSON. [`Record::push_line`] writes it.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Line<'a> {
    path: Bytes,
    #[serde(rename = "type")]
    what: Type,
    #[serde(default)]
    store: usize,
    target: Option<Bytes>,
    size: Option<u64>,
    sha256: Option<Digest>,
    #[serde(default)]
    sparse: bool,
    mode: &'a str,
    uid: u32,
    gid: u32,
    mtime: &'a str,
    acl: Option<String>,
    default_acl: Option<String>,
    #[serde(default)]
    xattrs: Vec<(Bytes, Bytes)>,
    flags: Option<String>,
    #[serde(default)]
    links: bool,
    #[serde(default)]
    archive: usize,
    offset: u64,
    inode: u64,
    ctime: &'a str,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Type {
    Directory,
    File,
    Symlink,
    Link,
    Fifo,
}

impl Record {
    /// Appends the record as one line of JSON, without the line feed. By hand, because there are
    /// hundreds of thousands.
    pub fn push_line(&self, line: &mut Vec<u8>) {
        let mut to = Keys(line);
        to.bytes("{\"path\":", name(&self.path));
        let kind = match &self.what {
            What::Directory => "directory",
            What::File { .. } => "file",
            What::Symlink { .. } => "symlink",
            What::Link { .. } => "link",
            What::Fifo => "fifo",
        };
        to.text(",\"type\":", kind);
        if self.store != 0 {
            to.plain(",\"store\":", self.store);
        }
        match &self.what {
            What::Directory | What::Fifo => {}
            What::File {
                size,
                sha256,
                is_sparse,
            } => {
                to.plain(",\"size\":", size);
                to.text(",\"sha256\":", sha256);
                if *is_sparse {
                    to.plain(",\"sparse\":", true);
                }
            }
            What::Symlink { target } => to.bytes(",\"target\":", target.clone()),
            What::Link { target } => to.bytes(",\"target\":", name(target)),
        }
        to.text(",\"mode\":", format_args!("{:04o}", self.mode));
        to.plain(",\"uid\":", self.uid);
        to.plain(",\"gid\":", self.gid);
        to.text(",\"mtime\":", self.modified);
        let extra = &self.extra;
        for (key, text) in [
            (",\"acl\":", &extra.access_acl),
            (",\"default-acl\":", &extra.default_acl),
        ] {
            if let Some(text) = text {
                to.bytes(key, text.as_bytes().to_vec());
            }
        }
        for (n, (name, value)) in extra.xattrs.iter().enumerate() {
            to.bytes(if n == 0 { ",\"xattrs\":[[" } else { ",[" }, name.clone());
            to.bytes(",", value.clone());
            to.0.push(b']');
        }
        if !extra.xattrs.is_empty() {
            to.0.push(b']');
        }
        if let Some(flags) = &extra.flags {
            to.bytes(",\"flags\":", flags.as_bytes().to_vec());
        }
        if self.has_links {
            to.plain(",\"links\":", true);
        }
        if self.archive != 0 {
            to.plain(",\"archive\":", self.archive);
        }
        to.plain(",\"offset\":", self.offset);
        to.plain(",\"inode\":", self.inode);
        to.text(",\"ctime\":", self.changed);
        to.0.push(b'}');
    }

    /// Reads a line back.
    ///
    /// # Errors
    /// It is not what [`Record::push_line`] writes.
    pub fn from_line(text: &str) -> Result<Self, Bad> {
        let line: Line =
            serde_json::from_str(text).map_err(|e| Bad(format!("a bad record: {e}")))?;
        let time = |text: &str| text.parse::<Time>();
        let what = match (line.what, line.target, line.size, line.sha256, line.sparse) {
            (Type::Directory, None, None, None, false) => What::Directory,
            (Type::Fifo, None, None, None, false) => What::Fifo,
            (Type::File, None, Some(size), Some(sha256), is_sparse) => What::File {
                size,
                sha256,
                is_sparse,
            },
            (Type::Symlink, Some(Bytes(target)), None, None, false) => {
                if target.is_empty() || target.len() > super::PATH_MAX || target.contains(&0) {
                    return Err("a symlink with an impossible target".into());
                }
                What::Symlink { target }
            }
            (Type::Link, Some(Bytes(target)), None, None, false) => What::Link {
                target: path_of(&target)?.to_vec(),
            },
            _ => return Err("a record whose fields contradict its type".into()),
        };
        let record = Self {
            path: path_of(&line.path.0)?.to_vec(),
            store: line.store,
            what,
            mode: u32::from_str_radix(line.mode, 8).map_err(|_| "a mode that is not octal")?,
            uid: line.uid,
            gid: line.gid,
            modified: time(line.mtime)?,
            extra: Extra {
                xattrs: line.xattrs.into_iter().map(|(k, v)| (k.0, v.0)).collect(),
                access_acl: line.acl,
                default_acl: line.default_acl,
                flags: line.flags,
            },
            has_links: line.links,
            archive: line.archive,
            offset: line.offset,
            inode: line.inode,
            changed: time(line.ctime)?,
        };
        if record.mode > 0o7777 {
            return Err("a mode with unknown bits".into());
        }
        record.check_limits()?;
        let mut again = Vec::with_capacity(text.len());
        record.push_line(&mut again);
        (again == text.as_bytes())
            .then_some(record)
            .ok_or_else(|| "a record in another form than the one of this format".into())
    }

    /// What no inode has is not believed, and takes no memory later on.
    fn check_limits(&self) -> Result<(), Bad> {
        if matches!(self.what, What::File { size, .. } if size > MOST_STORED) {
            return Err("a size that no file has".into());
        }
        let extra = &self.extra;
        let is_name = |name: &[u8]| (1..=NAME_MAX).contains(&name.len()) && !name.contains(&0);
        if !extra.xattrs.keys().all(|name| is_name(name)) {
            return Err("an attribute with an impossible name".into());
        }
        if extra.xattrs.values().any(|value| value.len() > XATTR_MAX) {
            return Err("an attribute of more than 64 KiB".into());
        }
        let texts = [&extra.access_acl, &extra.default_acl, &extra.flags];
        let texts = texts
            .iter()
            .map(|text| text.as_ref().map_or(0, String::len));
        let pairs = extra.xattrs.iter().map(|(n, v)| n.len() + v.len());
        if texts.chain(pairs).sum::<usize>() > pax::MOST_BYTES {
            return Err("attributes of more than 1 MiB".into());
        }
        Ok(())
    }

    /// Whether `member` is what this record announces. Owners' names are not the record's matter.
    pub fn announces(&self, member: &Member) -> bool {
        let kind = match (&self.what, &member.kind) {
            (What::Directory, Kind::Directory) | (What::Fifo, Kind::Fifo) => true,
            (
                What::File {
                    size, is_sparse, ..
                },
                Kind::File,
            ) => !is_sparse && *size == member.stored_bytes,
            (
                What::File {
                    size, is_sparse, ..
                },
                Kind::Sparse { real_size },
            ) => *is_sparse && size == real_size,
            (What::Symlink { target }, Kind::Symlink { target: other })
            | (What::Link { target }, Kind::Link { target: other }) => target == other,
            _ => false,
        };
        // A further name of an inode says nothing about it but which one it is.
        let extra = if matches!(self.what, What::Link { .. }) {
            member.extra.is_none() && self.extra.is_none()
        } else {
            member.extra == self.extra
        };
        kind && extra
            && self.path == member.path
            && self.mode == member.mode
            && self.uid == member.uid
            && self.gid == member.gid
            && self.modified == member.modified
    }
}

/// Keys and values of a line.
struct Keys<'a>(&'a mut Vec<u8>);

impl Keys<'_> {
    fn bytes(&mut self, key: &str, value: Vec<u8>) {
        self.0.extend_from_slice(key.as_bytes());
        push_json(self.0, Bytes(value));
    }

    /// A value that needs quotes and no escapes.
    fn text(&mut self, key: &str, value: impl Display) {
        write!(self.0, "{key}\"{value}\"").expect("a vector takes everything");
    }

    fn plain(&mut self, key: &str, value: impl Display) {
        write!(self.0, "{key}{value}").expect("a vector takes everything");
    }
}
