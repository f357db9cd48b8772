//! Copied entries (`/etc/passwd`) while a command runs in a draft: there are three of each then, the
//! machine's, the store's and the draft's. The draft begins with the store's. What the command made
//! of it is saved, unless somebody changed the machine's meanwhile: of two that changed, one would
//! be lost.

use crate::context::Context;
use crate::failure::{Class, Failure};
use crate::ops::mount::{self, Options, Report, Status, Which};
use crate::persist::{Blank, PersistTree, Step};
use crate::settings::Settings;
use anyhow::Context as _;
use std::path::{Path, PathBuf};

/// A machine and what is declared of it.
#[derive(Clone, Copy)]
pub(super) struct Machine<'a> {
    pub(super) cx: &'a Context<'a>,
    pub(super) settings: &'a Settings,
    pub(super) tree: &'a PersistTree,
    pub(super) blank: &'a Blank<'a>,
}

impl Machine<'_> {
    fn place(self, which: Which<'_>) -> anyhow::Result<Report> {
        let options = (Options { which }, Default::default());
        let placed = mount::place_all(self.cx, self.settings, self.tree, self.blank, options);
        placed.context("looking at the copied entries")
    }

    /// Saves what has changed and was not saved yet.
    ///
    /// # Errors
    /// Something cannot be saved.
    pub(super) fn save(self) -> anyhow::Result<Vec<PathBuf>> {
        let report = self.place(Which::Copied)?;
        failed(&report)?;
        let is_saved = |step: &Step| matches!(step, Step::Save { .. });
        let saved = report.entries.iter().filter(|entry| match &entry.status {
            Status::Done { steps } | Status::Planned { steps } => steps.iter().any(is_saved),
            _ => false,
        });
        Ok(saved.map(|entry| entry.path.clone()).collect())
    }

    /// What would be saved.
    fn unsaved(self) -> anyhow::Result<Vec<PathBuf>> {
        let cx = self.cx.planning();
        Machine { cx: &cx, ..self }.save()
    }

    /// Puts the store's file in place.
    fn renew(self, path: &Path) -> anyhow::Result<()> {
        failed(&self.place(Which::One(path))?)
    }
}

fn failed(report: &Report) -> anyhow::Result<()> {
    for entry in &report.entries {
        if let Status::Failed { error, hint } = &entry.status {
            let fact = format!("{}: {error}", entry.path.display());
            let cure = hint.clone();
            return Err(Failure {
                cure,
                ..Failure::refused(fact)
            }
            .into());
        }
    }
    match &report.trouble {
        Some(trouble) => Err(anyhow::anyhow!("{trouble}")),
        None => Ok(()),
    }
}

/// Saves what the command changed in the draft, and says what that is.
///
/// # Errors
/// Somebody changed the same meanwhile.
pub(super) fn hand_over(
    draft: Machine<'_>,
    machine: Option<Machine<'_>>,
) -> anyhow::Result<Vec<PathBuf>> {
    let changed = draft.unsaved()?;
    let meanwhile = match machine {
        Some(machine) => machine.unsaved()?,
        None => Vec::new(),
    };
    if let Some(path) = changed.iter().find(|path| meanwhile.contains(path)) {
        let fact = format!("{} was changed on the machine meanwhile", path.display());
        return Err(Failure::refused(fact)
            .hint("run the command again: it begins with what the machine has now")
            .into());
    }
    draft.save()
}

/// Gives the running machine what was saved: it would hand out the same numbers again.
///
/// # Errors
/// Something cannot be put in place; the next boot has it.
pub(super) fn follow(machine: Machine<'_>, saved: &[PathBuf]) -> anyhow::Result<()> {
    for path in saved {
        machine.renew(path).map_err(|error| {
            let failure = Failure::new(
                Class::Partial,
                format!(
                    "blank was renewed, but {} was not put in place",
                    path.display()
                ),
            );
            error.context(failure.hint("`state mount` puts it in place; so does the next boot"))
        })?;
    }
    Ok(())
}
