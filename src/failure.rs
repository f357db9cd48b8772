//! Failures that a caller was promised an exit status for, and their cures.
//!
//! Below the seams the same is said by [`state_api::Error`]. What is neither is simply a failure.

use std::fmt;

/// The classes that have an exit status of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It did not work out. Here only for the sake of a cure.
    Failed,
    /// What was asked makes no sense: an argument, or the configuration.
    Usage,
    /// A part was done; running again finishes it.
    Partial,
    /// Not done, because it would destroy something or is not understood.
    Refused,
    /// There is no such archive.
    NoSuchArchive,
    /// A key is missing, or a signature is not by whom it must be.
    Key,
    /// Content is not what its manifest says.
    Verification,
}

/// A bare fact in lower case, its class, and its cure where one is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Decides the exit status.
    pub class: Class,
    /// The bare fact; what was being done is anyhow context around it.
    pub fact: String,
    /// The cure: a sentence without a final stop.
    pub cure: Option<String>,
}

impl Failure {
    /// A failure without a known cure.
    pub fn new(class: Class, fact: impl Into<String>) -> Self {
        Self {
            class,
            fact: fact.into(),
            cure: None,
        }
    }

    /// What was asked makes no sense.
    pub fn usage(fact: impl Into<String>) -> Self {
        Self::new(Class::Usage, fact)
    }

    /// It would destroy something, or is not understood.
    pub fn refused(fact: impl Into<String>) -> Self {
        Self::new(Class::Refused, fact)
    }

    /// The same failure with its cure.
    #[must_use]
    pub fn hint(mut self, cure: impl Into<String>) -> Self {
        self.cure = Some(cure.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fact)
    }
}

impl std::error::Error for Failure {}

/// What was being done and why it failed, outermost first. Unlike `{error:#}` it does not repeat
/// a cause whose message the one before it ends with, as those of [`state_api::Error`] do.
pub fn message(error: &anyhow::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if !parts.last().is_some_and(|last| last.ends_with(&text)) {
            parts.push(text);
        }
    }
    plain_errnos(&parts.join(": "))
}

/// The standard library words an errno as `Device or resource busy (os error 16)`; our leaves are
/// lower case and without numbers.
pub fn plain_errnos(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(" (os error ") {
        let fact = before.rfind(": ").map_or(0, |colon| colon + 2);
        plain += &before[..fact];
        let (first, others) =
            before[fact..].split_at(before[fact..].chars().next().map_or(0, char::len_utf8));
        plain += &first.to_lowercase();
        plain += others;
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    plain + rest
}
