//! Trees that wait for the next boot to take their store's place: what is noted of them, and what
//! became of them.
//!
//! Whether a tree waits is the engine's to say. The note beside it is for people: what waits, and
//! since which boot.

use crate::archive::manifest::Digest;
use crate::context::Context;
use crate::engine;
use crate::paths;
use crate::record::Failure;
use crate::whole;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use state_api::{Error, Incoming, Result, SnapshotStore};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The note, in the store.
const NOTE: &str = ".state/waiting.json";
/// What the boot did with them, in the run directory.
const RECORD: &str = "swaps.json";
/// The version of both forms.
const VERSION: u32 = 1;

/// What waits, or was put in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum What {
    /// What `state restore` staged.
    #[serde(rename_all = "kebab-case")]
    Restore {
        /// The archive's id.
        archive: String,
        /// Its manifest.
        manifest_sha256: Digest,
    },
    /// What `state undo` brings back.
    Undo,
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Restore { archive, .. } => write!(f, "what was restored from {archive}"),
            Self::Undo => f.write_str("what `state undo` brings back"),
        }
    }
}

/// What is noted in a store of the tree that waits for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Note {
    version: u32,
    /// When it was asked for.
    pub at: DateTime<Utc>,
    /// In which boot: the next one puts it in place.
    pub boot_id: String,
    /// What it is.
    pub what: What,
}

impl Note {
    pub(super) fn new(cx: &Context, what: What) -> Self {
        Self {
            version: VERSION,
            at: cx.now,
            boot_id: cx.boot_id.clone(),
            what,
        }
    }

    /// The note in the store at `store`. One that is not understood is none: it decides nothing.
    pub fn read(store: &Path) -> Option<Self> {
        let text = fs::read(store.join(NOTE)).ok()?;
        let note: Self = serde_json::from_slice(&text).ok()?;
        (note.version == VERSION).then_some(note)
    }

    pub(super) fn write(&self, store: &Path) -> Result<()> {
        let path = store.join(NOTE);
        let text = serde_json::to_vec(self).expect("a note is JSON");
        whole::make_parent(&path)
            .and_then(|_| whole::replace(&path, 0o600, &text))
            .map_err(|e| Error::os("noting what waits for the next boot", e))
    }

    pub(super) fn remove(store: &Path) -> Result<()> {
        match fs::remove_file(store.join(NOTE)) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Error::os("removing the note of what waits", error)),
        }
    }
}

/// Leaves it to the next boot to put the staged or the replaced tree of the store at `store` in
/// place.
pub(super) fn postpone(
    cx: &Context,
    engine: &mut dyn SnapshotStore,
    store: &Path,
    what: What,
) -> Result<()> {
    let incoming = match &what {
        What::Restore { .. } => Incoming::Staged,
        What::Undo => Incoming::Replaced,
    };
    Note::new(cx, what).write(store)?;
    match engine.postpone(incoming) {
        Ok(_) => Ok(()),
        Err(cause) => Err(match Note::remove(store) {
            Ok(()) => cause,
            Err(recovery) => Error::Recovery {
                cause: Box::new(cause),
                recovery: Box::new(recovery),
            },
        }),
    }
}

/// Nothing of the store at `store` waits any more.
pub(super) fn call_off(engine: &mut dyn SnapshotStore, store: &Path) -> Result<()> {
    engine.call_off()?;
    Note::remove(store)
}

/// Notes in the stores of one restore that what belongs together is about to wait: until all of it does, no boot puts any of it
/// in place.
pub(super) fn announce<'a>(
    cx: &Context,
    stores: impl IntoIterator<Item = &'a Path>,
    what: &What,
) -> Result<()> {
    let mut stores = stores.into_iter();
    stores.try_for_each(|store| Note::new(cx, what.clone()).write(store))
}

/// Whether a restore was interrupted before `other` waited for the boot as well.
///
/// # Errors
/// It cannot be looked at.
pub(super) fn is_announced_only(other: &Path, what: &What) -> Result<bool> {
    let is_it = |note: Note| note.what == *what && matches!(what, What::Restore { .. });
    if !Note::read(other).is_some_and(is_it) {
        return Ok(false);
    }
    Ok(engine::store(other)?.waiting()?.is_none())
}

/// Puts the tree that waits for the store at `store` in place, now.
pub(super) fn exchange(engine: &mut dyn SnapshotStore, store: &Path) -> Result<()> {
    // It goes first: the old tree takes it along, and would bring it back by `state undo`.
    let note = Note::read(store);
    Note::remove(store)?;
    let Err(cause) = engine.exchange_waiting() else {
        return Ok(());
    };
    let put_back = match (note, engine.waiting()) {
        (Some(note), Ok(Some(_))) => note.write(store),
        (_, waiting) => waiting.map(drop),
    };
    Err(match put_back {
        Ok(()) => cause,
        Err(recovery) => Error::Recovery {
            cause: Box::new(cause),
            recovery: Box::new(recovery),
        },
    })
}

/// What became of a tree that waited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Swap {
    /// The store, as the machine knows it.
    #[serde(serialize_with = "paths::serialize")]
    pub store: PathBuf,
    /// What waited, where that was noted.
    pub what: Option<What>,
    /// When the boot came to it.
    pub at: DateTime<Utc>,
    /// Why it was not put in place; the old tree is there, and this one waits.
    pub failure: Option<Failure>,
}

/// What this boot did with the trees that waited: `/run/state/swaps.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Record {
    version: u32,
    boot_id: String,
    stores: Vec<Swap>,
}

/// What this boot has done with the trees that waited.
pub fn recorded(cx: &Context) -> Vec<Swap> {
    let text = fs::read(cx.run_dir().join(RECORD)).unwrap_or_default();
    let record = serde_json::from_slice::<Record>(&text).ok();
    let of_this_boot =
        record.filter(|record| record.version == VERSION && record.boot_id == cx.boot_id);
    of_this_boot.map_or(Vec::new(), |record| record.stores)
}

/// Adds to the record of this boot; of one store the last word counts.
pub(super) fn record(cx: &Context, swaps: &[Swap]) -> Result<()> {
    let mut stores = recorded(cx);
    stores.retain(|earlier| swaps.iter().all(|swap| swap.store != earlier.store));
    stores.extend_from_slice(swaps);
    let record = Record {
        version: VERSION,
        boot_id: cx.boot_id.clone(),
        stores,
    };
    let path = cx.run_dir().join(RECORD);
    let write = || {
        fs::create_dir_all(cx.run_dir())?;
        let mut text = serde_json::to_vec_pretty(&record)?;
        text.push(b'\n');
        whole::replace(&path, 0o644, &text)
    };
    write().map_err(|e| Error::os(format!("writing {}", path.display()), e))
}
