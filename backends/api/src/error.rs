//! Errors a caller branches on.
//!
//! The message of every error is a bare fact in lower case; what was being done is context that
//! the layers above put in front, and the cure is [`Error::hint`], printed on a line of its own.

use crate::name::PastRootName;
use std::fmt;
use std::path::PathBuf;

/// The result of everything that touches an engine.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong below a seam.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A plan was not made because carrying it out could lose something. Nothing was changed.
    #[error("{0}")]
    Refused(Refusal),
    /// Between survey and execution the machine changed: the plan is stale. Nothing was changed.
    #[error("{what} changed since it was looked at")]
    Stale {
        /// The thing that is no longer what the survey saw.
        what: String,
    },
    /// Something that was asked for does not exist.
    #[error("{what} does not exist")]
    Missing {
        /// The thing, named as the user names it.
        what: String,
    },
    /// One of several things that have names was asked for, and none has that name.
    #[error("{what} does not exist")]
    Unlisted {
        /// The thing, named as the user names it.
        what: String,
        /// The command that lists those that do.
        listed_by: &'static str,
    },
    /// This engine cannot do that at all (see its capabilities).
    #[error("{what} is not supported by the {engine} engine")]
    Unsupported {
        /// The engine's stable name.
        engine: &'static str,
        /// What was asked of it.
        what: &'static str,
    },
    /// A system call failed.
    #[error("{doing}: {source}")]
    Os {
        /// What was attempted, as a gerund with its object: `renaming root.new to root`.
        doing: String,
        /// The errno.
        source: std::io::Error,
    },
    /// An external program failed.
    #[error("{doing}: {program} ended with {status}{}", tail(.stderr))]
    Tool {
        /// What was attempted, as a gerund with its object.
        doing: String,
        /// The program's name.
        program: &'static str,
        /// Its exit status, in words.
        status: String,
        /// The last lines of what it wrote to stderr; shown, never parsed.
        stderr: String,
    },
    /// Data that another party wrote does not have the form it must have.
    #[error("{what}: {why}")]
    Malformed {
        /// The thing that was read.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// SIGINT or SIGTERM arrived; the step under way was finished, the rest was not begun.
    #[error("interrupted")]
    Interrupted,
    /// A recovery failed too: both failures, the first cause first.
    #[error("{cause}; and while putting things back: {recovery}")]
    Recovery {
        /// What failed first.
        cause: Box<Error>,
        /// What failed while undoing it.
        recovery: Box<Error>,
    },
}

fn tail(stderr: &str) -> String {
    let line = stderr.trim();
    if line.is_empty() {
        String::new()
    } else {
        format!(": {line}")
    }
}

/// The classes of error that decide an exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Would destroy, or is not understood.
    Refused,
    /// SIGINT or SIGTERM.
    Interrupted,
    /// Everything else.
    Failed,
}

impl Error {
    /// An operating-system failure: `doing` is a gerund with its object.
    pub fn os(doing: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self::Os {
            doing: doing.into(),
            source: source.into(),
        }
    }

    /// The class that decides the exit status.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Refused(_) | Self::Stale { .. } => Kind::Refused,
            Self::Interrupted => Kind::Interrupted,
            Self::Recovery { cause, .. } => cause.kind(),
            _ => Kind::Failed,
        }
    }

    /// The cure, where one is known: a full sentence without a final stop.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Refused(refusal) => refusal.hint(),
            Self::Stale { .. } => Some("run the command again: it looks afresh".into()),
            Self::Os { source, .. } => match source.kind() {
                std::io::ErrorKind::StorageFull => Some(
                    "the disk is full; nothing was deleted to make room. \
                     `state roots gc` frees past roots, `state snapshot prune` old snapshots"
                        .into(),
                ),
                std::io::ErrorKind::PermissionDenied => Some("this needs root".into()),
                std::io::ErrorKind::ReadOnlyFilesystem => {
                    Some("the filesystem is mounted or forced read-only; `dmesg` says why".into())
                }
                _ => None,
            },
            Self::Recovery { cause, .. } => cause.hint(),
            Self::Unlisted { listed_by, .. } => Some(format!("`{listed_by}` shows what there is")),
            _ => None,
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Why a plan was refused. Every one of these leaves the machine as it was.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case", tag = "refusal")]
pub enum Refusal {
    /// There is no blank to go back to.
    NoBlank {
        /// Where it was looked for.
        blank: String,
        /// Whether root itself exists.
        root_exists: bool,
    },
    /// Blank is writable or was written to after it was taken.
    BlankWritten {
        /// The blank.
        blank: String,
    },
    /// Blank has no init, on a system whose init lives inside root.
    BlankWithoutInit {
        /// The blank.
        blank: String,
    },
    /// Root is mounted: it would go on being used under its new name.
    RootMounted {
        /// The root volume.
        root: String,
        /// Where.
        at: PathBuf,
    },
    /// Root is mounted by volume id somewhere, an id that the reset changes.
    RootMountedById {
        /// The file that says so (`/etc/fstab`, the kernel command line).
        file: PathBuf,
    },
    /// Root is the filesystem's top level, which cannot be exchanged.
    RootIsTopLevel,
    /// Something has the name of a thing of ours but is something else.
    NotWhatItClaims {
        /// The name.
        name: String,
        /// What it had to be and is not.
        expected: String,
    },
    /// A volume that must outlive the reset lies inside root.
    InsideRoot {
        /// The volume or directory.
        what: String,
        /// The root volume.
        root: String,
    },
    /// Something holds a snapshot that the plan would have to destroy.
    Held {
        /// The snapshot.
        snapshot: String,
        /// The holds' tags or the dependent clones' names.
        by: Vec<String>,
    },
    /// A child volume would not go back with its parent.
    ChildWithoutBlank {
        /// The child.
        child: String,
    },
    /// A name that the engine cannot carry.
    BadName(super::BadName),
    /// The device or pool cannot be written.
    ReadOnly {
        /// The device, filesystem or pool.
        what: String,
    },
    /// The target of a restore or exchange is in use.
    InUse {
        /// The thing.
        what: String,
        /// Where or by whom.
        by: String,
    },
    /// Anything else that could lose data, said in full.
    Unsafe {
        /// The bare fact.
        fact: String,
        /// The cure.
        cure: String,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBlank { blank, .. } => write!(f, "{blank} does not exist"),
            Self::BlankWritten { blank } => {
                write!(
                    f,
                    "{blank} is writable or was written to: it is no longer blank"
                )
            }
            Self::BlankWithoutInit { blank } => {
                write!(
                    f,
                    "{blank} holds no init: the machine would not boot from it"
                )
            }
            Self::RootMounted { root, at } => {
                write!(f, "{root} is mounted at {}", at.display())
            }
            Self::RootMountedById { file } => {
                write!(
                    f,
                    "{} mounts root by its volume id, which a reset changes",
                    file.display()
                )
            }
            Self::RootIsTopLevel => {
                write!(
                    f,
                    "root is the filesystem's top level, which cannot be exchanged"
                )
            }
            Self::NotWhatItClaims { name, expected } => write!(f, "{name} is not {expected}"),
            Self::InsideRoot { what, root } => {
                write!(f, "{what} lies inside {root} and would be put away with it")
            }
            Self::Held { snapshot, by } => {
                write!(f, "{snapshot} is held by {}", by.join(", "))
            }
            Self::ChildWithoutBlank { child } => {
                write!(
                    f,
                    "{child} is a child of root without a blank snapshot of its own"
                )
            }
            Self::BadName(bad) => write!(f, "{bad}"),
            Self::ReadOnly { what } => write!(f, "{what} is read-only"),
            Self::InUse { what, by } => write!(f, "{what} is in use by {by}"),
            Self::Unsafe { fact, .. } => f.write_str(fact),
        }
    }
}

impl Refusal {
    /// Of what would delete a past root that somebody pinned.
    pub fn pinned(name: &PastRootName) -> Self {
        Self::Unsafe {
            fact: format!("past root {name} is pinned"),
            cure: format!("`state roots unpin {name}` first"),
        }
    }

    /// The cure, where one is known.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoBlank {
                root_exists: true, ..
            } => "make root what it should be at every boot, then run `state blank take`".into(),
            Self::NoBlank {
                root_exists: false, ..
            } => "both root and blank are gone; `state roots list` shows past roots to boot from \
                 with `state.root=past/NAME`"
                .into(),
            Self::BlankWritten { .. } => {
                "look at it with `state blank show`; if it is what you want, `state blank take` \
                 makes a new one from root"
                    .into()
            }
            Self::BlankWithoutInit { .. } => {
                "on a distribution that keeps its programs inside root, take blank from an \
                 installed root: `state blank take`"
                    .into()
            }
            Self::RootMounted { at, .. } if at.as_os_str() == "/" => {
                "the running root is reset at the next boot, before it is mounted; \
                 `state diff` shows what will be lost"
                    .into()
            }
            Self::RootMounted { at, .. } => {
                format!(
                    "unmount {} first, or run this before it is mounted",
                    at.display()
                )
            }
            Self::RootMountedById { .. } => {
                "mount it by name instead: replace `subvolid=…` with `subvol=NAME`".into()
            }
            Self::RootIsTopLevel => {
                "move the system into a subvolume: `state init` explains how".into()
            }
            Self::InsideRoot { .. } => "move it beside root and mount it into place".into(),
            Self::Held { .. } => "release the holds or destroy the clones if nothing needs them; \
                 backup tools should leave these snapshots alone"
                .into(),
            Self::ChildWithoutBlank { child } => {
                format!("take `{child}@blank`, or move the child out of root")
            }
            Self::Unsafe { cure, .. } => cure.clone(),
            Self::InUse { .. } => "stop or unmount what uses it, then run the command again".into(),
            Self::ReadOnly { .. } => "`dmesg` says why: a filesystem that found errors gives up \
                 writing; check it from a rescue system, or mount it read-write"
                .into(),
            Self::NotWhatItClaims { .. } | Self::BadName(_) => return None,
        })
    }
}
