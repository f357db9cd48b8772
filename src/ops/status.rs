//! `state status`: this boot at a glance. Was root reset, and from what; is the persist tree in
//! place; what was saved last.

use super::look::{self, Space, StoreSeen};
use crate::config;
use crate::context::Context;
use crate::failure::message;
use crate::machine::Machine;
use crate::paths;
use crate::record::{Outcome, Record};
use crate::settings::Class;
use anyhow::Context as _;
use serde::Serialize;
use state_api::RootFacts;
use std::path::PathBuf;

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
    /// The stores.
    pub stores: Vec<Store>,
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
}

impl Report {
    /// Whether something wants attention.
    pub fn needs_attention(&self) -> bool {
        matches!(self.reset, Reset::NotDone { .. })
            || self.stores.iter().any(|store| !store.is_there)
    }
}

/// Looks.
///
/// # Errors
/// There is no configuration, it is wrong, or the machine cannot be looked at.
pub fn run(cx: &Context) -> anyhow::Result<Report> {
    let settings = config::load(cx)?;
    let machine = Machine::look(cx).context("looking at the machine")?;
    let record = look::record(cx);
    let reset = match &settings.root {
        None => Reset::NotDeclared,
        Some(_) if !machine.is_running => Reset::NotRunning,
        Some(_) => reset(&record),
    };
    let (root, root_unseen) = match look::root(cx, &settings) {
        None => (None, None),
        Some(Ok(facts)) => (Some(facts), None),
        Some(Err(error)) => (None, Some(message(&error))),
    };
    let stores = look::stores(cx, &machine, &settings).into_iter().map(store);
    Ok(Report {
        boot_id: cx.boot_id.clone(),
        reset,
        record: record.ok().flatten(),
        root,
        root_unseen,
        stores: stores.collect(),
    })
}

/// What the record of this boot says.
fn reset(record: &anyhow::Result<Option<Record>>) -> Reset {
    let not_done = |why: String, hint: Option<String>| Reset::NotDone { why, hint };
    match record {
        Err(error) => not_done(message(error), None),
        Ok(None) => not_done(
            "no reset ran at this boot".into(),
            Some("`state doctor` looks for the reason".into()),
        ),
        Ok(Some(record)) if record.outcome.is_success() => Reset::Done,
        Ok(Some(record)) => match (&record.failure, record.outcome) {
            (Some(failure), _) => not_done(failure.error.clone(), failure.hint.clone()),
            (None, Outcome::Skipped) => {
                not_done("the kernel command line said state.skip".into(), None)
            }
            (None, _) => not_done("the record does not say why".into(), None),
        },
    }
}

fn store(seen: StoreSeen) -> Store {
    Store {
        path: seen.path,
        class: seen.class,
        is_there: seen.exists && seen.is_apart,
        space: seen.space,
    }
}
