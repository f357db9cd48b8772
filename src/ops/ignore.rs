//! Adding to what `state diff` ignores.

use super::keep::plan_ignoring;
use crate::config;
use crate::context::Context;
use crate::paths;
use serde::Serialize;
use std::path::PathBuf;

/// What was added.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Whether it was carried out (false: a dry run).
    pub executed: bool,
    /// The paths that are ignored from now on, with everything below them.
    #[serde(serialize_with = "paths::serialize_all")]
    pub paths: Vec<PathBuf>,
    /// The file that says so.
    #[serde(serialize_with = "paths::serialize")]
    pub file: PathBuf,
}

/// Ignores these paths, absolute ones on the machine, and everything below them.
///
/// # Errors
/// A path cannot be written as a glob in TOML, or the configuration not be written.
pub fn run(cx: &Context, paths: &[PathBuf]) -> anyhow::Result<Report> {
    let _lock = (!cx.dry_run).then(|| cx.lock()).transpose()?;
    let declaration = plan_ignoring(cx, &config::read(cx)?, paths)?;
    if !cx.dry_run {
        declaration.write()?;
    }
    Ok(Report {
        executed: !cx.dry_run,
        paths: paths.to_vec(),
        file: declaration.file,
    })
}
