//! The note of what was restored into a store last, in its reserved directory: run again on a machine
//! that is being rebuilt, the same command does not restore twice, and goes on with the rest.

use super::marker::Marker;
use crate::whole;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use state_api::{Error, Result};
use state_linux::swap::RESERVED;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What was restored, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(in crate::ops) struct Done {
    of: Marker,
    /// In seconds since 1970.
    time: i64,
}

fn file(store: &Path) -> PathBuf {
    store.join(RESERVED).join("restored.json")
}

impl Done {
    pub(super) fn new(of: Marker, now: DateTime<Utc>) -> Self {
        Self {
            of,
            time: now.timestamp(),
        }
    }

    /// Notes it in the store that has just got this tree, or in the tree that is about to become it.
    pub(super) fn write(&self, store: &Path) -> Result<()> {
        let file = file(store);
        let text = serde_json::to_vec(self).expect("a note is JSON");
        whole::make_parent(&file)
            .and_then(|_| whole::replace(&file, 0o600, &text))
            .map_err(|e| Error::os("noting what was restored", e))
    }

    /// Before another tree takes the place of the one that it is about.
    pub(in crate::ops) fn forget(store: &Path) -> Result<()> {
        match fs::remove_file(file(store)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::os("forgetting what was restored", error))
            }
            _ => Ok(()),
        }
    }

    /// What is noted in the store, if anything.
    pub(super) fn read(store: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(file(store)).ok()?).ok()
    }

    /// When it was, if this was restored.
    pub(super) fn when(&self, of: &Marker) -> Option<DateTime<Utc>> {
        (self.of == *of).then(|| DateTime::from_timestamp(self.time, 0))?
    }

    /// The archive that it was.
    pub(super) fn archive(&self) -> &str {
        self.of.archive()
    }
}
