//! `state mount`: puts the persist tree in place.

mod exchange;
mod place;
mod report;

pub use place::place_all;
pub use report::{EntryReport, Report, Status};

use crate::config::{self, Fault};
use crate::context::Context;
use crate::engine;
use crate::failure::message;
use crate::ops::waiting;
use crate::persist::{self, Blank, Entry, Method, PersistTree, Problem, Problems};
use crate::settings::Settings;
use anyhow::Context as _;
use exchange::Exchanges;
use state_api::{Result, RootBackend as _, Source, View};
use std::collections::BTreeMap;
use std::path::Path;

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

/// Puts the persist tree in place. Before that, trees that waited for this boot take the place of
/// their stores.
///
/// # Errors
/// The configuration is wrong, another run holds the lock, or the run was interrupted. What
/// becomes of one entry is part of the report and stops no other.
pub fn run(cx: &Context, options: Options<'_>) -> anyhow::Result<Report> {
    let mut settings = config::load(cx)?;
    let mut tree = tree(cx, &settings)?;
    let lock = if cx.dry_run { None } else { Some(cx.lock()?) };
    let Exchanges {
        unfit,
        swaps,
        mut troubles,
    } = exchange::finish(cx, &settings, &tree);
    if lock.is_some() && !swaps.is_empty() {
        troubles.extend(waiting::record(cx, &swaps).err().map(anyhow::Error::from));
        // What is declared may have come with the trees.
        match declared(cx) {
            Ok(declared) => (settings, tree) = declared,
            Err(error) => troubles.push(error),
        }
    }
    let blank = Blank::new(|| blank(cx, &settings));
    let mut report = place_all(cx, &settings, &tree, &blank, (options, unfit))
        .context("putting the persist tree in place")?;
    drop(lock);
    report.swaps = swaps;
    let trouble = troubles.first().map(message);
    report.trouble = trouble.or(report.trouble);
    Ok(report)
}

fn declared(cx: &Context) -> anyhow::Result<(Settings, PersistTree)> {
    let settings = config::load(cx)?;
    let tree = tree(cx, &settings)?;
    Ok((settings, tree))
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
