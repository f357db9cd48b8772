//! What settings mean, checked without looking at the machine: contradictions, paths that cannot
//! be, values out of range. Pure; every problem knows where it stands.

use super::value::{bad_dataset, bad_snapshot, bad_url, idle_keys, is_tmpfs_size, path_problem};
use crate::paths::{self, Shown};
use crate::persist::{self, EntryKind, PersistTree, Users};
use crate::settings::node::{Problem, Span, Way};
use crate::settings::{self, Entry, Root, Settings};
use globset::Glob;
use std::collections::BTreeMap;
use std::path::Path;

/// Everything that is wrong with the meaning, in the order of the text.
pub(super) fn problems(settings: &Settings, spans: &BTreeMap<Way, Span>) -> Vec<Problem> {
    let mut check = Check {
        spans,
        problems: Vec::new(),
    };
    check.machine(settings);
    if let Some(root) = &settings.root {
        check.root(root);
    }
    check.stores(settings);
    check.others(settings);
    // What several values say together means nothing while one of them is wrong.
    if check.problems.is_empty() {
        check.together(settings);
    }
    check.problems.sort_by_key(|problem| problem.at);
    // Of several things wrong with one value the first is enough to begin with.
    check.problems.dedup_by_key(|problem| problem.at);
    check.problems
}

struct Check<'a> {
    spans: &'a BTreeMap<Way, Span>,
    problems: Vec<Problem>,
}

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
    fn span(&self, way: &Way) -> Option<Span> {
        self.spans.get(way).copied()
    }

    fn wrong(&mut self, way: &Way, fact: impl Into<String>, hint: &str) {
        let at = self.span(way);
        self.problems.push(Problem::new(at, fact).hint(hint));
    }

    /// The place of an entry: of its path, if it is a table.
    fn entry_span(&self, declared: &Declared<'_>) -> Option<Span> {
        self.span(&declared.way.key("path"))
            .or_else(|| self.span(&declared.way))
    }

    fn machine(&mut self, settings: &Settings) {
        let Some(name) = &settings.machine.name else {
            return;
        };
        let is_legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !name.chars().all(is_legal)
            || !(1..=64).contains(&name.len())
            || name.starts_with(['.', '-'])
        {
            self.wrong(
                &Way::default().key("machine").key("name"),
                format!("{name:?} cannot be a machine's name"),
                "it goes into the names of archives: 1 to 64 letters, digits and - _ . are allowed, \
                 a letter or a digit first",
            );
        }
    }

    fn root(&mut self, root: &Root) {
        let top = Way::default().key("root");
        match root {
            Root::Btrfs {
                device,
                subvolume,
                blank,
                ..
            } => {
                if !device.is_absolute() {
                    self.wrong(
                        &top.key("device"),
                        "`device` is not an absolute path",
                        "name it as /dev/disk/by-uuid/… or /dev/disk/by-partlabel/…",
                    );
                }
                let volumes = [("subvolume", Some(subvolume)), ("blank", blank.as_ref())];
                for (key, path) in volumes {
                    if let Some(Err(why)) = path.map(|path| paths::normal_below(path)) {
                        self.wrong(
                            &top.key(key),
                            format!("`{key}` {why}"),
                            "it is a path from the filesystem's top level, without a leading slash: root, @, system/root",
                        );
                    }
                }
                if let Some(blank) = blank {
                    let way = top.key("blank");
                    if blank == subvolume {
                        self.wrong(
                            &way,
                            "`blank` is the root subvolume itself",
                            "it is a snapshot beside it",
                        );
                    } else if blank.starts_with(subvolume) {
                        self.wrong(
                            &way,
                            "`blank` lies inside the root subvolume",
                            "it would be put away with the first reset; it belongs beside root",
                        );
                    }
                }
            }
            Root::Zfs { dataset, blank, .. } => {
                if let Some(why) = bad_dataset(dataset) {
                    self.wrong(
                        &top.key("dataset"),
                        format!("{dataset:?} cannot be a dataset: {why}"),
                        "as in rpool/local/root",
                    );
                }
                if let Some(why) = bad_snapshot(blank) {
                    self.wrong(
                        &top.key("blank"),
                        format!("{blank:?} cannot be a snapshot's name: {why}"),
                        "it is the part after the @ of rpool/local/root@blank",
                    );
                }
            }
            Root::Overlay {
                device, directory, ..
            } => {
                if !device.is_absolute() {
                    self.wrong(
                        &top.key("device"),
                        "`device` is not an absolute path",
                        "name it as /dev/disk/by-uuid/… or /dev/disk/by-partlabel/…",
                    );
                }
                if let Err(why) = paths::normal_below(directory) {
                    self.wrong(
                        &top.key("directory"),
                        format!("`directory` {why}"),
                        "it is a path from the filesystem's top, without a leading slash: state/layers",
                    );
                }
            }
            Root::Tmpfs { size } => {
                if size.as_deref().is_some_and(|size| !is_tmpfs_size(size)) {
                    self.wrong(
                        &top.key("size"),
                        "`size` is not a size as tmpfs(5) writes it",
                        "a share of the memory, \"25%\", or a number with k, m or g: \"2g\"",
                    );
                }
            }
        }
    }

    fn stores(&mut self, settings: &Settings) {
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

    fn others(&mut self, settings: &Settings) {
        let top = Way::default();
        if let Some(config) = &settings.config
            && let Err(why) = paths::normal(&config.repo)
        {
            let (fact, hint) = path_problem(why, &config.repo);
            self.wrong(&top.key("config").key("repo"), fact, hint);
        }
        let archive = &settings.archive;
        for (key, path) in [
            ("sign-with", &archive.sign_with),
            ("trusted-signers", &archive.trusted_signers),
            ("identity-file", &archive.identity_file),
        ] {
            if let Some(path) = path
                && let Err(why) = paths::normal(path)
            {
                let (fact, hint) = path_problem(why, path);
                self.wrong(&top.key("archive").key(key), fact, hint);
            }
        }
        for (n, recipient) in archive.encrypt_to.iter().enumerate() {
            // A private key that strayed here is told of without its line: see ops.
            let is_private = recipient
                .to_ascii_uppercase()
                .starts_with("AGE-SECRET-KEY-");
            if !recipient.starts_with("age1") && !recipient.starts_with('/') && !is_private {
                self.wrong(
                    &top.key("archive").key("encrypt-to").index(n),
                    format!("{recipient:?} is neither an age recipient nor a file's path"),
                    "`age-keygen -y FILE` prints the recipient of a key: age1…",
                );
            }
        }
        let lists = [
            (top.key("diff").key("ignore"), &settings.diff.ignore),
            (top.key("archive").key("exclude"), &settings.archive.exclude),
        ];
        for (way, patterns) in lists {
            for (n, pattern) in patterns.iter().enumerate() {
                if let Err(error) = Glob::new(pattern) {
                    let fact = format!("{pattern:?} is not a pattern: {}", error.kind());
                    self.wrong(
                        &way.index(n),
                        fact,
                        "`*` stands for a part of a name, `**` for any directories",
                    );
                }
            }
        }
        if !(1..=19).contains(&settings.archive.level) {
            self.wrong(
                &top.key("archive").key("level"),
                format!("the level {} does not exist", settings.archive.level),
                "zstd has levels 1 (fast) to 19 (small)",
            );
        }
        if settings.archive.hooks.time_limit == 0 {
            self.wrong(
                &top.key("archive").key("hooks").key("time-limit"),
                "no hook ends within 0 seconds",
                "write how many seconds it may take",
            );
        }
        if (settings.metrics.textfile.as_ref()).is_some_and(|path| path.is_relative()) {
            self.wrong(
                &top.key("metrics").key("textfile"),
                "the path of `textfile` is not absolute",
                "paths on the machine begin with `/`",
            );
        }
        for (name, target) in &settings.target {
            let way = top.key("target").key(name.as_str());
            let is_legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if name.is_empty() || !name.chars().all(is_legal) {
                self.wrong(
                    &way,
                    format!("{name:?} cannot be a target's name"),
                    "letters, digits and - _ . are allowed",
                );
            }
            if let Some((fact, hint)) = bad_url(&target.url) {
                self.wrong(&way.key("url"), fact, hint);
            }
            for key in idle_keys(target) {
                let fact = format!("`{key}` is of no use to a target of this kind");
                self.wrong(&way.key(key), fact, "remove it");
            }
            for (key, path) in [
                ("credentials", &target.credentials),
                ("key", &target.key),
                ("known-hosts", &target.known_hosts),
            ] {
                if path.as_ref().is_some_and(|path| path.is_relative()) {
                    let fact = format!("the path of `{key}` is not absolute");
                    self.wrong(&way.key(key), fact, "paths on the machine begin with `/`");
                }
            }
        }
    }

    /// Entries against each other and against the stores.
    fn together(&mut self, settings: &Settings) {
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
