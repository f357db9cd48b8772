//! What is left of a list when everything that contradicts something else is taken out.

use super::list::{List, Taken, Words};
use super::{Imported, Origin, WHOLE_ENTRY, resolve};
use crate::failure::Failure;
use crate::paths::Shown;
use crate::persist;
use crate::settings::{self, UserEntries};
use std::path::{Path, PathBuf};

impl List {
    /// What is left when everything that contradicts something else is taken out.
    pub(super) fn settle(mut self, origin: Origin) -> Result<Imported, Failure> {
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
