//! The persist tree as it was declared, resolved against a machine's users; and the mapping
//! between paths on the machine and paths in the stores. Pure.

use super::Users;
use super::entry::{CONFIGURATION, Entry, EntryKind, Home, Method, below};
use crate::paths::{self, Shown};
use crate::settings::{Class, Settings};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Everything that is kept, and where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PersistTree {
    stores: BTreeMap<PathBuf, Class>,
    entries: BTreeMap<PathBuf, Entry>,
    unresolved: Vec<Unresolved>,
}

/// Entries of a user whom the machine does not know: nobody can say where they belong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unresolved {
    /// The user's name.
    pub user: String,
    /// The store.
    pub store: PathBuf,
    /// The paths as declared, relative to a home that is not known.
    pub paths: Vec<PathBuf>,
    /// Why.
    pub why: &'static str,
}

/// A declaration that contradicts itself or another. The configuration is at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The store it is declared in.
    pub store: PathBuf,
    /// The path as it was declared.
    pub path: PathBuf,
    /// What is wrong with it, so that path and reason make a sentence.
    pub why: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, store) = (Shown(&self.path), Shown(&self.store));
        write!(f, "{path} in [persist.\"{store}\"] {}", self.why)
    }
}

/// All that is wrong with a declared persist tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct Problems(pub Vec<Problem>);

impl PersistTree {
    /// Resolves what the settings declare. Users' homes and owners come from `users`.
    ///
    /// # Errors
    /// Everything in the declaration that contradicts itself.
    pub fn resolve(settings: &Settings, users: &Users) -> Result<Self, Problems> {
        let mut tree = Self::default();
        let mut problems = Vec::new();
        for (store, declared) in &settings.persist {
            let mut wrong = |path: &Path, why: String| {
                problems.push(Problem {
                    store: store.clone(),
                    path: path.to_owned(),
                    why,
                });
            };
            let place = match paths::normal(store) {
                Ok(place) => place,
                Err(why) => {
                    wrong(store, why.to_owned());
                    continue;
                }
            };
            tree.stores.insert(place.clone(), declared.class);
            let mut add = |declared_entry, kind, home: Option<&Home>| {
                let of = (place.as_path(), declared);
                let path = declared_path(declared_entry);
                match Entry::resolve(declared_entry, kind, of, home, users) {
                    Err(why) => wrong(path, why),
                    Ok(entry) => {
                        if let Some(other) = tree.entries.get(&entry.path) {
                            let other = Shown(&other.store);
                            wrong(path, format!("is declared twice: in {other} too"));
                        } else {
                            tree.entries.insert(entry.path.clone(), entry);
                        }
                    }
                }
            };
            for entry in &declared.directories {
                add(entry, EntryKind::Directory, None);
            }
            for entry in &declared.files {
                add(entry, EntryKind::File, None);
            }
            for (name, of_user) in &declared.users {
                match home(name, users) {
                    Ok(home) => {
                        for entry in &of_user.directories {
                            add(entry, EntryKind::Directory, Some(&home));
                        }
                        for entry in &of_user.files {
                            add(entry, EntryKind::File, Some(&home));
                        }
                    }
                    Err(why) => tree.unresolved.push(Unresolved {
                        user: name.clone(),
                        store: place.clone(),
                        paths: (of_user.directories.iter().chain(&of_user.files))
                            .map(|entry| declared_path(entry).to_owned())
                            .collect(),
                        why,
                    }),
                }
            }
        }
        tree.contradictions(&mut problems);
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        tree.add_configuration();
        tree.make_early_what_early_entries_lie_in();
        Ok(tree)
    }

    fn contradictions(&self, problems: &mut Vec<Problem>) {
        for entry in self.entries.values() {
            let mut wrong = |why| {
                problems.push(Problem {
                    store: entry.store.clone(),
                    path: entry.path.clone(),
                    why,
                });
            };
            for store in self.stores.keys() {
                let shown = Shown(store);
                if entry.path.starts_with(store) {
                    wrong(format!("lies inside the store {shown}"));
                } else if store.starts_with(&entry.path) {
                    wrong(format!("would hide the store {shown}"));
                }
            }
            match self.around(&entry.path) {
                Some(outer) if outer.kind == EntryKind::File => {
                    wrong(format!("lies inside {outer}, which is declared as a file"));
                }
                Some(outer) if outer.store == entry.store => {
                    wrong(format!("lies inside {outer}, which is kept already"));
                }
                Some(outer) if outer.method == Method::Symlink => {
                    wrong(format!(
                        "lies inside {outer}, which is a link; use method = \"bind\" there"
                    ));
                }
                _ => {}
            }
        }
    }

    fn add_configuration(&mut self) {
        // The store that is archived holds the configuration.
        let home = (self.stores.iter()).find(|(_, class)| **class == Class::Backup);
        let Some((store, class)) = home.or(self.stores.first_key_value()) else {
            return;
        };
        if self.holder(Path::new(CONFIGURATION)).is_none() {
            let entry = Entry::configuration(store, *class);
            self.entries.insert(entry.path.clone(), entry);
        }
    }

    /// An entry around an early one is early too, or it would be mounted over it later.
    fn make_early_what_early_entries_lie_in(&mut self) {
        let early: Vec<_> = (self.entries.values())
            .filter(|entry| entry.is_early)
            .map(|entry| entry.path.clone())
            .collect();
        for path in early {
            for above in path.ancestors().skip(1) {
                if let Some(outer) = self.entries.get_mut(above) {
                    outer.is_early = true;
                }
            }
        }
    }

    /// The stores, by the directories they are mounted at.
    pub fn stores(&self) -> impl Iterator<Item = (&Path, Class)> {
        self.stores
            .iter()
            .map(|(path, class)| (path.as_path(), *class))
    }

    /// The entries, parents first: in component-wise byte order of their paths.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Those that are copied, and saved when they change.
    pub fn copied(&self) -> impl Iterator<Item = &Entry> {
        self.entries().filter(|entry| entry.method == Method::Copy)
    }

    /// What nobody can put in place, because a user is not known.
    pub fn unresolved(&self) -> &[Unresolved] {
        &self.unresolved
    }

    /// The entry declared exactly at `path`.
    pub fn entry(&self, path: &Path) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// The innermost entry that holds `path`: itself or a directory above it.
    pub fn holder(&self, path: &Path) -> Option<&Entry> {
        self.entries.get(path).or_else(|| self.around(path))
    }

    /// The innermost entry above `path`.
    pub fn around(&self, path: &Path) -> Option<&Entry> {
        path.ancestors()
            .skip(1)
            .find_map(|above| self.entries.get(above))
    }

    /// Whether an entry or a store lies below `path`.
    pub fn leads_to(&self, path: &Path) -> bool {
        fn next_lies_below<T>(map: &BTreeMap<PathBuf, T>, path: &Path) -> bool {
            use std::ops::Bound::{Excluded, Unbounded};
            map.range::<Path, _>((Excluded(path), Unbounded))
                .next()
                .is_some_and(|(next, _)| next.starts_with(path))
        }
        next_lies_below(&self.entries, path) || next_lies_below(&self.stores, path)
    }

    /// Where the content of a path on the machine is kept, if it is kept at all.
    pub fn to_store(&self, path: &Path) -> Option<(&Entry, PathBuf)> {
        let entry = self.holder(path)?;
        Some((entry, below(&entry.store, path)))
    }

    /// Where something in a store appears on the machine: `None` for what no entry declares
    /// (an orphan) and for what is in no store.
    pub fn to_live(&self, stored: &Path) -> Option<(&Entry, PathBuf)> {
        let store = stored
            .ancestors()
            .find(|above| self.stores.contains_key(*above))?;
        let path = Path::new("/").join(stored.strip_prefix(store).ok()?);
        let entry = self.holder(&path)?;
        (entry.store == store).then_some((entry, path))
    }
}

fn declared_path(entry: &crate::settings::Entry) -> &Path {
    match entry {
        crate::settings::Entry::Path(path) => path,
        crate::settings::Entry::Table(table) => &table.path,
    }
}

fn home(name: &str, users: &Users) -> Result<Home, &'static str> {
    let user = users
        .user(name)
        .ok_or("is not in the machine's /etc/passwd")?;
    let path = paths::normal(&user.home).map_err(|_| "has no home directory of its own")?;
    Ok(Home {
        path,
        uid: user.uid,
        gid: user.gid,
    })
}

#[cfg(test)]
mod tests;
