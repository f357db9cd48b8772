//! The machine's other half: the work tree of its configuration, at the commit that belongs to the
//! archive, and never at another one.

use super::adapt::place;
use crate::archive::machine::{Config, Machine};
use crate::failure;
use crate::ops::backup;
use crate::paths::{Shown, Typed};
use crate::program::{As, Program};
use serde::Serialize;
use state_api::{Error, Result};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long git may take: a large repository over a slow line.
const LIMIT: Duration = Duration::from_secs(3600);

/// What became of the configuration's work tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Checkout {
    /// The archive names none.
    Unknown,
    /// It was restored with the stores, at its commit.
    Restored {
        /// The work tree.
        #[serde(serialize_with = "crate::paths::serialize")]
        repo: PathBuf,
        /// The commit.
        commit: String,
        /// Whether it differs from its commit, as it did when it was archived.
        is_dirty: bool,
    },
    /// There is one, at another commit. It is left as it is.
    Differs {
        /// The work tree.
        #[serde(serialize_with = "crate::paths::serialize")]
        repo: PathBuf,
        /// The commit that is checked out.
        found: String,
        /// The one that belongs to the archive.
        commit: String,
        /// What checks that out.
        commands: Vec<String>,
    },
    /// It was cloned and checked out.
    Cloned {
        /// The work tree.
        #[serde(serialize_with = "crate::paths::serialize")]
        repo: PathBuf,
        /// From where.
        url: String,
        /// The commit.
        commit: String,
        /// Whether the machine's own differed from it: what was not committed is not here.
        was_dirty: bool,
    },
    /// It could not be had.
    Failed {
        /// Why.
        why: String,
        /// The commit.
        commit: String,
        /// What does it by hand.
        commands: Vec<String>,
    },
}

impl Checkout {
    /// Whether a person has to do it.
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }

    /// Where it is, if it is there.
    pub(super) fn repo(&self) -> Option<&Path> {
        match self {
            Self::Restored { repo, .. }
            | Self::Cloned { repo, .. }
            | Self::Differs { repo, .. } => Some(repo),
            Self::Unknown | Self::Failed { .. } => None,
        }
    }
}

/// Where the work tree belongs in the new machine. An entry's place is its store: nothing is mounted
/// over the new root yet, and root is erased.
fn destination(into: &Path, archived: &Machine, config: &Config) -> PathBuf {
    let repo = &config.repo.0;
    // Entries are written as the archive's members are: from the root on, without a slash.
    let plain = |path: &[u8]| {
        PathBuf::from("/").join(OsStr::from_bytes(path.strip_prefix(b"./").unwrap_or(path)))
    };
    let holds = |entry: &[u8]| plain(repo).starts_with(plain(entry));
    let entry_of = archived
        .stores
        .iter()
        .find(|store| store.entries.iter().any(|entry| holds(&entry.0)));
    match entry_of {
        Some(store) if !holds(&store.path.0) => place(&place(into, &store.path.0), repo),
        _ => place(into, repo),
    }
}

/// Looks whether it was restored; clones it otherwise.
pub(super) fn run(into: &Path, archived: &Machine, config_from: Option<&str>) -> Checkout {
    let Some(config) = &archived.config else {
        return Checkout::Unknown;
    };
    let repo = destination(into, archived, config);
    let commit = config.commit.clone();
    if fs::symlink_metadata(repo.join(".git")).is_ok() {
        return restored(repo, commit);
    }
    let url = config_from.or(config.url.as_deref());
    let failed = |why: String| {
        let url = url.unwrap_or("URL");
        let at = Typed(&repo);
        Checkout::Failed {
            why,
            commit: commit.clone(),
            commands: vec![
                format!("git clone --no-checkout -- {} {at}", Typed(Path::new(url))),
                format!("git -C {at} checkout --detach {commit}"),
            ],
        }
    };
    if !is_commit(&commit) {
        return failed(format!("{commit:?} is no commit"));
    }
    let Some(url) = url else {
        return failed(
            "it was not restored, and no remote was recorded; `--config-from URL` names one".into(),
        );
    };
    if fs::read_dir(&repo).is_ok_and(|mut entries| entries.next().is_some()) {
        return failed(format!("{} is there and is no git work tree", Shown(&repo)));
    }
    match clone(url, &repo, &commit) {
        Ok(()) => Checkout::Cloned {
            url: url.to_owned(),
            was_dirty: config.is_dirty,
            repo,
            commit,
        },
        Err(Error::Missing { .. }) => failed(
            "there is no git here: install it and run the same command again, or do it later"
                .into(),
        ),
        Err(error) => failed(told(&failure::message(&error.into()))),
    }
}

/// What git says, in one line; where it is ssh that cannot, what that wants.
fn told(said: &str) -> String {
    let line = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let of_ssh = [
        "Host key verification failed",
        "Permission denied (publickey",
    ];
    match of_ssh.iter().any(|words| line.contains(words)) {
        true => {
            format!("{line} (git takes what ssh finds by itself: a key and known_hosts in ~/.ssh)")
        }
        false => line,
    }
}

/// A work tree that came with the stores.
fn restored(repo: PathBuf, commit: String) -> Checkout {
    match backup::commit(&repo, &repo) {
        Ok(found) if found.commit == commit => Checkout::Restored {
            repo,
            commit,
            is_dirty: found.is_dirty,
        },
        Ok(found) => Checkout::Differs {
            commands: vec![format!(
                "git -C {} checkout --detach {commit}",
                Typed(&repo)
            )],
            found: found.commit,
            repo,
            commit,
        },
        // Without git nobody can ask; it is what was archived, byte for byte.
        Err(Error::Missing { .. }) => Checkout::Restored {
            repo,
            commit,
            is_dirty: false,
        },
        Err(error) => Checkout::Failed {
            why: error.to_string(),
            commands: vec![format!("git -C {} status", Typed(&repo))],
            commit,
        },
    }
}

fn is_commit(commit: &str) -> bool {
    [40, 64].contains(&commit.len()) && commit.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Clones beside the place, checks out, and only then gives it its name.
fn clone(url: &str, repo: &Path, commit: &str) -> Result<()> {
    let by = As {
        env: &[
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_SSH_COMMAND", "ssh -oBatchMode=yes"),
            // An archive's machine chooses the URL: no protocol that is a command.
            ("GIT_ALLOW_PROTOCOL", "file:git:http:https:ssh"),
            ("HOME", "/root"),
        ],
        ..As::default()
    };
    let new = with_suffix(repo, ".partial");
    let failed = |error| Error::os(format!("making {}", Shown(repo)), error);
    if let Some(parent) = repo.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    if new.exists() {
        fs::remove_dir_all(&new).map_err(failed)?; // what an interrupted run left
    }
    let git = |doing: String, args: &[&OsStr]| {
        let hooks = ["-c", "core.hooksPath=/dev/null"].map(OsStr::new);
        Program::Git.run_as(&by, &doing, hooks.iter().chain(args), LIMIT)
    };
    let word = OsStr::new;
    git(
        format!("cloning {url}"),
        &[
            word("clone"),
            word("--quiet"),
            word("--no-checkout"),
            word("--"),
            word(url),
            new.as_os_str(),
        ],
    )?;
    git(
        format!("checking out {commit}: is it pushed to {url}?"),
        &[
            word("-C"),
            new.as_os_str(),
            word("checkout"),
            word("--quiet"),
            word("--detach"),
            word(commit),
        ],
    )?;
    // An empty directory may be in its place: the store has one where an entry is.
    fs::rename(&new, repo).map_err(failed)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(OsStr::from_bytes(suffix.as_bytes()));
    name.into()
}
