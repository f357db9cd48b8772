//! `state mount`: puts the persist tree in place.

mod place;
mod report;

pub use place::place_all;
pub use report::{EntryReport, Report, Status};

use crate::config::{self, Fault};
use crate::context::Context;
use crate::engine;
use crate::persist::{self, Blank, Entry, Method, PersistTree, Problem, Problems};
use crate::settings::Settings;
use anyhow::Context as _;
use rustix::fs::CWD;
use state_api::{Error, Result, RootBackend as _, Source, View};
use state_linux::stat::Stat;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What is asked of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options<'a> {
    /// Which entries.
    pub which: Which<'a>,
}

/// Which entries are put in place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Which<'a> {
    /// All.
    #[default]
    All,
    /// The early ones: what the initrd does.
    Early,
    /// The copied ones: what is saved while the machine runs.
    Copied,
    /// The one at this path.
    One(&'a Path),
}

impl Options<'_> {
    fn concerns(self, entry: &Entry) -> bool {
        match self.which {
            Which::All => true,
            Which::Early => entry.is_early,
            Which::Copied => entry.method == Method::Copy,
            Which::One(path) => entry.path == path,
        }
    }
}

/// Puts the persist tree in place.
///
/// # Errors
/// The configuration is wrong, another run holds the lock, or the run was interrupted. What
/// becomes of one entry is part of the report and stops no other.
pub fn run(cx: &Context, options: Options<'_>) -> anyhow::Result<Report> {
    let settings = config::load(cx)?;
    let tree = tree(cx, &settings)?;
    let lock = if cx.dry_run { None } else { Some(cx.lock()?) };
    let blank = Blank::new(|| blank(cx, &settings));
    let unfit = match lock {
        Some(_) => finish_exchanges(cx, &tree),
        None => BTreeMap::new(),
    };
    let report = place_all(cx, &settings, &tree, &blank, (options, unfit))
        .context("putting the persist tree in place")?;
    drop(lock);
    Ok(report)
}

/// What putting the persist tree in place would do. Changes nothing, and needs no lock.
///
/// # Errors
/// The declaration contradicts itself, or there is no root directory.
pub fn look(cx: &Context, settings: &Settings) -> anyhow::Result<Report> {
    let tree = tree(cx, settings)?;
    let blank = Blank::new(|| blank(cx, settings));
    Ok(place_all(
        &cx.planning(),
        settings,
        &tree,
        &blank,
        (Options::default(), BTreeMap::new()),
    )?)
}

/// Puts the entry at `path` in place, or says what that would be.
///
/// # Errors
/// As [`place_all`].
pub fn place_one(
    cx: &Context,
    settings: &Settings,
    tree: &PersistTree,
    path: &Path,
) -> Result<Report> {
    let blank = Blank::new(|| blank(cx, settings));
    let which = Which::One(path);
    place_all(
        cx,
        settings,
        tree,
        &blank,
        (Options { which }, BTreeMap::new()),
    )
}

/// The persist tree that the settings declare, on the machine below the root directory.
///
/// # Errors
/// The declaration contradicts itself ([`config::Error`]), or there is no root directory.
pub fn tree(cx: &Context, settings: &Settings) -> anyhow::Result<PersistTree> {
    let resolved = persist::load(&cx.root_dir, settings)?;
    Ok(resolved.map_err(|Problems(problems)| {
        let fault = |problem: &Problem| Fault {
            fact: problem.to_string(),
            excerpt: None,
            hint: None,
        };
        config::Error {
            faults: problems.iter().map(fault).collect(),
        }
    })?)
}

/// The blank tree, where root's engine has one and it can be read.
pub(super) fn blank(cx: &Context, settings: &Settings) -> Option<View> {
    let mut root = engine::root(cx, settings.root.as_ref()?, &settings.persist).ok()?;
    engine::on_root!(&mut root, on => match on.capabilities().blank {
        true => on.open(&Source::Blank).ok(),
        false => None,
    })
}

/// Finishes exchanges of stores that a power cut interrupted, before anything of them is in place.
/// Says of which stores that was not possible: they may hold a part of each tree.
fn finish_exchanges(cx: &Context, tree: &PersistTree) -> BTreeMap<PathBuf, String> {
    let is_mounted =
        |entry: &Entry| Stat::of(CWD, cx.rooted(&entry.path)).is_ok_and(|stat| stat.is_mount_point);
    let unused = tree.stores().map(|(store, _)| store).filter(|store| {
        !tree
            .entries()
            .any(|entry| entry.store == *store && is_mounted(entry))
    });
    let failed = unused.filter_map(|store| {
        let at = cx.rooted(store);
        if !at.is_dir() {
            return None;
        }
        let recovered = engine::store(&at).and_then(|mut store| store.recover());
        // Who may not look at the filesystem cannot have exchanged anything on it either.
        let error = recovered.err().filter(|error| !is_denied(error))?;
        Some((
            store.to_owned(),
            format!("finishing an interrupted exchange: {error}"),
        ))
    });
    failed.collect()
}

fn is_denied(error: &Error) -> bool {
    matches!(error, Error::Os { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied)
}
