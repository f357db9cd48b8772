//! What a backup did, or would do.

use super::sources::Sources;
use crate::archive::label::Label;
use crate::archive::machine::Config;
use crate::archive::manifest::{Bytes, Digest, Missing, Totals};
use crate::archive::write::Written;
use crate::persist::PersistTree;
use crate::settings::Class;
use serde::Serialize;
use std::path::PathBuf;

/// What a backup did, or would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The machine's name.
    pub machine: String,
    /// Whether it was done; a dry run stops before.
    pub executed: bool,
    /// The stores.
    pub stores: Vec<Source>,
    /// How many paths are declared in them.
    pub declared: usize,
    /// The commit of the machine's configuration.
    pub commit: Option<String>,
    /// Whether the configuration's work tree differs from it.
    pub is_dirty: bool,
    /// The targets, each with its outcome.
    pub targets: Vec<Published>,
    /// The archive's id.
    pub id: Option<String>,
    /// The archive it builds on; none: it is a full one.
    pub parent: Option<String>,
    /// Why it is a full one although nobody asked for that.
    pub full_because: Option<String>,
    /// The archive since which nothing changed: no other one was made.
    pub unchanged_since: Option<String>,
    /// What it holds in all.
    pub totals: Totals,
    /// Its size as stored.
    pub data_bytes: u64,
    /// The digest of its data as stored.
    pub data_sha256: Option<Digest>,
    /// The public keys that it is encrypted to.
    pub encrypted_to: Vec<String>,
    /// The key that signs it.
    pub signed_by: Option<String>,
    /// What should be in it and could not be had. Not empty: the archive is incomplete.
    pub incomplete: Vec<Shortcoming>,
    /// What is left out on purpose.
    pub left_out: Vec<Shortcoming>,
    /// Declared paths that the stores do not hold.
    #[serde(serialize_with = "crate::paths::serialize_all")]
    pub absent: Vec<PathBuf>,
    /// How many paths of the stores nobody declared.
    pub orphans: usize,
    /// Which hook failed after it, and why.
    pub hook_failed: Option<String>,
    /// What else there is to say.
    pub notes: Vec<String>,
}

/// A store that is archived.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Source {
    /// Where it is.
    #[serde(serialize_with = "crate::paths::serialize")]
    pub path: PathBuf,
    /// Its filesystem.
    pub filesystem: String,
    /// Whether a snapshot is read, in which nothing changes meanwhile.
    pub from_snapshot: bool,
}

/// A target and its outcome.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Published {
    /// Its name or URL.
    pub target: String,
    /// Whether the archive is there and was read back.
    pub is_published: bool,
    /// Why not.
    pub failed: Option<String>,
    /// What interrupted runs had left there and is gone now.
    pub removed: Vec<String>,
}

/// A path and what is the matter with it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shortcoming {
    /// The path on the machine.
    pub path: Bytes,
    /// What is the matter.
    pub why: String,
}

impl From<&Missing> for Shortcoming {
    fn from(missing: &Missing) -> Self {
        let path = missing.path.0.strip_prefix(b".").unwrap_or(&missing.path.0);
        Self {
            path: Bytes(path.to_vec()),
            why: missing.why.clone(),
        }
    }
}

impl Report {
    pub(super) fn planned(
        machine: &str,
        targets: &[&str],
        sources: &Sources,
        tree: &PersistTree,
    ) -> Self {
        Self {
            machine: machine.to_owned(),
            executed: false,
            stores: (sources.0.iter())
                .map(|source| Source {
                    path: source.path.clone(),
                    filesystem: source.facts.filesystem.clone(),
                    from_snapshot: source.has_snapshots,
                })
                .collect(),
            declared: tree
                .entries()
                .filter(|entry| entry.class == Class::Backup)
                .count(),
            commit: None,
            is_dirty: false,
            targets: (targets.iter())
                .map(|name| Published {
                    target: (*name).to_owned(),
                    is_published: false,
                    failed: None,
                    removed: Vec::new(),
                })
                .collect(),
            id: None,
            parent: None,
            full_because: None,
            unchanged_since: None,
            totals: Totals::default(),
            data_bytes: 0,
            data_sha256: None,
            encrypted_to: Vec::new(),
            signed_by: None,
            incomplete: Vec::new(),
            left_out: Vec::new(),
            absent: Vec::new(),
            orphans: 0,
            hook_failed: None,
            notes: Vec::new(),
        }
    }

    pub(super) fn set_config(&mut self, config: Option<&Config>) {
        self.commit = config.map(|config| config.commit.clone());
        self.is_dirty = config.is_some_and(|config| config.is_dirty);
    }

    pub(super) fn made(&mut self, label: &Label, written: &Written) {
        self.id = Some(label.id.to_string());
        self.parent = label.parent.as_ref().map(ToString::to_string);
        self.totals = written.totals;
        self.data_bytes = label.data_bytes;
        self.data_sha256 = Some(label.data_sha256);
        self.incomplete = written.incomplete.iter().map(Into::into).collect();
        self.left_out = written.left_out.iter().map(Into::into).collect();
        self.absent = (written.absent.iter())
            .map(|path| PathBuf::from("/").join(path))
            .collect();
        self.orphans = written.orphans.len();
    }

    /// Nothing changed since `last`; the targets with these numbers have it.
    pub(super) fn unchanged(&mut self, last: Option<&Label>, there: impl Iterator<Item = usize>) {
        self.unchanged_since = last.map(|last| last.id.to_string());
        // What there is to be had is there.
        there.for_each(|n| self.targets[n].is_published = true);
        self.executed = true;
    }

    /// Whether only a part was done.
    pub fn is_partial(&self) -> bool {
        !self.incomplete.is_empty()
            || self.hook_failed.is_some()
            || self.targets.iter().any(|target| target.failed.is_some())
    }
}
