//! Finding, reading and checking `state.toml`; its errors name file, line and column.

mod check;
pub mod edit;
mod excerpt;
mod find;
mod value;

pub use find::{DROP_INS, candidates, drop_in_dirs, store_copy};

use crate::context::Context;
use crate::failure::plain_errnos;
use crate::settings::node::{self, Problem};
use crate::settings::read::Reader;
use crate::settings::{self, Settings};
use excerpt::Source;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What is wrong with the configuration: everything at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The faults, in the order of the text; never empty.
    pub faults: Vec<Fault>,
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where, as `file:line:column`, and the bare fact.
    pub fact: String,
    /// The lines of the file, marked.
    pub excerpt: Option<String>,
    /// The cure.
    pub hint: Option<String>,
}

impl Error {
    fn one(fact: impl Into<String>, hint: Option<&str>) -> Self {
        Self {
            faults: vec![Fault {
                fact: plain_errnos(&fact.into()),
                excerpt: None,
                hint: hint.map(str::to_owned),
            }],
        }
    }

    fn of(problems: &[Problem], sources: &[Source]) -> Self {
        Self {
            faults: problems
                .iter()
                .map(|problem| excerpt::fault(problem, sources))
                .collect(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts: Vec<&str> = self
            .faults
            .iter()
            .map(|fault| fault.fact.as_str())
            .collect();
        f.write_str(&facts.join("; "))
    }
}

impl std::error::Error for Error {}

/// A configuration and the files it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// What it says.
    pub settings: Settings,
    /// The file itself, then those of `state.d`.
    pub files: Vec<PathBuf>,
}

/// Reads the configuration of this machine.
///
/// # Errors
/// [`Error`] if there is none or it is wrong.
pub fn load(cx: &Context) -> anyhow::Result<Settings> {
    Ok(read(cx)?.settings)
}

/// The same, with the files it came from.
///
/// # Errors
/// [`Error`] if there is none or it is wrong.
pub fn read(cx: &Context) -> Result<Config, Error> {
    let file = find::file(cx)?;
    let first = source(&file)?;
    // What the file itself says is needed to know which stores may have more beside it.
    let stores = match node::parse(0, &first.text) {
        (table, problems) if problems.is_empty() => find::stores(&table),
        _ => Vec::new(),
    };
    let mut sources = vec![first];
    for file in find::drop_ins(cx, &file, &stores)? {
        sources.push(source(&file)?);
    }
    let settings = parse(&sources)?;
    Ok(Config {
        settings,
        files: sources.into_iter().map(|source| source.path).collect(),
    })
}

/// Reads the configuration as it would be with `text` in the place of what `file` says, or with
/// that file added to those that are merged.
///
/// # Errors
/// What would be wrong with it.
pub fn read_with(config: &Config, file: &Path, text: &str) -> Result<Config, Error> {
    let mut files = config.files.clone();
    if !files.iter().any(|known| known == file) {
        files.push(file.to_owned());
    }
    let sources = files.iter().map(|known| match known == file {
        true => Ok(Source {
            path: file.to_owned(),
            text: text.to_owned(),
        }),
        false => source(known),
    });
    let settings = parse(&sources.collect::<Result<Vec<_>, _>>()?)?;
    Ok(Config { settings, files })
}

/// Reads a text as a configuration of its own. `name` is what errors call it.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse_text(name: &Path, text: &str) -> Result<Settings, Error> {
    parse(&[Source {
        path: name.to_owned(),
        text: text.to_owned(),
    }])
}

fn parse(sources: &[Source]) -> Result<Settings, Error> {
    let mut reader = Reader::default();
    let mut whole = node::Table::new();
    for (n, source) in sources.iter().enumerate() {
        let (table, problems) = node::parse(n, &source.text);
        // The first error of a file's syntax; what follows is mostly its echo.
        reader
            .problems
            .extend(problems.into_iter().min_by_key(|problem| problem.at));
        node::merge(&mut whole, table, &mut reader.problems);
    }
    if !reader.problems.is_empty() {
        return Err(Error::of(&reader.problems, sources));
    }
    let (settings, reader) =
        settings::read(whole, reader).map_err(|problems| Error::of(&problems.0, sources))?;
    let problems = check::problems(&settings, &reader.spans);
    if problems.is_empty() {
        Ok(settings)
    } else {
        Err(Error::of(&problems, sources))
    }
}

fn source(file: &Path) -> Result<Source, Error> {
    let shown = crate::paths::Shown(file);
    let bytes = fs::read(file).map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => Some("this needs root"),
            _ => None,
        };
        Error::one(format!("reading {shown}: {error}"), hint)
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        Error::one(
            format!("{shown}:{line}: not UTF-8"),
            Some("TOML is UTF-8; a path with other bytes cannot be declared"),
        )
    })?;
    Ok(Source {
        path: file.to_owned(),
        text,
    })
}
