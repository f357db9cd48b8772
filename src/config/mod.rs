//! Finding, reading and checking `state.toml`; its errors name file, line and column.

use std::fmt;

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
