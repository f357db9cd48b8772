//! The stores and their entries, each by itself and against each other.

use super::super::value::path_problem;
use super::Check;
use crate::paths::{self, Shown};
use crate::persist::{self, EntryKind, PersistTree, Users};
use crate::settings::node::{Problem, Span, Way};
use crate::settings::{self, Entry, Settings};
use std::path::Path;

/// An entry where it is declared.
struct Declared<'a> {
    store: &'a Path,
    /// `None` for an entry of the machine.
    user: Option<&'a str>,
    kind: EntryKind,
    entry: &'a Entry,
    way: Way,
}

/// All entries with their ways, in the order of the types.
fn declared(settings: &Settings) -> Vec<Declared<'_>> {
    let mut all = Vec::new();
    for (store, content) in &settings.persist {
        let top = Way::default().key("persist").key(store.to_string_lossy());
        let mut lists = vec![(top.clone(), None, &content.directories, &content.files)];
        for (user, of) in &content.users {
            let way = top.key("users").key(user.as_str());
            lists.push((way, Some(user.as_str()), &of.directories, &of.files));
        }
        for (way, user, directories, files) in lists {
            let kinds = [
                ("directories", EntryKind::Directory, directories),
                ("files", EntryKind::File, files),
            ];
            for (name, kind, entries) in kinds {
                all.extend(entries.iter().enumerate().map(|(n, entry)| Declared {
                    store,
                    user,
                    kind,
                    entry,
                    way: way.key(name).index(n),
                }));
            }
        }
    }
    all
}

impl Check<'_> {
    /// The place of an entry: of its path, if it is a table.
    fn entry_span(&self, declared: &Declared<'_>) -> Option<Span> {
        self.span(&declared.way.key("path"))
            .or_else(|| self.span(&declared.way))
    }

    pub(super) fn stores(&mut self, settings: &Settings) {
        for (store, content) in &settings.persist {
            let way = Way::default().key("persist").key(store.to_string_lossy());
            match paths::normal(store) {
                Err("names the directory itself") => self.wrong(
                    &way,
                    "the store cannot be `/`",
                    "a store is a filesystem or volume of its own that no reset touches: /persist",
                ),
                Err(why) => {
                    let (fact, hint) = path_problem(why, store);
                    self.wrong(&way, fact.replacen("the path", "the store", 1), hint);
                }
                Ok(_) => {}
            }
            for user in content.users.keys() {
                if user.is_empty() || user.contains(['/', ':', '\n', '\0']) {
                    self.wrong(
                        &way.key("users").key(user.as_str()),
                        format!("{user:?} cannot be a user's name"),
                        "as in /etc/passwd",
                    );
                }
            }
        }
        for declared in &declared(settings) {
            self.entry(declared);
        }
    }

    fn entry(&mut self, declared: &Declared<'_>) {
        let path = declared.entry.path();
        let at = self.entry_span(declared);
        let fault = match declared.user {
            None => paths::normal(path).err(),
            Some(_) => paths::normal_below(path).err(),
        };
        let fault = match fault {
            Some("names the directory itself") if declared.user.is_some() => Some((
                "an entry cannot be the whole home".to_owned(),
                "declare the home itself: directories = [\"/home/NAME\"] of the store",
            )),
            Some("names the directory itself") => Some((
                "an entry cannot be `/`".to_owned(),
                "root is what is erased; declare what is to be kept of it",
            )),
            Some(why) => Some(path_problem(why, path)),
            None if declared.user.is_none() && path.starts_with("/.state") => Some((
                "the path /.state is reserved".to_owned(),
                "`state` keeps its own things there, in every store",
            )),
            None => None,
        };
        if let Some((fact, hint)) = fault {
            self.problems.push(Problem::new(at, fact).hint(hint));
        }
        let Entry::Table(table) = declared.entry else {
            return;
        };
        if let Some(mode) = &table.mode
            && persist::parse_mode(mode).is_none()
        {
            self.wrong(
                &declared.way.key("mode"),
                format!("the mode {mode:?} is not octal"),
                "three or four digits from 0 to 7: \"0750\"",
            );
        }
        if declared.kind == EntryKind::Directory && table.if_missing.is_some() {
            self.wrong(
                &declared.way.key("if-missing"),
                "`if-missing` is for files",
                "a directory that is missing in the store is always made",
            );
        }
        if declared.kind == EntryKind::Directory && table.method == settings::Method::Copy {
            self.wrong(
                &declared.way.key("method"),
                "`method = \"copy\"` is for files",
                "a directory can be bound: programs may replace the files in it",
            );
        }
        for (key, name) in [("user", &table.user), ("group", &table.group)] {
            if name
                .as_deref()
                .is_some_and(|name| name.is_empty() || name.contains([':', '\n', '\0']))
            {
                self.wrong(
                    &declared.way.key(key),
                    format!("`{key}` is no name"),
                    "a name or a number",
                );
            }
        }
    }

    /// Entries against each other and against the stores.
    pub(super) fn together(&mut self, settings: &Settings) {
        let all = declared(settings);
        // Users' homes are the machine's to know; here is checked what holds wherever they are.
        if let Err(persist::Problems(problems)) = PersistTree::resolve(settings, &Users::default())
        {
            for problem in problems {
                self.persist_problem(&all, &problem);
            }
        }
        for (n, later) in all
            .iter()
            .enumerate()
            .filter(|(_, entry)| entry.user.is_some())
        {
            let earlier = all[..n].iter().filter(|earlier| earlier.user == later.user);
            for earlier in earlier {
                self.pair(earlier, later);
            }
        }
    }

    fn persist_problem(&mut self, all: &[Declared<'_>], problem: &persist::Problem) {
        let same = |a: &Path, b: &Path| a == b || paths::normal(a).ok().is_some_and(|a| a == b);
        let of_path =
            |entry: &&Declared<'_>| entry.user.is_none() && same(entry.entry.path(), &problem.path);
        let candidates: Vec<_> = all.iter().filter(of_path).collect();
        let place = candidates
            .iter()
            .rev()
            .find(|entry| same(entry.store, &problem.store) || entry.store == problem.store);
        let at = place.and_then(|entry| self.entry_span(entry));
        let fact = format!("{} {}", Shown(&problem.path), problem.why);
        let mut told = Problem::new(at, fact);
        if let Some(first) = candidates.first()
            && let Some(first) = self.entry_span(first)
            && Some(first) != at
        {
            told = told.also(first, "here first");
        }
        self.problems.push(told);
    }

    /// Two entries of one user.
    fn pair(&mut self, earlier: &Declared<'_>, later: &Declared<'_>) {
        let normal = |entry: &Declared<'_>| paths::normal_below(entry.entry.path()).ok();
        let (Some(a), Some(b)) = (normal(earlier), normal(later)) else {
            return;
        };
        let (inner, outer, fact) = if a == b {
            (later, earlier, format!("{} is declared twice", Shown(&a)))
        } else if b.starts_with(&a) {
            (
                later,
                earlier,
                format!("{} lies inside {}", Shown(&b), Shown(&a)),
            )
        } else if a.starts_with(&b) {
            (
                earlier,
                later,
                format!("{} lies inside {}", Shown(&a), Shown(&b)),
            )
        } else {
            return;
        };
        // A store of another class may hold a part of what lies in this one.
        if a != b && inner.store != outer.store && outer.kind == EntryKind::Directory {
            return;
        }
        let mut problem =
            Problem::new(self.entry_span(inner), fact).hint("one of the two is enough");
        problem.also = self.entry_span(outer).map(|at| (at, "here too"));
        self.problems.push(problem);
    }
}
