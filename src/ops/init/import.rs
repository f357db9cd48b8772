//! The lists of others as entries of a persist tree. What has no place in a configuration is
//! named, each thing; nothing is dropped without a word. Pure.

mod impermanence;
mod mode;
mod node;
mod preservation;

use crate::failure::Failure;
use crate::paths::{self, Shown};
use crate::persist::{self, CONFIGURATION, EntryKind, PersistTree, Users};
use crate::settings::{self, EntryTable, Method, Settings, Store, UserEntries};
use node::Node;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Whose list it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// `environment.persistence` (or `home.persistence`) of nix-community/impermanence.
    Impermanence,
    /// `preservation` of nix-community/preservation.
    Preservation,
}

impl Origin {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Impermanence, Self::Preservation];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Impermanence => "impermanence",
            Self::Preservation => "preservation",
        }
    }
}

/// How it is said that nothing of an entry was brought over.
const WHOLE_ENTRY: &str = "the whole entry";

/// Something of the list that has no place in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// The path, store or option that it was said of.
    pub of: String,
    /// What it is, and why.
    pub what: String,
}

/// A list, brought over.
#[derive(Debug)]
pub(super) struct Imported {
    pub(super) origin: Origin,
    /// The stores with their entries, in the order in which they were listed.
    pub(super) stores: BTreeMap<PathBuf, Store>,
    pub(super) left_out: Vec<LeftOut>,
    /// What the machine of the list knows of its users, as far as the list says.
    users: Users,
}

impl Imported {
    /// The store that will hold the configuration.
    pub(super) fn first_store(&self) -> Option<PathBuf> {
        self.stores.keys().next().cloned()
    }

    /// Where the content of each entry is.
    pub(super) fn sources(&self) -> Result<Vec<PathBuf>, persist::Problems> {
        let tree = resolve(&self.stores, &self.users)?;
        let declared = tree
            .entries()
            .filter(|entry| entry.path != Path::new(CONFIGURATION));
        Ok(declared.map(persist::Entry::source).collect())
    }

    /// The list in a sentence.
    pub(super) fn summary(&self) -> String {
        let of_users = |kind: fn(&UserEntries) -> usize, store: &Store| -> usize {
            store.users.values().map(kind).sum()
        };
        let (mut directories, mut files) = (0, 0);
        for store in self.stores.values() {
            directories += store.directories.len() + of_users(|of| of.directories.len(), store);
            files += store.files.len() + of_users(|of| of.files.len(), store);
        }
        let users: BTreeSet<&str> = (self.stores.values())
            .flat_map(|store| store.users.keys().map(String::as_str))
            .collect();
        let users = match users.is_empty() {
            true => String::new(),
            false => format!(
                "; of users: {}",
                users.into_iter().collect::<Vec<_>>().join(", ")
            ),
        };
        let origin = self.origin.name();
        format!("the list of {origin}: directories: {directories}, files: {files}{users}")
    }

    /// What was left out of the entry that is there for `path` of the machine.
    pub(super) fn left_out_of(&self, path: &Path) -> Vec<&str> {
        let of = Shown(path).to_string();
        (self.left_out.iter())
            .filter(|left| left.of == of && !left.what.starts_with(WHOLE_ENTRY))
            .map(|left| left.what.as_str())
            .collect()
    }

    /// The home that the list gives a user.
    pub(super) fn home(&self, user: &str) -> Option<&Path> {
        Some(&self.users.user(user)?.home)
    }
}

fn resolve(
    stores: &BTreeMap<PathBuf, Store>,
    users: &Users,
) -> Result<PersistTree, persist::Problems> {
    let settings = Settings {
        persist: stores.clone(),
        ..Settings::default()
    };
    PersistTree::resolve(&settings, users)
}

/// Reads the JSON of a list.
///
/// # Errors
/// It is no JSON, not of the form that the options have, or lists nothing.
pub(super) fn read(origin: Origin, text: &str) -> Result<Imported, Failure> {
    let json = serde_json::from_str(text).map_err(|error| {
        Failure::usage(format!("it is no JSON: {error}")).hint(how_to_evaluate(origin))
    })?;
    let mut list = List::default();
    let top = Node::top(&json);
    let read = match origin {
        Origin::Impermanence => impermanence::read(&top, &mut list),
        Origin::Preservation => preservation::read(&top, &mut list),
    };
    read.map_err(|failure| match failure.cure {
        Some(_) => failure,
        None => failure.hint(how_to_evaluate(origin)),
    })?;
    if list.stores.is_empty() {
        return Err(Failure::usage("it lists no store").hint(how_to_evaluate(origin)));
    }
    list.settle(origin)
}

fn how_to_evaluate(origin: Origin) -> String {
    let option = match origin {
        Origin::Impermanence => "environment.persistence",
        Origin::Preservation => "preservation",
    };
    format!("it is what `nix eval --json` makes of `{option}`; docs/moving.md has the command")
}

/// One thing of a list.
struct Item<'a> {
    kind: EntryKind,
    store: PathBuf,
    /// As it is listed: relative to the home for a user's.
    path: &'a str,
    /// The user in whose home it is, and that home if the list says it.
    user: Option<(&'a str, Option<&'a str>)>,
    owner: Option<&'a str>,
    group: Option<&'a str>,
    /// The group that the owner has anyway.
    usual_group: Option<&'a str>,
    mode: Option<u32>,
    /// The mode that the list's tool gives where nothing is said.
    usual_mode: u32,
    method: Method,
    early: bool,
    words: Words,
    /// What has no place in an entry.
    left_out: Vec<String>,
}

/// What is said for file managers: of each entry there, of a whole store here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Words {
    hide_mounts: bool,
    allow_trash: bool,
}

/// What a list said of an entry that was taken over.
struct Taken {
    store: PathBuf,
    path: PathBuf,
    words: Words,
    is_bind: bool,
    /// The mode that was said and left out, because it is what the list's tool does anyway.
    usual_mode: Option<u32>,
}

/// A list while it is being read.
#[derive(Default)]
struct List {
    stores: BTreeMap<PathBuf, Store>,
    /// What a store says of all its entries.
    words: BTreeMap<PathBuf, Words>,
    homes: BTreeMap<String, PathBuf>,
    taken: Vec<Taken>,
    left_out: Vec<LeftOut>,
}

impl List {
    fn leave_out(&mut self, of: impl ToString, what: impl Into<String>) {
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
    fn store(&mut self, path: &str) -> Result<PathBuf, Failure> {
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
    fn has(&self, store: &Path, path: &Path) -> bool {
        let mut taken = self.taken.iter();
        taken.any(|taken| taken.store == store && taken.path == path)
    }

    /// Where a listed path is on the machine.
    fn absolute(&mut self, path: &str, user: Option<(&str, Option<&str>)>) -> PathBuf {
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
    fn add(&mut self, item: Item<'_>) {
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
    fn users(&self) -> Users {
        let line = |(n, (name, home)): (usize, (&String, &PathBuf))| {
            format!("{name}:x:{0}:{0}::{1}:\n", n + 1000, home.display())
        };
        let passwd: String = self.homes.iter().enumerate().map(line).collect();
        Users::parse(passwd.as_bytes(), b"")
    }

    /// What is left when everything that contradicts something else is taken out.
    fn settle(mut self, origin: Origin) -> Result<Imported, Failure> {
        self.settle_words();
        let users = self.users();
        let tree = loop {
            let problems = match resolve(&self.stores, &users) {
                Ok(tree) => break tree,
                Err(persist::Problems(problems)) => problems,
            };
            let Some(problem) = problems.into_iter().next() else {
                return Err(Failure::usage("it contradicts itself"));
            };
            if !self.take_out(&problem) {
                return Err(Failure::usage(problem.to_string()));
            }
            let of = Shown(&problem.path).to_string();
            self.leave_out(of, format!("{WHOLE_ENTRY}: it {}", problem.why));
        };
        let mut modes = Vec::new();
        for taken in &self.taken {
            if let (Some(entry), Some(usual)) = (tree.entry(&taken.path), taken.usual_mode)
                && let mode = entry.default_ownership().mode
                && mode != usual
                && entry.method != persist::Method::MachineId
            {
                let what =
                    format!("the mode {usual:04o}: where it must be made it gets {mode:04o}");
                modes.push((Shown(&taken.path).to_string(), what));
            }
        }
        for (of, what) in modes {
            self.leave_out(of, what);
        }
        for store in self.stores.values_mut() {
            let is_empty = |of: &UserEntries| of.directories.is_empty() && of.files.is_empty();
            store.users.retain(|_, of| !is_empty(of));
        }
        self.stores.retain(|_, store| {
            !(store.directories.is_empty() && store.files.is_empty() && store.users.is_empty())
        });
        if self.stores.is_empty() {
            return Err(Failure::usage("nothing of it can be brought over"));
        }
        Ok(Imported {
            origin,
            stores: self.stores,
            left_out: self.left_out,
            users,
        })
    }

    /// What is said for file managers is a store's: what the store said, else what all its
    /// entries agree on.
    fn settle_words(&mut self) {
        let stores: Vec<PathBuf> = self.stores.keys().cloned().collect();
        for store in stores {
            let of_store = |taken: &&Taken| taken.store == store && taken.is_bind;
            let binds: Vec<&Taken> = self.taken.iter().filter(of_store).collect();
            let all = |word: fn(&Words) -> bool| {
                !binds.is_empty() && binds.iter().all(|taken| word(&taken.words))
            };
            let words = self.words.get(&store).copied().unwrap_or(Words {
                hide_mounts: all(|words| words.hide_mounts),
                allow_trash: all(|words| words.allow_trash),
            });
            let mut odd = Vec::new();
            for taken in binds {
                for (name, of_entry, of_store) in [
                    ("hide-mounts", taken.words.hide_mounts, words.hide_mounts),
                    ("allow-trash", taken.words.allow_trash, words.allow_trash),
                ] {
                    if of_entry != of_store {
                        let of = Shown(&taken.path).to_string();
                        let what =
                            format!("`{name} = {of_entry}`: here it is said of a whole store");
                        odd.push((of, what));
                    }
                }
            }
            for (of, what) in odd {
                self.leave_out(of, what);
            }
            if let Some(settings) = self.stores.get_mut(&store) {
                settings.hide_mounts = words.hide_mounts;
                settings.allow_trash = words.allow_trash;
            }
        }
    }

    /// Takes the entry that a problem is about out of its store: of several the last.
    fn take_out(&mut self, problem: &persist::Problem) -> bool {
        let homes = &self.homes;
        let Some(store) = self.stores.get_mut(&problem.store) else {
            return false;
        };
        let take = |entries: &mut Vec<settings::Entry>, home: Option<&Path>| {
            let is_it = |entry: &settings::Entry| match home {
                None => entry.path() == problem.path,
                Some(home) => {
                    entry.path() == problem.path || home.join(entry.path()) == problem.path
                }
            };
            match entries.iter().rposition(is_it) {
                Some(at) => {
                    entries.remove(at);
                    true
                }
                None => false,
            }
        };
        for (name, of_user) in &mut store.users {
            let home = homes.get(name).map(PathBuf::as_path);
            if take(&mut of_user.files, home) || take(&mut of_user.directories, home) {
                return true;
            }
        }
        take(&mut store.files, None) || take(&mut store.directories, None)
    }
}

/// What is said of the directory around an entry.
fn of_parent(odd: &[String]) -> String {
    format!(
        "the {} of the directory around it: a missing one is made as it is in the store",
        odd.join(", ")
    )
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
