//! The lists of others as entries of a persist tree. What has no place in a configuration is
//! named, each thing; nothing is dropped without a word. Pure.

mod impermanence;
mod list;
mod mode;
mod node;
mod preservation;
mod settle;

use crate::failure::Failure;
use crate::paths::Shown;
use crate::persist::{self, CONFIGURATION, PersistTree, Users};
use crate::settings::{Settings, Store, UserEntries};
use list::List;
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

/// What is said of the directory around an entry.
fn of_parent(odd: &[String]) -> String {
    format!(
        "the {} of the directory around it: a missing one is made as it is in the store",
        odd.join(", ")
    )
}
