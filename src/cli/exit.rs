//! Exit codes, which are promises, and how a failure is told.

use crate::archive;
use crate::config;
use crate::context::Locked;
use crate::failure::{Class, Failure, message};
use serde::Serialize;
use state_api::{Error, Kind};
use std::process::ExitCode;

/// How a run ended. The numbers are promises: scripts and units rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, or nothing to do.
    Done,
    /// Failed, nothing changed.
    Failed,
    /// Usage or configuration.
    Usage,
    /// Done in part: run again to finish.
    Partial,
    /// Refused: it would destroy something, or is not understood.
    Refused,
    /// Something needs attention.
    Attention,
    /// No such archive.
    NoSuchArchive,
    /// Another run holds the lock.
    Locked,
    /// A key or a signature.
    Key,
    /// Verification failed.
    Verification,
    /// SIGINT or SIGTERM.
    Interrupted,
    /// `blank run`: what the command that it ran ended with.
    Command(u8),
}

impl Exit {
    /// All that are ours, in order.
    pub const ALL: [Self; 11] = [
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::Partial,
        Self::Refused,
        Self::Attention,
        Self::NoSuchArchive,
        Self::Locked,
        Self::Key,
        Self::Verification,
        Self::Interrupted,
    ];

    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Partial => 3,
            Self::Refused => 4,
            Self::Attention => 5,
            Self::NoSuchArchive => 10,
            Self::Locked => 11,
            Self::Key => 12,
            Self::Verification => 13,
            Self::Interrupted => 130,
            Self::Command(status) => status,
        }
    }

    /// The promise, as the help and the man page word it.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done, or nothing to do",
            Self::Failed => "failed, nothing changed",
            Self::Usage => "usage or configuration",
            Self::Partial => "done in part: run again to finish",
            Self::Refused => "refused: no blank, a stale plan, not understood, or it would destroy",
            Self::Attention => "needs attention: status, doctor or drill found something",
            Self::NoSuchArchive => "no such archive",
            Self::Locked => "another run holds the lock",
            Self::Key => "key or signature",
            Self::Verification => "verification failed",
            Self::Interrupted => "interrupted",
            Self::Command(_) => "what the command ended with",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl From<Class> for Exit {
    fn from(class: Class) -> Self {
        match class {
            Class::Failed => Self::Failed,
            Class::Usage => Self::Usage,
            Class::Partial => Self::Partial,
            Class::Refused => Self::Refused,
            Class::NoSuchArchive => Self::NoSuchArchive,
            Class::Key => Self::Key,
            Class::Verification => Self::Verification,
        }
    }
}

/// A failure as it is told: with `--json` this is the object on standard output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Told {
    /// What was being done, and the bare fact; one line.
    pub error: String,
    /// The lines of a file it is about, marked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<String>,
    /// The cure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What else is wrong; only a configuration has several faults.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Told>,
    /// The exit code.
    pub exit: u8,
}

/// Anything in `error`'s chain of this type, be it a cause or an anyhow context.
fn find<T: std::error::Error + Send + Sync + 'static>(error: &anyhow::Error) -> Option<&T> {
    error
        .downcast_ref()
        .or_else(|| error.chain().find_map(|cause| cause.downcast_ref()))
}

/// The exit code of a failure.
pub fn exit_of(error: &anyhow::Error) -> Exit {
    if let Some(failure) = find::<Failure>(error) {
        failure.class.into()
    } else if find::<Locked>(error).is_some() {
        Exit::Locked
    } else if find::<config::Error>(error).is_some() {
        Exit::Usage
    } else if let Some(error) = find::<archive::Error>(error) {
        match error {
            archive::Error::Damaged { .. } => Exit::Verification,
            archive::Error::Newer { .. } => Exit::Refused,
            archive::Error::Missing { .. } => Exit::NoSuchArchive,
            archive::Error::Key { .. } | archive::Error::Unsigned { .. } => Exit::Key,
            archive::Error::Unconfigured { .. } => Exit::Usage,
            archive::Error::Target { .. } | archive::Error::Denied { .. } => Exit::Failed,
            archive::Error::Other(error) => exit_of_kind(error.kind()),
        }
    } else if let Some(error) = find::<Error>(error) {
        exit_of_kind(error.kind())
    } else {
        Exit::Failed
    }
}

fn exit_of_kind(kind: Kind) -> Exit {
    match kind {
        Kind::Refused => Exit::Refused,
        Kind::Interrupted => Exit::Interrupted,
        Kind::Failed => Exit::Failed,
    }
}

fn hint_of(error: &anyhow::Error) -> Option<String> {
    if let Some(failure) = find::<Failure>(error) {
        failure.cure.clone()
    } else if let Some(locked) = find::<Locked>(error) {
        Some(locked.hint())
    } else if let Some(error) = find::<config::Error>(error) {
        error.faults.first()?.hint.clone()
    } else if let Some(error) = find::<archive::Error>(error) {
        error.hint()
    } else {
        find::<Error>(error)?.hint()
    }
}

/// What is told of a failure.
pub fn tell(error: &anyhow::Error) -> Told {
    let config = find::<config::Error>(error);
    let faults = config.map_or(&[][..], |config| &config.faults);
    let mut message = message(error);
    if let (Some(config), [first, _, ..]) = (config, faults) {
        // The others follow, each with its own excerpt.
        message = message.replace(&config.to_string(), &first.fact);
    }
    Told {
        error: one_line(&message),
        excerpt: faults.first().and_then(|fault| fault.excerpt.clone()),
        hint: hint_of(error),
        also: faults.iter().skip(1).map(tell_fault).collect(),
        exit: exit_of(error).code(),
    }
}

fn tell_fault(fault: &config::Fault) -> Told {
    Told {
        error: one_line(&fault.fact),
        excerpt: fault.excerpt.clone(),
        hint: fault.hint.clone(),
        also: Vec::new(),
        exit: Exit::Usage.code(),
    }
}

/// Control characters made visible: a message is one line, and a file's name never moves the
/// cursor of a terminal.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context as _, anyhow};
    use state_api::Refusal;

    #[test]
    fn failures_map_to_the_promised_codes() {
        let busy = || Error::os("renaming a to b", std::io::ErrorKind::ResourceBusy);
        let no_blank = || {
            Error::Refused(Refusal::NoBlank {
                blank: "root-blank".into(),
                root_exists: true,
            })
        };
        let what = || "laptop/20261121T113705Z-1a2b".to_owned();
        let table: [(anyhow::Error, Exit); 12] = [
            (
                archive::Error::damaged(what(), "cut off").into(),
                Exit::Verification,
            ),
            (
                anyhow!(archive::Error::Missing { what: what() }).context("listing"),
                Exit::NoSuchArchive,
            ),
            (archive::Error::Unsigned { what: what() }.into(), Exit::Key),
            (archive::Error::Other(no_blank()).into(), Exit::Refused),
            (anyhow!("plain"), Exit::Failed),
            (busy().into(), Exit::Failed),
            (anyhow!(no_blank()).context("resetting root"), Exit::Refused),
            (Error::Interrupted.into(), Exit::Interrupted),
            (
                anyhow!(Locked { by: Some(7) }).context("locking"),
                Exit::Locked,
            ),
            (Failure::usage("no").into(), Exit::Usage),
            (
                anyhow!("inner").context(Failure::new(Class::Key, "unsigned")),
                Exit::Key,
            ),
            (
                Error::Recovery {
                    cause: Box::new(no_blank()),
                    recovery: Box::new(busy()),
                }
                .into(),
                Exit::Refused,
            ),
        ];
        for (error, exit) in table {
            assert_eq!(exit_of(&error), exit, "{error:#}");
        }
    }

    #[test]
    fn a_failure_is_told_once_on_one_line_with_its_cure() {
        let error = Err::<(), _>(Error::os(
            "rolling back to rpool/local/root@blank",
            std::io::Error::from_raw_os_error(16),
        ))
        .context("resetting rpool/local/a\nb\u{1b}[2J")
        .unwrap_err();
        assert_eq!(
            tell(&error),
            Told {
                error: "resetting rpool/local/a\\nb\\u{1b}[2J: rolling back to \
                        rpool/local/root@blank: device or resource busy"
                    .into(),
                excerpt: None,
                hint: None,
                also: Vec::new(),
                exit: 1,
            }
        );
        let error = anyhow!(Failure::refused("it has data").hint("merge it"));
        assert_eq!(tell(&error).hint.as_deref(), Some("merge it"));
    }

    #[test]
    fn numbers_never_change() {
        let codes: Vec<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 130]);
    }
}
