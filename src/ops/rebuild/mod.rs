//! The rest of a restore onto fresh hardware: once the stores are back, the configuration is fitted to
//! the new disk and checked out, the system's own install command is told or run, and the result is
//! looked at.
//!
//! Nothing here undoes a restore: what cannot be done is told with the commands that do it.

mod adapt;
mod checkout;
mod install;

pub use adapt::Adapted;
pub use checkout::Checkout;
pub use install::{Install, demand_installer};

use super::doctor;
use super::init::Todo;
use super::provision;
use crate::archive::machine::Machine;
use crate::config;
use crate::context::Context;
use anyhow::Context as _;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What is asked for.
#[derive(Debug)]
pub struct Options<'a> {
    /// The directory that the new machine is mounted at.
    pub into: &'a Path,
    /// What the archive says of its machine.
    pub archived: &'a Machine,
    /// What was laid out for it, if that was done here.
    pub laid_out: Option<&'a provision::Report>,
    /// Where the configuration is cloned from, instead of where the archive says.
    pub config_from: Option<&'a str>,
    /// Run the system's install command.
    pub run_install: bool,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rebuilt {
    /// The directory that the new machine is mounted at.
    #[serde(serialize_with = "crate::paths::serialize")]
    pub into: PathBuf,
    /// Whether `[root]` was fitted to the new disk.
    pub adapted: Adapted,
    /// The machine's other half.
    pub checkout: Checkout,
    /// How the system is installed.
    pub install: Install,
    /// The lines for fstab(5) of a system that has the file, where a disk was laid out.
    pub fstab: Vec<String>,
    /// The same for crypttab(5).
    pub crypttab: Option<String>,
    /// What is left to a person.
    pub todo: Vec<Todo>,
    /// What `state doctor` says of the result.
    pub doctor: doctor::Report,
}

impl Rebuilt {
    /// Whether something was not done that was to be.
    pub fn is_partial(&self) -> bool {
        self.checkout.is_failure() || self.install.failure.is_some()
    }
}

/// Does it.
///
/// # Errors
/// The configuration cannot be fitted, or the result not looked at. The stores are restored all the
/// same.
pub fn run(cx: &Context, options: &Options<'_>) -> anyhow::Result<Rebuilt> {
    let Options {
        into,
        archived,
        laid_out,
        ..
    } = options;
    if options.run_install {
        demand_installer(archived)?;
    }
    let lock = cx.lock()?;
    let adapted = match laid_out {
        Some(provision::Report {
            root: Some(root),
            configuration,
            ..
        }) => adapt::fit(into, archived, root, configuration)
            .context("fitting the configuration to the new disk")?,
        _ => Adapted::Untouched,
    };
    if let Some(laid_out) = laid_out {
        adapt::leave_lines(laid_out).context("leaving the lines for the new disk")?;
    }
    let checkout = checkout::run(into, archived, options.config_from);
    let mut install = install::plan(into, archived, &checkout);
    if options.run_install {
        install.run(&checkout, cx.interrupt);
    }
    drop(lock);
    let there = Context {
        root_dir: into.to_path_buf(),
        config_file: None,
        now: cx.now,
        boot_id: cx.boot_id.clone(),
        interrupt: cx.interrupt,
        dry_run: true,
    };
    let is_named = config::load(&there).is_ok_and(|settings| settings.machine.name.is_some());
    let doctor = doctor::run(&there).context("looking at the restored machine")?;
    Ok(Rebuilt {
        fstab: laid_out.map_or(Vec::new(), |laid_out| laid_out.fstab.clone()),
        crypttab: laid_out.and_then(|laid_out| laid_out.crypttab.clone()),
        todo: install::todo(archived, &adapted, &install, is_named),
        into: into.to_path_buf(),
        adapted,
        checkout,
        install,
        doctor,
    })
}
