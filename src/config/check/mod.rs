//! What settings mean, checked without looking at the machine: contradictions, paths that cannot
//! be, values out of range. Pure; every problem knows where it stands.

mod archive;
mod entries;
mod root;

use super::value::{bad_url, idle_keys, path_problem};
use crate::paths;
use crate::settings::node::{Problem, Span, Way};
use crate::settings::{Settings, Target};
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

impl Check<'_> {
    fn span(&self, way: &Way) -> Option<Span> {
        self.spans.get(way).copied()
    }

    fn wrong(&mut self, way: &Way, fact: impl Into<String>, hint: &str) {
        let at = self.span(way);
        self.problems.push(Problem::new(at, fact).hint(hint));
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

    /// A path on the machine, as every one is written.
    fn normal(&mut self, way: &Way, path: &Path) {
        if let Err(why) = paths::normal(path) {
            let (fact, hint) = path_problem(why, path);
            self.wrong(way, fact, hint);
        }
    }

    /// A path that only has to be absolute.
    fn absolute(&mut self, table: &Way, key: &str, path: Option<&Path>) {
        if path.is_some_and(Path::is_relative) {
            self.wrong(
                &table.key(key),
                format!("the path of `{key}` is not absolute"),
                "paths on the machine begin with `/`",
            );
        }
    }

    fn patterns(&mut self, list: &Way, patterns: &[String]) {
        for (n, pattern) in patterns.iter().enumerate() {
            if let Err(error) = Glob::new(pattern) {
                let fact = format!("{pattern:?} is not a pattern: {}", error.kind());
                self.wrong(
                    &list.index(n),
                    fact,
                    "`*` stands for a part of a name, `**` for any directories",
                );
            }
        }
    }

    fn others(&mut self, settings: &Settings) {
        let top = Way::default();
        if let Some(config) = &settings.config {
            self.normal(&top.key("config").key("repo"), &config.repo);
        }
        self.patterns(&top.key("diff").key("ignore"), &settings.diff.ignore);
        self.archive(&settings.archive);
        let textfile = settings.metrics.textfile.as_deref();
        self.absolute(&top.key("metrics"), "textfile", textfile);
        for (name, target) in &settings.target {
            self.target(name, target);
        }
    }

    fn target(&mut self, name: &str, target: &Target) {
        let way = Way::default().key("target").key(name);
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
            self.absolute(&way, key, path.as_deref());
        }
    }
}
