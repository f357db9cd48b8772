//! `state archives show`: one archive in full.

use super::{Listed, Which, find, settings};
use crate::archive::machine;
use crate::archive::read::Archive;
use crate::context::Context;
use crate::ops::backup::Shortcoming;
use serde::Serialize;
use state_linux::confine::confined;

/// One archive in full.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Show {
    /// Its label.
    pub archive: Listed,
    /// What machine and moment it is of.
    pub machine: machine::Machine,
    /// What should be in it and could not be had.
    pub incomplete: Vec<Shortcoming>,
    /// What was left out on purpose.
    pub left_out: Vec<Shortcoming>,
}

/// Shows one archive.
///
/// # Errors
/// There is none of that name, or it is damaged.
pub fn show(cx: &Context, which: &Which, id: &str) -> anyhow::Result<Show> {
    let settings = settings(cx, which)?;
    let found = find(cx, &settings, which, id)?;
    let signature = found.signature(cx, &settings, which)?;
    signature.check(found.label.id.as_str())?;
    let source = found.data()?;
    let archive = confined(None, |_| Archive::open(source.as_ref(), &found.label))?;
    let index = archive.index();
    Ok(Show {
        archive: Listed::of(&found.name, &found.catalog, &found.label, signature),
        machine: archive.machine().clone(),
        incomplete: index.incomplete.iter().map(Into::into).collect(),
        left_out: index.left_out.iter().map(Into::into).collect(),
    })
}
