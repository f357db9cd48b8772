//! `[persist."/persist"]`: the stores and what they hold.

use super::node::{Node, Value};
use super::read::{Read, Reader};
use super::table::{defaults, table, words};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

words! {
    /// What becomes of a store's content.
    pub enum Class {
        /// It goes into archives.
        Backup "backup",
        /// It is kept, and never archived.
        Local "local",
        /// It may be lost.
        Cache "cache",
    }
    later []
}

table! {
    /// `[persist."/persist"]`: one store.
    pub struct Store {
        /// What becomes of its content.
        class: Class = (Class::default()), example "\"local\"";
        /// Hide the bind mounts from file managers (`x-gvfs-hide`).
        hide_mounts: bool = (false), example "true";
        /// Let file managers make a trash in the bind mounts (`x-gvfs-trash`).
        allow_trash: bool = (false), example "true";
        /// The directories it holds.
        directories: Vec<Entry> = (Vec::new()), example "[\"/var/log\", { path = \"/var/lib/nixos\", early = true }]";
        /// The files it holds.
        files: Vec<Entry> = (Vec::new()), example "[\"/etc/machine-id\"]";
        /// Entries relative to users' homes, by user name.
        users: BTreeMap<String, UserEntries> = (BTreeMap::new()), example "";
    }
    later []
}

table! {
    /// `[persist."/persist".users.NAME]`: entries relative to a user's home.
    pub struct UserEntries {
        /// Directories relative to the home.
        directories: Vec<Entry> = (Vec::new()), example "[\"Documents\", { path = \".ssh\", mode = \"0700\" }]";
        /// Files relative to the home.
        files: Vec<Entry> = (Vec::new()), example "[\".screenrc\"]";
    }
    later []
}

table! {
    /// An entry with options.
    pub struct EntryTable {
        /// Where it is on the machine: absolute, or relative to the home for a user's entry.
        path: PathBuf = required, example "\"/var/lib/colord\"";
        /// How it is put in place.
        method: Method = (Method::default()), example "\"symlink\"";
        /// Whether it is put in place in the initrd, before the system starts.
        early: Option<bool> = (None) "`true` for what the start of the system depends on: the machine id, ssh host keys, NixOS's user ids", example "true";
        /// The owner, by name or number, for when it must be made.
        user: Option<String> = (None) "`root`, or whose home it is in", example "\"colord\"";
        /// The group, by name or number, for when it must be made.
        group: Option<String> = (None) "the user's own", example "\"colord\"";
        /// The mode for when it must be made, as an octal number in quotes.
        mode: Option<String> = (None) "`0755` for directories, `0644` for files", example "\"0750\"";
        /// What to do when a file does not exist in the store. Directories are always made.
        if_missing: Option<IfMissing> = (None) "`\"create\"`", example "\"skip\"";
    }
    later []
}

words! {
    /// How an entry is put in place.
    pub enum Method {
        /// A kernel bind mount.
        Bind "bind",
        /// A symlink into the store.
        Symlink "symlink",
        /// A copy, saved back when it changes: for files that their programs replace.
        Copy "copy",
    }
    later []
}

words! {
    /// What to do when a file entry's source does not exist.
    pub enum IfMissing {
        /// Make an empty one.
        Create "create",
        /// Leave it out.
        Skip "skip",
        /// Report a failure.
        Fail "fail",
    }
    later []
}

/// One entry: a path alone, or a table.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(untagged)]
pub enum Entry {
    /// Everything by default.
    Path(PathBuf),
    /// With options.
    Table(EntryTable),
}

impl Entry {
    /// The path as declared.
    pub fn path(&self) -> &Path {
        match self {
            Self::Path(path) => path,
            Self::Table(table) => &table.path,
        }
    }
}

impl Read for Entry {
    fn kind() -> String {
        "a path, or a table with the keys of an entry".into()
    }
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Text(path) => Some(Self::Path(path.into())),
            Value::Table(_) => EntryTable::read(node, reader).map(Self::Table),
            _ => {
                reader.mismatch(node, "a path or a table");
                None
            }
        }
    }
}

impl From<&str> for Entry {
    fn from(path: &str) -> Self {
        Self::Path(path.into())
    }
}

defaults! { Store, UserEntries }
