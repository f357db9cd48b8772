//! Reading settings out of a tree: strictly, and telling of everything that is wrong at once.

use super::node::{Node, Problem, Span, Step, Table, Value, Way};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Collects what is wrong and remembers where every value stood.
#[derive(Debug, Default)]
pub struct Reader {
    /// What is wrong so far.
    pub problems: Vec<Problem>,
    /// Where the value at each way stands.
    pub spans: BTreeMap<Way, Span>,
    way: Way,
}

/// What can be read out of a value.
pub trait Read: Sized {
    /// What the reference calls it.
    fn kind() -> String;

    /// Reads it. `None` after a problem, which the reader knows.
    fn read(node: &Node, reader: &mut Reader) -> Option<Self>;
}

impl Reader {
    /// Notes a problem.
    pub fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Goes one step down, reads there, and comes back.
    fn at<T: Read>(&mut self, step: Step, node: &Node) -> Option<T> {
        self.way.0.push(step);
        self.spans.insert(self.way.clone(), node.at);
        let value = T::read(node, self);
        self.way.0.pop();
        value
    }

    /// The name of the last step, as a message says it.
    pub(super) fn name(&self) -> String {
        match self.way.0.last() {
            Some(Step::Key(key)) => format!("`{key}`"),
            Some(Step::Index(_)) => match self.way.0.iter().rev().find_map(|step| match step {
                Step::Key(key) => Some(key),
                Step::Index(_) => None,
            }) {
                Some(list) => format!("an element of `{list}`"),
                None => "it".into(),
            },
            None => "the file".into(),
        }
    }

    /// ` in [persist."/persist"]`; nothing at the top.
    fn of_table(&self) -> String {
        match self.way.0.last() {
            None => String::new(),
            Some(_) => format!(" in {}", self.table_name()),
        }
    }

    /// `[persist."/persist"]`
    fn table_name(&self) -> String {
        match self.way.0.last() {
            None => "the file".into(),
            Some(Step::Index(_)) => self.name(),
            Some(Step::Key(_)) => format!("[{}]", self.way),
        }
    }

    /// Notes that a value has the wrong type.
    pub fn mismatch(&mut self, node: &Node, expected: &str) {
        let found = node.value.kind();
        let fact = format!("{} must be {expected}, not {found}", self.name());
        let mut problem = Problem::new(Some(node.at), fact);
        if expected == "text" && matches!(node.value, Value::Number(_)) {
            problem = problem.hint("write it in quotes");
        }
        self.problem(problem);
    }

    /// A key that must be there.
    pub fn required<T: Read>(&mut self, table: &Table, at: Span, name: &str) -> Option<T> {
        match table.get(name) {
            Some(pair) => self.at(Step::Key(name.into()), &pair.node),
            None => {
                let fact = format!("{} has no `{name}`", self.table_name());
                let hint = format!("add `{name} = \"…\"`");
                self.problem(Problem::new(Some(at), fact).hint(hint));
                None
            }
        }
    }

    /// A key that has a default.
    pub fn optional<T: Read>(&mut self, table: &Table, name: &str, default: T) -> Option<T> {
        match table.get(name) {
            Some(pair) => self.at(Step::Key(name.into()), &pair.node),
            None => Some(default),
        }
    }

    /// Notes every key of `table` that is not one of `known`. `later` are keys of which it is
    /// known that a later version has them.
    pub fn unknown_keys(&mut self, table: &Table, known: &[String], later: &[&str]) {
        for (name, pair) in table {
            if known.iter().any(|k| k == name) {
                continue;
            }
            let whose = self.of_table();
            let problem = if later.contains(&name.as_str()) {
                Problem::new(
                    Some(pair.key),
                    format!("`{name}`{whose} is not in this version yet"),
                )
                .hint("remove it until a version has it")
            } else {
                let fact = format!("unknown key `{name}`{whose}");
                Problem::new(Some(pair.key), fact).hint(match nearest(name, known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("its keys are: {}", known.join(", ")),
                })
            };
            self.problem(problem);
        }
    }

    /// One of several words.
    pub fn word<T: Copy>(
        &mut self,
        node: &Node,
        words: &[(&'static str, T)],
        later: &[&str],
    ) -> Option<T> {
        let known: Vec<String> = words.iter().map(|(word, _)| (*word).to_owned()).collect();
        let Value::Text(text) = &node.value else {
            self.mismatch(node, &one_of(&known));
            return None;
        };
        if let Some((_, value)) = words.iter().find(|(word, _)| word == text) {
            return Some(*value);
        }
        let name = self.name();
        let problem = if later.contains(&text.as_str()) {
            let fact = format!("{name} = {text:?} is not in this version yet");
            Problem::new(Some(node.at), fact).hint(format!("use {}", one_of(&known)))
        } else {
            Problem::new(Some(node.at), format!("{name} cannot be {text:?}")).hint(
                match nearest(text, &known) {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => format!("it is {}", one_of(&known)),
                },
            )
        };
        self.problem(problem);
        None
    }
}

impl Reader {
    /// The word that says which keys a table has.
    pub fn tag<T: Copy>(
        &mut self,
        table: &Table,
        at: Span,
        name: &str,
        words: &[(&'static str, T)],
        later: &[&str],
    ) -> Option<T> {
        let Some(pair) = table.get(name) else {
            let known: Vec<String> = words.iter().map(|(word, _)| (*word).to_owned()).collect();
            let fact = format!("{} has no `{name}`", self.table_name());
            let hint = format!("add `{name}`: {}", one_of(&known));
            self.problem(Problem::new(Some(at), fact).hint(hint));
            return None;
        };
        self.way.0.push(Step::Key(name.to_owned()));
        let word = self.word(&pair.node, words, later);
        self.way.0.pop();
        word
    }
}

/// `"btrfs", "zfs" or "tmpfs"`
pub(super) fn one_of(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => format!("{one:?}"),
        [before @ .., last] => {
            let before: Vec<String> = before.iter().map(|word| format!("{word:?}")).collect();
            format!("{} or {last:?}", before.join(", "))
        }
    }
}

/// The candidate that was probably meant.
pub fn nearest<'a>(word: &str, candidates: &'a [String]) -> Option<&'a str> {
    let word = word.to_lowercase().replace('_', "-");
    candidates
        .iter()
        .map(|candidate| (strsim::osa_distance(&word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(word.len()).div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate.as_str())
}

impl Read for String {
    fn kind() -> String {
        "text".into()
    }
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Text(text) => Some(text.clone()),
            _ => {
                reader.mismatch(node, "text");
                None
            }
        }
    }
}

impl Read for PathBuf {
    fn kind() -> String {
        "path".into()
    }
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Text(text) => Some(text.into()),
            _ => {
                reader.mismatch(node, "a path");
                None
            }
        }
    }
}

impl Read for bool {
    fn kind() -> String {
        "`true` or `false`".into()
    }
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Flag(flag) => Some(*flag),
            _ => {
                reader.mismatch(node, "true or false");
                None
            }
        }
    }
}

fn number<T: TryFrom<i64>>(node: &Node, reader: &mut Reader) -> Option<T> {
    let Value::Number(n) = &node.value else {
        reader.mismatch(node, "a number");
        return None;
    };
    let fitting = n.and_then(|n| T::try_from(n).ok());
    if fitting.is_none() {
        let why = if n.is_some_and(|n| n < 0) {
            "is negative"
        } else {
            "is too large"
        };
        let fact = format!("{} {why}", reader.name());
        reader.problem(Problem::new(Some(node.at), fact));
    }
    fitting
}

impl Read for u32 {
    fn kind() -> String {
        "number".into()
    }
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        number(node, reader)
    }
}

impl Read for i32 {
    fn kind() -> String {
        "number".into()
    }
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        number(node, reader)
    }
}

impl<T: Read> Read for Option<T> {
    fn kind() -> String {
        T::kind()
    }
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        T::read(node, reader).map(Some)
    }
}

impl<T: Read> Read for Vec<T> {
    fn kind() -> String {
        format!("list; each: {}", T::kind())
    }
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let Value::List(list) = &node.value else {
            reader.mismatch(node, "a list");
            return None;
        };
        // All elements are read, so that every problem is told; then one missing is fatal.
        let read: Vec<Option<T>> = list
            .iter()
            .enumerate()
            .map(|(n, node)| reader.at(Step::Index(n), node))
            .collect();
        read.into_iter().collect()
    }
}

impl<K: From<String> + Ord, T: Read> Read for BTreeMap<K, T> {
    fn kind() -> String {
        "table of tables".into()
    }
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let Value::Table(table) = &node.value else {
            reader.mismatch(node, "a table");
            return None;
        };
        let mut read = Self::new();
        let mut is_whole = true;
        for (name, pair) in table {
            let value = reader.at(Step::Key(name.clone()), &pair.node);
            // The name is what can be wrong with it from here on.
            reader.spans.insert(reader.way.key(name), pair.key);
            is_whole &= match value {
                None => false,
                Some(value) => {
                    // Two texts can be one key: `/persist` and `/persist/` are the same path.
                    let earlier = read.insert(K::from(name.clone()), value);
                    if earlier.is_some() {
                        let fact = format!("{name:?} is there already, written otherwise");
                        let problem = Problem::new(Some(pair.key), fact);
                        reader.problem(problem.hint("merge the two tables"));
                    }
                    true
                }
            };
        }
        is_whole.then_some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_is_near() {
        let known = ["directories", "files", "users", "past-roots"].map(str::to_owned);
        for (word, near) in [
            ("directores", Some("directories")),
            ("Files", Some("files")),
            ("user", Some("users")),
            ("past_roots", Some("past-roots")),
            ("pastroots", Some("past-roots")),
            ("subvolume", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, &known), near, "{word}");
        }
    }
}
