//! `state status`: this boot at a glance. Was root reset, and from what; is the persist tree in
//! place; what was saved last.

mod boots;
mod proven;
mod running;
mod swapped;

pub use boots::{Boot, Boots, Glance};
pub use proven::Proven;
pub use swapped::Swapped;

use super::look::{self, Place, Placed, Space, StoreSeen};
use super::watch;
use crate::context::Context;
use crate::failure::message;
use crate::machine::Machine;
use crate::paths;
use crate::record::Record;
use crate::settings::{Class, Settings};
use crate::target;
use crate::{config, engine};
use anyhow::Context as _;
use chrono::{DateTime, Utc};
use serde::Serialize;
use state_api::RootFacts;
use std::path::{Path, PathBuf};

/// This boot at a glance.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The boot's id.
    pub boot_id: String,
    /// Whether root was reset at this boot.
    pub reset: Reset,
    /// What the reset of this boot recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<Record>,
    /// Root's volume, its blank and past roots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<RootFacts>,
    /// Why root's volume could not be looked at; ordinary users cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_unseen: Option<String>,
    /// The entries, where they could be looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entries: Option<Vec<Placed>>,
    /// How many copied files nobody saves when they change.
    pub unwatched: usize,
    /// The stores.
    pub stores: Vec<Store>,
    /// The targets.
    pub targets: Vec<Target>,
    /// What came of the last boots, where it is remembered and can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boots: Option<Glance>,
    /// Why this boot is not remembered, where it was to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_remembered: Option<String>,
    /// Whether a restore is proven to work; nothing where nobody asks for it and none was tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drill: Option<Proven>,
}

/// Whether root was reset at this boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Reset {
    /// It was, or came fresh by itself.
    Done,
    /// It was not.
    NotDone {
        /// Why.
        why: String,
        /// The cure.
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
    /// No root is declared.
    NotDeclared,
    /// This is not the machine that runs.
    NotRunning,
}

/// A store at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Store {
    /// Where it is.
    #[serde(serialize_with = "paths::serialize")]
    pub path: PathBuf,
    /// What becomes of its content.
    pub class: Class,
    /// Whether it is there, on a volume that no reset touches.
    pub is_there: bool,
    /// Its space.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub space: Option<Space>,
    /// Its newest snapshot, where it has snapshots.
    pub snapshots: Last,
    /// A tree that waits to take its place, or took it at this boot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<Swapped>,
}

/// A target at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// The newest complete archive of this machine there.
    pub archives: Last,
}

/// The newest of some things.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "last")]
pub enum Last {
    /// This one.
    Is {
        /// Its name or id.
        name: String,
        /// When it was made, as far as that is known.
        at: Option<DateTime<Utc>>,
    },
    /// There is none yet.
    None,
    /// There can be none here.
    Never,
    /// It could not be looked at.
    Unseen {
        /// Why.
        why: String,
    },
}

impl Report {
    /// Whether something wants attention.
    pub fn needs_attention(&self) -> bool {
        matches!(self.reset, Reset::NotDone { .. })
            || self.not_remembered.is_some()
            || self.unwatched > 0
            || (self.stores.iter()).any(|store| {
                !store.is_there || store.swap.as_ref().is_some_and(Swapped::needs_attention)
            })
            || self.out_of_place().next().is_some()
            || self.drill.as_ref().is_some_and(Proven::needs_attention)
    }

    /// The entries that should be in place and are not.
    pub fn out_of_place(&self) -> impl Iterator<Item = &Placed> {
        let entries = self.entries.iter().flatten();
        entries.filter(|entry| matches!(entry.place, Place::NotYet | Place::Stuck { .. }))
    }
}

/// Looks, and remembers what came of this boot in a store where that is wanted.
///
/// # Errors
/// There is no configuration, it is wrong, or the machine cannot be looked at.
pub fn run(cx: &Context, remember: bool) -> anyhow::Result<Report> {
    let settings = config::load(cx)?;
    let machine = Machine::look(cx).context("looking at the machine")?;
    let record = look::record(cx);
    let (root, root_unseen) = match look::root(cx, &settings) {
        None => (None, None),
        Some(Ok(facts)) => (Some(facts), None),
        Some(Err(error)) => (None, Some(message(&error))),
    };
    let reset = match &settings.root {
        None => Reset::NotDeclared,
        Some(_) if !machine.is_running => Reset::NotRunning,
        Some(declared) => match (recorded(&record), &root) {
            (Reset::Done, Some(facts)) if cx.root_dir == Path::new("/") && !cx.is_initrd() => {
                running::judge(declared, facts, machine.root())
            }
            (recorded, _) => recorded,
        },
    };
    let entries = look::entries(cx, &settings).context("looking at the entries")?;
    let stores: Vec<Store> = (look::stores(cx, &machine, &settings).into_iter())
        .map(|seen| store(cx, seen))
        .collect();
    let record = record.ok().flatten();
    let (boots, not_remembered) = last_boots(cx, &settings, &stores, {
        let this = || Boot::this(cx, &reset, record.as_ref());
        remember.then(this).flatten()
    });
    let targets = target::configured(&settings).map(|name| Target {
        name: name.to_owned(),
        archives: match look::last_archive(cx, &settings, &machine, name) {
            Ok(Some((id, at))) => Last::Is {
                name: id,
                at: Some(at),
            },
            Ok(None) => Last::None,
            Err(error) => unseen(error),
        },
    });
    Ok(Report {
        boot_id: cx.boot_id.clone(),
        reset,
        record,
        root,
        root_unseen,
        entries,
        unwatched: look::tree(cx, &settings).map_or(0, |tree| watch::unwatched(cx, &tree)),
        stores,
        targets: targets.collect(),
        boots,
        not_remembered,
        drill: proven::look(cx, &settings),
    })
}

/// What came of the last boots, this one remembered where it is given; and why it could not be. In a
/// store that is not mounted nothing is read or written.
fn last_boots(
    cx: &Context,
    settings: &Settings,
    stores: &[Store],
    this: Option<Boot>,
) -> (Option<Glance>, Option<String>) {
    let home = engine::home(&settings.persist);
    let is_there = |store: &Store| store.is_there && Some(store.path.as_path()) == home;
    if !stores.iter().any(is_there) {
        return (None, None);
    }
    match this.map(|this| Boots::remember(cx, settings, this)) {
        Some(Err(error)) => (None, Some(message(&error.into()))),
        Some(Ok(boots)) => (Some(boots.glance()), None),
        // It is for root alone.
        None => (
            Boots::read(cx, settings).ok().map(|boots| boots.glance()),
            None,
        ),
    }
}

/// What the record of this boot says.
fn recorded(record: &anyhow::Result<Option<Record>>) -> Reset {
    let not_done = |why: String, hint: Option<String>| Reset::NotDone { why, hint };
    match record {
        Err(error) => not_done(message(error), None),
        Ok(None) => not_done(
            "no reset ran at this boot".into(),
            Some("`state doctor` looks for the reason".into()),
        ),
        Ok(Some(record)) if record.outcome.is_success() => Reset::Done,
        Ok(Some(record)) => {
            let (why, hint) = record.why_not();
            not_done(why, hint)
        }
    }
}

fn unseen(error: impl Into<anyhow::Error>) -> Last {
    Last::Unseen {
        why: message(&error.into()),
    }
}

fn store(cx: &Context, seen: StoreSeen) -> Store {
    let is_there = seen.exists && seen.is_apart;
    let snapshots = if !is_there {
        Last::Never
    } else {
        match look::last_snapshot(cx, &seen.path) {
            Ok(None) => Last::Never,
            Ok(Some(None)) => Last::None,
            Ok(Some(Some(snapshot))) => Last::Is {
                name: snapshot.name.to_string(),
                at: snapshot.taken_at,
            },
            Err(error) => unseen(error),
        }
    };
    Store {
        swap: is_there.then(|| swapped::look(cx, &seen.path)).flatten(),
        path: seen.path,
        class: seen.class,
        is_there,
        space: seen.space,
        snapshots,
    }
}
