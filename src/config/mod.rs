//! Finding, reading and checking `state.toml`; its errors name file, line and column.

use crate::context::Context;
use crate::settings::Settings;
use std::fmt;
use std::fs;

/// What is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The bare fact.
    pub fact: String,
    /// The lines of the file, marked.
    pub excerpt: Option<String>,
    /// The cure.
    pub hint: Option<String>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fact)
    }
}

impl std::error::Error for Error {}

/// Reads the configuration of this machine.
///
/// # Errors
/// [`Error`] if there is none or it is wrong; the file cannot be read.
pub fn load(cx: &Context) -> anyhow::Result<Settings> {
    let file = match &cx.config_file {
        Some(file) => file.clone(),
        None => cx.rooted("/etc/state/state.toml"),
    };
    let problem = |fact: String| Error {
        fact,
        excerpt: None,
        hint: None,
    };
    let text = fs::read_to_string(&file)
        .map_err(|error| problem(format!("reading {}: {error}", file.display())))?;
    toml::from_str(&text).map_err(|error| problem(error.message().to_owned()).into())
}
