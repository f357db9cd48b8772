//! A list while it is being read.

use super::{LeftOut, WHOLE_ENTRY};
use crate::failure::Failure;
use crate::paths::{self, Shown};
use crate::persist::{EntryKind, Users};
use crate::settings::{self, EntryTable, Method, Store};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One thing of a list.
pub(super) struct Item<'a> {
    pub(super) kind: EntryKind,
    pub(super) store: PathBuf,
    /// As it is listed: relative to the home for a user's.
    pub(super) path: &'a str,
    /// The user in whose home it is, and that home if the list says it.
    pub(super) user: Option<(&'a str, Option<&'a str>)>,
    pub(super) owner: Option<&'a str>,
    pub(super) group: Option<&'a str>,
    /// The group that the owner has anyway.
    pub(super) usual_group: Option<&'a str>,
    pub(super) mode: Option<u32>,
    /// The mode that the list's tool gives where nothing is said.
    pub(super) usual_mode: u32,
    pub(super) method: Method,
    pub(super) early: bool,
    pub(super) words: Words,
    /// What has no place in an entry.
    pub(super) left_out: Vec<String>,
}

/// What is said for file managers: of each entry there, of a whole store here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) hide_mounts: bool,
    pub(super) allow_trash: bool,
}

/// What a list said of an entry that was taken over.
pub(super) struct Taken {
    pub(super) store: PathBuf,
    pub(super) path: PathBuf,
    pub(super) words: Words,
    pub(super) is_bind: bool,
    /// The mode that was said and left out, because it is what the list's tool does anyway.
    pub(super) usual_mode: Option<u32>,
}

/// A list while it is being read.
#[derive(Default)]
pub(super) struct List {
    pub(super) stores: BTreeMap<PathBuf, Store>,
    /// What a store says of all its entries.
    pub(super) words: BTreeMap<PathBuf, Words>,
    pub(super) homes: BTreeMap<String, PathBuf>,
    pub(super) taken: Vec<Taken>,
    pub(super) left_out: Vec<LeftOut>,
}

impl List {
    pub(super) fn leave_out(&mut self, of: impl ToString, what: impl Into<String>) {
        // It goes into comments and on screens: on one line, whatever a key or path holds.
        let line = |text: &str| {
            let escaped = |c: char| match c.is_control() {
                true => c.escape_default().to_string(),
                false => c.to_string(),
            };
            text.chars().map(escaped).collect()
        };
        let left = LeftOut {
            of: line(&of.to_string()),
            what: line(&what.into()),
        };
        if !self.left_out.contains(&left) {
            self.left_out.push(left);
        }
    }

    /// A store, by the path it is listed under.
    pub(super) fn store(&mut self, path: &str) -> Result<PathBuf, Failure> {
        let store = paths::normal(Path::new(path))
            .map_err(|why| Failure::usage(format!("{path:?} cannot be a store: the path {why}")))?;
        self.stores.entry(store.clone()).or_default();
        Ok(store)
    }

    /// The home of a user: as listed, else the usual one.
    fn home(&mut self, name: &str, said: Option<&str>) -> PathBuf {
        let usual = || match name {
            "root" => "/root".into(),
            name => Path::new("/home").join(name),
        };
        let said = said.and_then(|home| paths::normal(Path::new(home)).ok());
        match (self.homes.get(name), said) {
            (Some(known), _) => known.clone(),
            (None, said) => {
                let home = said.unwrap_or_else(usual);
                self.homes.insert(name.to_owned(), home.clone());
                home
            }
        }
    }

    /// Whether an entry is there already.
    pub(super) fn has(&self, store: &Path, path: &Path) -> bool {
        let mut taken = self.taken.iter();
        taken.any(|taken| taken.store == store && taken.path == path)
    }

    /// Where a listed path is on the machine.
    pub(super) fn absolute(&mut self, path: &str, user: Option<(&str, Option<&str>)>) -> PathBuf {
        match user {
            None => path.into(),
            Some((name, home)) => {
                let home = self.home(name, home);
                match Path::new(path).starts_with(&home) {
                    true => path.into(),
                    false => home.join(path.trim_start_matches('/')),
                }
            }
        }
    }

    /// Takes a thing over, as far as it can be.
    pub(super) fn add(&mut self, item: Item<'_>) {
        let absolute = self.absolute(item.path, item.user);
        let path = match paths::normal(&absolute) {
            Ok(path) => path,
            Err(why) => {
                let of = Shown(&absolute);
                self.leave_out(of, format!("{WHOLE_ENTRY}: its path {why}"));
                return;
            }
        };
        for what in item.left_out {
            self.leave_out(Shown(&path), what);
        }
        let user = item.user.map(|(name, _)| name);
        let home = user.and_then(|user| self.homes.get(user));
        // A home itself is an entry of the machine: nothing in it is relative to it.
        let below = home
            .and_then(|home| path.strip_prefix(home).ok())
            .filter(|below| !below.as_os_str().is_empty());
        let usual_owner = match below {
            Some(_) => user.unwrap_or("root"),
            None => "root",
        };
        let usual_group = match below {
            Some(_) => item.usual_group,
            None => Some("root"),
        };
        let owner = item.owner.filter(|owner| *owner != usual_owner);
        let group = item
            .group
            .filter(|group| owner.is_some() || Some(*group) != usual_group);
        let mode = item.mode.filter(|mode| *mode != item.usual_mode);
        let table = EntryTable {
            path: below.unwrap_or(&path).to_owned(),
            method: item.method,
            early: item.early.then_some(true),
            user: owner.map(str::to_owned),
            group: group.map(str::to_owned),
            mode: mode.map(|mode| format!("{mode:04o}")),
            if_missing: None,
        };
        let is_plain = table
            == EntryTable {
                path: table.path.clone(),
                ..plain()
            };
        let entry = match is_plain {
            true => settings::Entry::Path(table.path),
            false => settings::Entry::Table(table),
        };
        let store = self.stores.entry(item.store.clone()).or_default();
        let (directories, files) = match (below, user) {
            (Some(_), Some(user)) => {
                let of_user = store.users.entry(user.to_owned()).or_default();
                (&mut of_user.directories, &mut of_user.files)
            }
            _ => (&mut store.directories, &mut store.files),
        };
        match item.kind {
            EntryKind::Directory => directories.push(entry),
            EntryKind::File => files.push(entry),
        }
        self.taken.push(Taken {
            store: item.store,
            path,
            words: item.words,
            is_bind: item.method == Method::Bind,
            usual_mode: item.mode.filter(|mode| *mode == item.usual_mode),
        });
    }

    /// The users of the list as a user database has them; the numbers do not matter here.
    pub(super) fn users(&self) -> Users {
        let line = |(n, (name, home)): (usize, (&String, &PathBuf))| {
            format!("{name}:x:{0}:{0}::{1}:\n", n + 1000, home.display())
        };
        let passwd: String = self.homes.iter().enumerate().map(line).collect();
        Users::parse(passwd.as_bytes(), b"")
    }
}

/// An entry of which nothing is said but its path.
fn plain() -> EntryTable {
    EntryTable {
        path: PathBuf::new(),
        method: Method::default(),
        early: None,
        user: None,
        group: None,
        mode: None,
        if_missing: None,
    }
}
