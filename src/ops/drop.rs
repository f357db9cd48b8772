//! `state drop PATH`: takes an entry out of the configuration. What it holds stays in the store,
//! and stays in place until the next boot, unless it is asked for now and nobody uses it.

use super::keep::plan_removal;
use super::mount;
use crate::config;
use crate::context::Context;
use crate::failure::Failure;
use crate::paths::{self, Shown};
use crate::persist::{Entry, Method};
use anyhow::Context as _;
use rustix::io::Errno;
use serde::Serialize;
use state_linux::mount::unmount;
use state_linux::stat::Stat;
use state_linux::users::{self, User};
use std::path::PathBuf;

/// What is to be dropped.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where it is on the machine: absolute and normalised.
    pub path: PathBuf,
    /// Unmount it too, if nobody uses it.
    pub now: bool,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether anything was done, or only planned.
    pub executed: bool,
    /// Where it is on the machine.
    #[serde(serialize_with = "paths::serialize")]
    pub path: PathBuf,
    /// Where it stays in its store, an orphan.
    #[serde(serialize_with = "paths::serialize")]
    pub source: PathBuf,
    /// The file that it is taken out of.
    #[serde(serialize_with = "paths::serialize")]
    pub file: PathBuf,
    /// How it was put in place.
    pub method: Method,
    /// Whether it is out of place already, or would be.
    pub is_out_of_place: bool,
    /// What somebody should know.
    pub notes: Vec<String>,
}

/// Drops it.
///
/// # Errors
/// It is no entry, or the configuration cannot be written; nothing has changed then.
pub fn run(cx: &Context, options: &Options) -> anyhow::Result<Report> {
    let doing = || format!("dropping {}", Shown(&options.path));
    let _lock = (!cx.dry_run).then(|| cx.lock()).transpose()?;
    drop_entry(cx, options).with_context(doing)
}

fn drop_entry(cx: &Context, options: &Options) -> anyhow::Result<Report> {
    let path = &options.path;
    let config = config::read(cx)?;
    let tree = mount::tree(cx, &config.settings)?;
    let Some(entry) = tree.entry(path) else {
        return Err(match tree.around(path) {
            Some(outer) => Failure::refused(format!("it is kept as a part of {outer}"))
                .hint(format!("drop {outer}, or leave it")),
            None => Failure::refused("no entry is declared there")
                .hint("`state status` shows what is kept; `state orphans` what is no longer"),
        }
        .into());
    };
    let declaration = plan_removal(cx, &config, entry)?;
    let mut report = Report {
        executed: !cx.dry_run,
        path: path.clone(),
        source: entry.source(),
        file: declaration.file.clone(),
        method: entry.method,
        is_out_of_place: false,
        notes: Vec::new(),
    };
    let is_mounted = is_mounted(cx, entry);
    match (options.now && entry.method == Method::Bind, cx.dry_run) {
        (true, true) => report.is_out_of_place = is_mounted,
        (_, true) => {}
        (false, false) => declaration.write()?,
        (true, false) => {
            declaration.write()?;
            report.is_out_of_place = is_mounted && take_away(cx, entry, &mut report.notes)?;
        }
    }
    if options.now && entry.method == Method::Symlink {
        let note = "a link goes with the next reset: without it the content would be gone at once";
        report.notes.push(note.into());
    }
    Ok(report)
}

fn is_mounted(cx: &Context, entry: &Entry) -> bool {
    Stat::of(rustix::fs::CWD, cx.rooted(&entry.path)).is_ok_and(|stat| stat.is_mount_point)
}

/// Unmounts it unless it is in use; says whether it did.
fn take_away(cx: &Context, entry: &Entry, notes: &mut Vec<String>) -> anyhow::Result<bool> {
    let at = cx.rooted(&entry.path);
    match unmount(&at) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => {
            // Everything made of the store's copy uses it; what uses this place is meant.
            let users = users::of(&at).unwrap_or_default();
            let users = users.iter().find(|user| match user {
                User::Mount(mounted) => mounted.starts_with(&at),
                User::Process { .. } | User::Swap(_) => true,
            });
            let by = users.map_or_else(String::new, |user| format!(" by {user}"));
            notes.push(format!("it is in use{by}: it stays until the next boot"));
            Ok(false)
        }
        Err(error) => Err(error).with_context(|| format!("unmounting {}", Shown(&entry.path))),
    }
}
