//! The machine as `doctor` and `status` see it: everything that can be learned without changing
//! anything. Judging is theirs.

use crate::archive;
use crate::config::{self, Config};
use crate::context::Context;
use crate::engine;
use crate::ledger::{self, Ledger};
use crate::machine::Machine;
use crate::ops::mount::{self, Status};
use crate::paths;
use crate::persist::PersistTree;
use crate::record::{self, Record};
use crate::settings::{Class, Settings};
use crate::target;
use crate::target::catalog::Catalog;
use crate::target::place;
use anyhow::Context as _;
use chrono::{DateTime, Utc};
use serde::Serialize;
use state_api::{Error, RootBackend as _, RootFacts, Snapshot};
use state_linux::mountinfo::Mount;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A store as it stands.
#[derive(Debug, Clone)]
pub struct StoreSeen {
    /// Where it is on the machine.
    pub path: PathBuf,
    /// What becomes of its content.
    pub class: Class,
    /// Whether there is a directory.
    pub exists: bool,
    /// What holds it.
    pub mount: Option<Mount>,
    /// Whether that is another volume than root's.
    pub is_apart: bool,
    /// Free space for everybody, and the size, in bytes.
    pub space: Option<Space>,
}

/// The space of a filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Space {
    /// Free for unprivileged users.
    pub free_bytes: u64,
    /// All there is.
    pub total_bytes: u64,
}

/// The stores that the settings declare.
pub fn stores(cx: &Context, machine: &Machine, settings: &Settings) -> Vec<StoreSeen> {
    let root = machine.root();
    let seen = settings.persist.iter().map(|(path, store)| {
        let mount = machine.mount_of(path).cloned();
        let apart = |mount: &Mount| {
            mount.at != Path::new("/")
                && !root.is_some_and(|root| Machine::is_same_volume(root, mount))
        };
        StoreSeen {
            path: path.clone(),
            class: store.class,
            exists: cx.rooted(path).is_dir(),
            is_apart: mount.as_ref().is_some_and(apart),
            mount,
            space: space(&cx.rooted(path)),
        }
    });
    seen.collect()
}

fn space(path: &Path) -> Option<Space> {
    let told = rustix::fs::statvfs(path).ok()?;
    Some(Space {
        free_bytes: told.f_bavail.saturating_mul(told.f_frsize),
        total_bytes: told.f_blocks.saturating_mul(told.f_frsize),
    })
}

/// The persist tree, with the users of the machine.
pub fn tree(cx: &Context, settings: &Settings) -> Option<PersistTree> {
    mount::tree(cx, settings).ok()
}

/// What root's engine tells of it; `None` if no root is declared.
///
/// # Errors
/// The engine cannot be reached or read: mostly, this is not root's user.
pub fn root(cx: &Context, settings: &Settings) -> Option<anyhow::Result<RootFacts>> {
    let mut root = match engine::root(cx, settings.root.as_ref()?, &settings.persist) {
        Ok(root) => root,
        Err(error) => return Some(Err(error.into())),
    };
    let facts = engine::on_root!(&mut root, on => on.survey().map(|survey| on.facts(&survey)));
    Some(facts.map_err(Into::into))
}

/// The newest snapshot of a store; the inner `None`: there is none yet.
///
/// # Errors
/// The store cannot be looked at.
pub fn last_snapshot(cx: &Context, store: &Path) -> state_api::Result<Option<Option<Snapshot>>> {
    let store = match engine::store(&cx.rooted(store)) {
        Ok(store) => store,
        Err(Error::Unsupported { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    if !store.capabilities().snapshots {
        return Ok(None);
    }
    Ok(Some(store.list()?.pop()))
}

/// The newest complete archive of this machine at a target: by looking, where the target is a
/// directory; else by the ledger, for a glance at the machine must not wait for a network.
///
/// # Errors
/// The target or the ledger cannot be read.
pub fn last_archive(
    cx: &Context,
    settings: &Settings,
    machine: &Machine,
    target: &str,
) -> archive::Result<Option<(String, DateTime<Utc>)>> {
    let configured = settings.machine.name.as_deref();
    let name = configured
        .or(machine.hostname.as_deref())
        .unwrap_or_default();
    let url = settings
        .target
        .get(target)
        .map(|target| target.url.as_str());
    if !matches!(
        url.map(place::Place::parse),
        Some(Ok(place::Place::File(_)))
    ) {
        let ledger = Ledger::read(cx, settings)?;
        let mut here = ledger.archives.iter().rev();
        let is_it = |entry: &&ledger::Entry| {
            let is_good = entry.is_complete && entry.damaged.is_none();
            is_good && entry.target == target && entry.machine == name
        };
        return Ok(here
            .find(is_it)
            .map(|entry| (entry.id.clone(), entry.published)));
    }
    let target = target::open(settings, target)?;
    let catalog = Catalog::read(target.as_ref(), name)?;
    Ok(catalog
        .latest()
        .map(|label| (label.id.to_string(), label.time)))
}

/// An entry, and whether it is in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Placed {
    /// Where it is on the machine.
    #[serde(serialize_with = "paths::serialize")]
    pub path: PathBuf,
    /// How it stands.
    #[serde(flatten)]
    pub place: Place,
}

/// How an entry stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "place")]
pub enum Place {
    /// It is in place.
    InPlace,
    /// It could be put in place now.
    NotYet,
    /// It is left out, as declared.
    LeftOut {
        /// Why.
        why: String,
    },
    /// It cannot be put in place.
    Stuck {
        /// Why.
        why: String,
        /// The cure.
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
}

/// The entries, as `state mount` would find them; `None` for a machine that does not run: there
/// none is expected in place.
///
/// # Errors
/// The root directory cannot be opened.
pub fn entries(cx: &Context, settings: &Settings) -> anyhow::Result<Option<Vec<Placed>>> {
    // An ordinary user is denied much of what is in place.
    if cx.root_dir != Path::new("/") || !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let report = mount::look(cx, settings)?;
    let placed = report.entries.into_iter().map(|entry| Placed {
        path: entry.path,
        place: match entry.status {
            Status::InPlace | Status::Done { .. } => Place::InPlace,
            Status::Planned { .. } => Place::NotYet,
            Status::LeftOut { why } => Place::LeftOut { why },
            Status::Failed { error, hint } => Place::Stuck { why: error, hint },
        },
    });
    Ok(Some(placed.collect()))
}

/// The record of this boot's reset, if there is one. One of an earlier boot is none.
///
/// # Errors
/// It cannot be read or understood.
pub fn record(cx: &Context) -> anyhow::Result<Option<Record>> {
    let record = record::read(&cx.run_dir()).context("reading the boot record")?;
    Ok(record.filter(|record| record.boot_id == cx.boot_id))
}

/// The process that holds the lock now. Found in the kernel's list, not by trying: a look must
/// not stand in anybody's way.
pub fn lock_holder(cx: &Context) -> Option<u32> {
    holder(cx, Path::new("lock"))
}

/// The process that holds a lock in the run directory.
pub(super) fn holder(cx: &Context, lock: &Path) -> Option<u32> {
    let inode = fs::metadata(cx.run_dir().join(lock))
        .ok()?
        .ino()
        .to_string();
    let locks = fs::read_to_string(cx.rooted("/proc/locks")).ok()?;
    locks.lines().find_map(|line| {
        // 1: FLOCK  ADVISORY  WRITE 4242 00:19:1234 0 EOF
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, _, _, _, pid, file, ..] = fields[..] else {
            return None;
        };
        (file.rsplit(':').next() == Some(&inode)).then(|| pid.parse().ok())?
    })
}

/// How the store's copy of the configuration compares with the one that is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreCopy {
    /// They are one file, or equal.
    Same,
    /// Made anew by NixOS at each start; the store needs none.
    MadeByNix,
    /// There is none.
    Missing,
    /// It says something else.
    Different,
}

/// Compares the configuration in force with the copy in `store`.
pub fn store_copy(cx: &Context, config: &Config, store: &Path) -> StoreCopy {
    let in_force = config.files.first().map_or(Path::new(""), PathBuf::as_path);
    let real = |path: &Path| fs::canonicalize(path).ok();
    if real(in_force).is_some_and(|real| real.starts_with(cx.rooted("/nix/store"))) {
        return StoreCopy::MadeByNix;
    }
    let copy = config::store_copy(cx, store);
    match (fs::read(in_force), fs::read(&copy)) {
        (_, Err(_)) => StoreCopy::Missing,
        (Ok(here), Ok(there)) if here == there => StoreCopy::Same,
        _ => StoreCopy::Different,
    }
}
