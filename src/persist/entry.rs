//! One declared path: what it is, where it lies, and to whom it belongs when it must be made.
//! Pure.

use super::Users;
use crate::paths::Shown;
use crate::settings::{self, Class, EntryTable, IfMissing};
use serde::Serialize;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// One declared path of the persist tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it is on the machine, absolute and normalised.
    pub path: PathBuf,
    /// What it is.
    pub kind: EntryKind,
    /// How it is put in place.
    pub method: Method,
    /// The store that holds it, by the directory it is mounted at.
    pub store: PathBuf,
    /// What becomes of that store's content.
    pub class: Class,
    /// Whether it is put in place in the initrd.
    pub is_early: bool,
    /// The owner and mode declared for when it must be made.
    pub declared: Declared,
    /// What happens to a file whose source does not exist.
    pub if_missing: IfMissing,
    /// Words for file managers (`x-gvfs-hide`, `x-gvfs-trash`), put beside a bind mount.
    pub mount_words: Vec<&'static str>,
    /// The home it lies in, for a user's entry.
    pub home: Option<Home>,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntryKind {
    /// A directory with everything in it.
    Directory,
    /// A single file.
    File,
}

impl fmt::Display for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Directory => "directory",
            Self::File => "file",
        })
    }
}

/// How an entry is put in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// A kernel bind mount.
    Bind,
    /// A symlink into the store.
    Symlink,
    /// A copy of the store's file, copied back into the store whenever it has changed.
    Copy,
    /// The rule of `/etc/machine-id` alone: written into root before PID 1 reads it, and the id
    /// of a first boot brought back into the store. A bind mount there makes
    /// `systemd-machine-id-commit` fail at every boot.
    MachineId,
}

/// A user's home directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// Where it is.
    pub path: PathBuf,
    /// Whose.
    pub uid: u32,
    /// The user's own group.
    pub gid: u32,
}

/// The owner and mode of something that must be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Ownership {
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The permission bits.
    pub mode: u32,
}

impl fmt::Display for Ownership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} {:04o}", self.uid, self.gid, self.mode)
    }
}

/// What was declared of an owner and mode.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declared {
    /// The owner.
    pub user: Id,
    /// The group.
    pub group: Id,
    /// The permission bits.
    pub mode: Option<u32>,
}

/// A user or group, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Id {
    /// None was declared.
    #[default]
    Default,
    /// This number.
    Number(u32),
    /// A name that the machine's user database does not know: a fault only if something must be
    /// made.
    Unknown(String),
}

impl Id {
    fn resolve(declared: Option<&str>, known: impl Fn(&str) -> Option<u32>) -> Self {
        match declared {
            None => Self::Default,
            Some(name) => match known(name).or_else(|| name.parse().ok()) {
                Some(id) => Self::Number(id),
                None => Self::Unknown(name.to_owned()),
            },
        }
    }

    fn or(&self, default: u32) -> Result<u32, &str> {
        match self {
            Self::Default => Ok(default),
            Self::Number(id) => Ok(*id),
            Self::Unknown(name) => Err(name),
        }
    }
}

impl Declared {
    /// What was declared, and `default` where nothing was.
    ///
    /// # Errors
    /// The name of a user or group that nobody knows.
    pub fn or(&self, default: Ownership) -> Result<Ownership, &str> {
        Ok(Ownership {
            uid: self.user.or(default.uid)?,
            gid: self.group.or(default.gid)?,
            mode: self.mode.unwrap_or(default.mode),
        })
    }
}

impl Entry {
    /// Makes an entry of what was declared: `path` absolute, or relative to `home`.
    ///
    /// # Errors
    /// What is wrong with the declaration.
    pub(super) fn resolve(
        declared: &settings::Entry,
        kind: EntryKind,
        (store, settings): (&Path, &settings::Store),
        home: Option<&Home>,
        users: &Users,
    ) -> Result<Self, String> {
        let table = match declared {
            settings::Entry::Table(table) => table.clone(),
            settings::Entry::Path(path) => EntryTable {
                path: path.clone(),
                method: settings::Method::default(),
                early: None,
                user: None,
                group: None,
                mode: None,
                if_missing: None,
            },
        };
        let path = match home {
            None => crate::paths::normal(&table.path)?,
            Some(home) => home.path.join(crate::paths::normal_below(&table.path)?),
        };
        let mode = match &table.mode {
            None => None,
            Some(text) => {
                Some(parse_mode(text).ok_or("has a mode that is not octal, as in \"0750\"")?)
            }
        };
        let user = Id::resolve(table.user.as_deref(), |name| users.uid(name));
        let group = match (&table.group, &table.user) {
            (None, Some(user)) => match users.user(user) {
                Some(user) => Id::Number(user.gid),
                None => Id::Default,
            },
            (group, _) => Id::resolve(group.as_deref(), |name| users.gid(name)),
        };
        let method = match table.method {
            settings::Method::Symlink => Method::Symlink,
            settings::Method::Copy if kind == EntryKind::Directory => {
                return Err(ONLY_FILES_ARE_COPIED.into());
            }
            _ if is_machine_id(&path) && kind == EntryKind::File => Method::MachineId,
            settings::Method::Bind => Method::Bind,
            settings::Method::Copy => Method::Copy,
        };
        let mut mount_words = Vec::new();
        if method == Method::Bind {
            mount_words.extend(settings.hide_mounts.then_some("x-gvfs-hide"));
            mount_words.extend(settings.allow_trash.then_some("x-gvfs-trash"));
        }
        Ok(Self {
            is_early: table.early.unwrap_or_else(|| is_needed_early(&path)),
            path,
            kind,
            method,
            store: store.to_owned(),
            class: settings.class,
            declared: Declared { user, group, mode },
            if_missing: table.if_missing.unwrap_or_default(),
            mount_words,
            home: home.cloned(),
        })
    }

    /// The configuration itself, whose master copy is in the store: a link, because `keep` and
    /// `drop` replace that copy whole.
    pub(super) fn configuration(store: &Path, class: Class) -> Self {
        Self {
            path: CONFIGURATION.into(),
            kind: EntryKind::File,
            method: Method::Symlink,
            store: store.to_owned(),
            class,
            is_early: true,
            declared: Declared::default(),
            if_missing: IfMissing::Skip,
            mount_words: Vec::new(),
            home: None,
        }
    }

    /// Where its content is: the same path below the store.
    pub fn source(&self) -> PathBuf {
        below(&self.store, &self.path)
    }

    /// The owner and mode of the entry itself when nothing else says any.
    pub fn default_ownership(&self) -> Ownership {
        let (uid, gid) = self
            .home
            .as_ref()
            .map_or((0, 0), |home| (home.uid, home.gid));
        let mode = well_known_mode(&self.path).unwrap_or(match self.kind {
            EntryKind::Directory => 0o755,
            EntryKind::File => 0o644,
        });
        Ownership { uid, gid, mode }
    }

    /// The owner and mode of `parent`, a directory that leads to this entry, when it is neither
    /// on the machine nor in the store: the user's from the home on, and the home itself closed.
    pub fn parent_ownership(&self, parent: &Path) -> Ownership {
        let known = well_known_mode(parent);
        match &self.home {
            Some(home) if parent.starts_with(&home.path) => Ownership {
                uid: home.uid,
                gid: home.gid,
                mode: known.unwrap_or(if parent == home.path { 0o700 } else { 0o755 }),
            },
            _ => Ownership {
                uid: 0,
                gid: 0,
                mode: known.unwrap_or(0o755),
            },
        }
    }

    /// The directories above it, outermost first, `/` left out: it is never touched.
    pub fn parents(&self) -> impl Iterator<Item = &Path> {
        let mut parents: Vec<_> = self.path.ancestors().skip(1).collect();
        parents.pop();
        parents.into_iter().rev()
    }
}

/// Why a directory has no copy in root.
const ONLY_FILES_ARE_COPIED: &str = "is a directory, and only files are copied";

/// Where the configuration is on the machine.
pub const CONFIGURATION: &str = "/etc/state/state.toml";

/// `path`, absolute, taken as a path below `top`.
pub fn below(top: &Path, path: &Path) -> PathBuf {
    top.join(path.strip_prefix("/").unwrap_or(path))
}

fn is_machine_id(path: &Path) -> bool {
    path == Path::new("/etc/machine-id")
}

/// A mode as the configuration writes it: octal digits.
pub fn parse_mode(text: &str) -> Option<u32> {
    let is_octal = !text.is_empty() && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mode = u32::from_str_radix(text, 8).ok()?;
    (is_octal && mode <= 0o7777).then_some(mode)
}

/// Paths that something before the late entries depends on.
const NEEDED_EARLY: &[&str] = &[
    CONFIGURATION,     // `state` itself
    "/etc/machine-id", // PID 1
    "/var/lib/nixos",  // the numbers of users, before activation makes them
    "/etc/passwd",     // who owns what
    "/etc/group",
    "/etc/shadow",
    "/etc/gshadow",
    "/etc/subuid",
    "/etc/subgid",
    "/etc/ssh/ssh_host_*", // sops and agenix decrypt with them
    "/etc/sops",           // keys of sops-nix
    "/var/lib/sops",
    "/var/lib/sops-nix",
    "/root/.config/sops",
    "/etc/agenix", // keys of agenix
    "/var/lib/agenix",
    "/etc/age",
];

/// Whether an entry is early unless it says otherwise: it is, holds, or lies below something that
/// what comes later depends on.
fn is_needed_early(path: &Path) -> bool {
    NEEDED_EARLY.iter().any(|needed| {
        let needed_path = Path::new(needed.trim_end_matches('*'));
        needed_path.starts_with(path)
            || match needed.strip_suffix('*') {
                None => path.starts_with(needed),
                Some(prefix) => path.as_os_str().as_bytes().starts_with(prefix.as_bytes()),
            }
    })
}

/// Files that programs replace by a new one, which a mount forbids and a link does not survive.
pub const REPLACED_BY_PROGRAMS: &[&str] = &[
    "/etc/passwd",
    "/etc/shadow",
    "/etc/group",
    "/etc/gshadow",
    "/etc/subuid",
    "/etc/subgid",
];

/// Whether programs replace the file at `path` by a new one.
pub fn is_replaced_by_programs(path: &Path) -> bool {
    REPLACED_BY_PROGRAMS
        .iter()
        .any(|known| path == Path::new(known))
}

/// Modes of paths that are harmful, or refused by their programs, with any other.
fn well_known_mode(path: &Path) -> Option<u32> {
    let bytes = path.as_os_str().as_bytes();
    let name = path.file_name().map(OsStrExt::as_bytes)?;
    match bytes {
        b"/var/lib/private" | b"/var/cache/private" | b"/var/log/private" | b"/root" => Some(0o700),
        b"/tmp" | b"/var/tmp" => Some(0o1777),
        b"/etc/shadow" | b"/etc/gshadow" => Some(0o600),
        b"/etc/machine-id" => Some(0o444),
        _ if bytes.starts_with(b"/etc/ssh/ssh_host_") && !name.ends_with(b".pub") => Some(0o600),
        _ if name == b".ssh" || name == b".gnupg" => Some(0o700),
        _ => None,
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Shown(&self.path).fmt(f)
    }
}

#[cfg(test)]
mod tests;
