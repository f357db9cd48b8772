//! What `state restore` does besides, when the stores of a whole machine are back.

use crate::cli::Globals;
use crate::failure::Failure;
use crate::ops::provision;
use crate::ops::rebuild::{self, Rebuilt};
use crate::ops::restore::Report;

/// What is to be done when the stores are back.
pub(super) struct Rest {
    pub(super) config_from: Option<String>,
    pub(super) run_install: bool,
}

impl Rest {
    /// Refuses what could not be done at the end, before anything is changed.
    pub(super) fn demand(&self, plan: &Report) -> anyhow::Result<()> {
        let asked = match (self.run_install, &self.config_from) {
            (true, _) => "--run-install",
            (false, Some(_)) => "--config-from",
            (false, None) => return Ok(()),
        };
        let (Some(_), Some(archived)) = (&plan.machine_root, &plan.archived) else {
            return Err(Failure::usage(format!(
                "{asked} is for a whole machine, and this is a restore into {}",
                plan.stores.first().map_or("a store".into(), |store| store.into.display().to_string())
            ))
            .hint("--provision lays a disk out for one, or --into names the directory that one is mounted at")
            .into());
        };
        match self.run_install {
            true => rebuild::demand_installer(archived),
            false => Ok(()),
        }
    }

    /// What else is done, at the end of a question.
    pub(super) fn then(&self) -> &'static str {
        match self.run_install {
            true => ", then install its system with nixos-install",
            false => "",
        }
    }

    /// Does it, where a whole machine was restored.
    pub(super) fn run(
        &self,
        globals: &Globals,
        restored: &Report,
        laid_out: Option<&provision::Report>,
    ) -> anyhow::Result<Option<Rebuilt>> {
        let (Some(into), Some(archived)) = (&restored.machine_root, &restored.archived) else {
            return Ok(None);
        };
        let options = rebuild::Options {
            into,
            archived,
            laid_out,
            config_from: self.config_from.as_deref(),
            run_install: self.run_install,
        };
        rebuild::run(&globals.context(false)?, &options).map(Some)
    }
}
