//! `state doctor`: every check that can be made without changing anything, each finding with its
//! cure.
//!
//! `look` gathers, the files below judge: pure functions of what was seen.

mod boot;
mod configuration;
mod drill;
mod entries;
mod initrd;
mod kernels;
mod keys;
mod loader;
mod root;
mod stores;
mod updates;

use super::look::{self, StoreSeen};
use super::watch;
use crate::config::{self, Config};
use crate::context::Context;
use crate::failure::message;
use crate::machine::Machine;
use crate::persist::PersistTree;
use crate::record::Record;
use anyhow::Context as _;
use serde::Serialize;
use state_api::RootFacts;
use std::io;
use std::path::PathBuf;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Something is lost, or will be, or the machine will not start.
    Bad,
    /// It should be looked at.
    Warn,
    /// Worth knowing.
    Note,
}

/// Something that was seen, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check that found it.
    pub check: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The bare fact.
    pub fact: String,
    /// The lines of a file it is about, marked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<String>,
    /// The cure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

impl Finding {
    fn new(check: &'static str, severity: Severity, fact: impl Into<String>) -> Self {
        Self {
            check,
            severity,
            fact: fact.into(),
            excerpt: None,
            cure: None,
        }
    }

    fn cure(mut self, cure: impl Into<String>) -> Self {
        self.cure = Some(cure.into());
        self
    }
}

/// What was found, worst first, and which checks found nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The findings.
    pub findings: Vec<Finding>,
    /// The checks that found nothing wrong.
    pub passed: Vec<&'static str>,
    /// The checks that could not be made, or had nothing to look at.
    pub skipped: Vec<&'static str>,
}

impl Report {
    /// Whether something wants attention. Notes alone do not.
    pub fn needs_attention(&self) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.severity != Severity::Note)
    }
}

/// All that the checks are told.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) root_dir: PathBuf,
    pub(super) machine: Machine,
    pub(super) now: chrono::DateTime<chrono::Utc>,
    pub(super) config: Result<Config, config::Error>,
    /// What follows is empty while the configuration is wrong.
    pub(super) store_copy: Option<look::StoreCopy>,
    pub(super) stores: Vec<StoreSeen>,
    pub(super) tree: Option<PersistTree>,
    /// What root's engine tells.
    pub(super) root: Option<anyhow::Result<RootFacts>>,
    /// What `state mount` would find.
    pub(super) entries: Option<Vec<look::Placed>>,
    /// Modes of directories in the stores, by their path on the machine.
    pub(super) modes: Vec<(PathBuf, u32)>,
    /// Things that a machine has and that should be kept.
    pub(super) precious: Vec<PathBuf>,
    pub(super) record: Result<Option<Record>, String>,
    /// How many copied files nobody saves.
    pub(super) unwatched: usize,
    pub(super) lock_holder: Option<u32>,
    /// What upgrades root by itself.
    pub(super) updater: Option<updates::Updater>,
    /// What the next boot starts with; nothing where no root is declared.
    pub(super) initrd: Option<initrd::Boot>,
    /// What the boot loader offers.
    pub(super) menus: io::Result<loader::Menus>,
    /// Which kernels there are, and for which blank has modules; nothing where that cannot be told.
    pub(super) kernels: Option<kernels::Seen>,
    /// What archives need keys for; nothing where none are made.
    pub(super) keys: Option<keys::Keys>,
    /// What a drill would need; nothing where no archives are made.
    pub(super) drill: Option<drill::Drill>,
}

/// A check: its name, and what it finds; `None` when it cannot be made.
type Check = (&'static str, fn(&Facts) -> Option<Vec<Finding>>);

const CHECKS: &[Check] = &[
    ("configuration", configuration::check),
    ("root", root::check),
    ("boot", boot::check),
    ("initrd", initrd::check),
    ("loader", loader::check),
    ("kernels", kernels::check),
    ("clock", boot::clock),
    ("lock", boot::lock),
    ("updates", updates::check),
    ("stores", stores::check),
    ("space", stores::space),
    ("entries", entries::check),
    ("watch", entries::watch),
    ("identity", entries::identity),
    ("keys", keys::check),
    ("drill", drill::check),
];

/// Looks and judges.
///
/// # Errors
/// The machine cannot be looked at. A wrong configuration is a finding.
pub fn run(cx: &Context) -> anyhow::Result<Report> {
    let facts = facts(cx)?;
    Ok(judge(&facts))
}

fn judge(facts: &Facts) -> Report {
    let mut findings = Vec::new();
    let (mut passed, mut skipped) = (Vec::new(), Vec::new());
    for (name, check) in CHECKS {
        match check(facts) {
            None => skipped.push(*name),
            Some(found) if found.is_empty() => passed.push(*name),
            Some(found) => findings.extend(found),
        }
    }
    findings.sort_by_key(|finding| finding.severity);
    Report {
        findings,
        passed,
        skipped,
    }
}

fn facts(cx: &Context) -> anyhow::Result<Facts> {
    let machine = Machine::look(cx).context("looking at the machine")?;
    let config = config::read(cx);
    let settings = config.as_ref().ok().map(|config| &config.settings);
    let stores = settings.map_or_else(Vec::new, |settings| look::stores(cx, &machine, settings));
    let tree = settings.and_then(|settings| look::tree(cx, settings));
    let home = stores
        .iter()
        .find(|store| store.class == crate::settings::Class::Backup)
        .or(stores.first());
    let store_copy = match (&config, home) {
        (Ok(config), Some(home)) if home.exists => Some(look::store_copy(cx, config, &home.path)),
        _ => None,
    };
    let root = settings.and_then(|settings| look::root(cx, settings));
    let entries = match settings {
        Some(settings) => look::entries(cx, settings)?,
        None => None,
    };
    let initrd = settings.and_then(|settings| initrd::look(cx, &machine, settings, tree.as_ref()));
    Ok(Facts {
        root_dir: cx.root_dir.clone(),
        root,
        initrd,
        menus: loader::look(
            cx,
            &machine,
            settings.and_then(|settings| settings.root.as_ref()),
        ),
        kernels: settings.and_then(|settings| kernels::look(cx, &machine, settings)),
        entries,
        modes: entries::modes(cx, tree.as_ref()),
        precious: entries::precious(cx),
        now: cx.now,
        record: look::record(cx).map_err(|error| message(&error)),
        unwatched: tree.as_ref().map_or(0, |tree| watch::unwatched(cx, tree)),
        lock_holder: look::lock_holder(cx),
        updater: updates::look(cx),
        keys: settings.and_then(|settings| keys::look(cx, settings)),
        drill: settings.and_then(|settings| drill::look(cx, settings)),
        machine,
        config,
        store_copy,
        stores,
        tree,
    })
}

#[cfg(test)]
mod tests;
