//! TOML as a tree in which everything knows where it stands, several files merged into one.

use std::collections::BTreeMap;
use std::fmt;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where something stands: a file by its number, and a range of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The number of the file, in the order they were read.
    pub file: usize,
    /// The first byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its place.
    pub at: Span,
    /// What it is.
    pub value: Value,
}

/// What a value can be.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A string.
    Text(String),
    /// An integer; `None` if it does not fit into 64 bits.
    Number(Option<i64>),
    /// `true` or `false`.
    Flag(bool),
    /// `[ … ]`
    List(Vec<Node>),
    /// `{ … }` or `[name]`
    Table(Table),
    /// What no key takes: a float, a date.
    Other(&'static str),
}

/// The pairs of a table.
pub type Table = BTreeMap<String, Pair>;

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// Where the key stands.
    pub key: Span,
    /// The value.
    pub node: Node,
}

/// One step of a way through the tree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Into a table.
    Key(String),
    /// Into a list.
    Index(usize),
}

/// A way through the tree from its top: `persist."/persist".directories[3].mode`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way(pub Vec<Step>);

impl Way {
    /// The way one key further.
    #[must_use]
    pub fn key(&self, key: impl Into<String>) -> Self {
        let mut way = self.clone();
        way.0.push(Step::Key(key.into()));
        way
    }

    /// The way to an element of a list.
    #[must_use]
    pub fn index(&self, n: usize) -> Self {
        let mut way = self.clone();
        way.0.push(Step::Index(n));
        way
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_bare = |key: &str| {
            !key.is_empty()
                && key
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
        };
        for (n, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) => {
                    let dot = if n > 0 { "." } else { "" };
                    if is_bare(key) {
                        write!(f, "{dot}{key}")?;
                    } else {
                        write!(f, "{dot}{key:?}")?;
                    }
                }
                Step::Index(n) => write!(f, "[{n}]")?,
            }
        }
        Ok(())
    }
}

impl Value {
    /// What it is, as a message says it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Number(_) => "a number",
            Self::Flag(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }
}

/// The tree of one file's text, with the errors of its syntax.
pub fn parse(file: usize, text: &str) -> (Table, Vec<Problem>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let problems = errors
        .iter()
        .map(|error| {
            let range = error.span().unwrap_or(0..0);
            Problem::new(
                Some(Span {
                    file,
                    start: range.start,
                    end: range.end,
                }),
                error.message(),
            )
        })
        .collect();
    (convert_table(file, table.into_inner()), problems)
}

fn convert_table(file: usize, table: DeTable<'_>) -> Table {
    let pairs = table.into_iter().map(|(key, value)| {
        let span = span(file, &key);
        let node = convert(file, value);
        (key.into_inner().into_owned(), Pair { key: span, node })
    });
    pairs.collect()
}

fn span<T>(file: usize, spanned: &Spanned<T>) -> Span {
    let range = spanned.span();
    Span {
        file,
        start: range.start,
        end: range.end,
    }
}

fn convert(file: usize, value: Spanned<DeValue<'_>>) -> Node {
    let at = span(file, &value);
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(n) => Value::Number(i64::from_str_radix(n.as_str(), n.radix()).ok()),
        DeValue::Boolean(flag) => Value::Flag(flag),
        DeValue::Float(_) => Value::Other("a fraction"),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Array(list) => {
            Value::List(list.into_iter().map(|node| convert(file, node)).collect())
        }
        DeValue::Table(table) => Value::Table(convert_table(file, table)),
    };
    Node { at, value }
}

/// Merges a later file into what was read so far: tables are united, lists are joined, and a
/// value said twice is a problem.
pub fn merge(into: &mut Table, from: Table, problems: &mut Vec<Problem>) {
    for (name, pair) in from {
        let Some(there) = into.get_mut(&name) else {
            into.insert(name, pair);
            continue;
        };
        match (&mut there.node.value, pair.node.value) {
            (Value::Table(there), Value::Table(more)) => merge(there, more, problems),
            (Value::List(there), Value::List(more)) => there.extend(more),
            _ => problems.push(
                Problem::new(Some(pair.key), format!("`{name}` is said in two files"))
                    .also(there.key, "here first")
                    .hint("only lists and tables are joined; remove one of the two"),
            ),
        }
    }
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where; `None` for what is nowhere, such as a whole file.
    pub at: Option<Span>,
    /// The bare fact in lower case.
    pub fact: String,
    /// A second place it has to do with, and what is there.
    pub also: Option<(Span, &'static str)>,
    /// The cure.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem without a known cure.
    pub fn new(at: Option<Span>, fact: impl Into<String>) -> Self {
        Self {
            at,
            fact: fact.into(),
            also: None,
            hint: None,
        }
    }

    /// The same with its cure.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with a second place.
    #[must_use]
    pub fn also(mut self, at: Span, what: &'static str) -> Self {
        self.also = Some((at, what));
        self
    }
}
