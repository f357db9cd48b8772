//! Where a store goes: to its place on this machine, into a directory that is a store, or below one
//! that a new machine is mounted at.

use super::Options;
use crate::context::Context;
use crate::failure::Failure;
use crate::settings::Settings;
use anyhow::Context as _;
use state_linux::{mountinfo, users};
use std::path::{Path, PathBuf};

/// The directory that a new machine is mounted at, if `--into` is such: the place of a store in it
/// lies in a volume that is mounted below.
pub(super) fn machine_root(options: &Options, store: &Path) -> anyhow::Result<Option<PathBuf>> {
    let Some(into) = &options.into else {
        return Ok(None);
    };
    let into = std::path::absolute(into).context("resolving the directory")?;
    let Ok(into) = into.canonicalize() else {
        return Ok(None); // what is not there is told of where it is used
    };
    let at = into.join(store.strip_prefix("/").unwrap_or(store));
    let mounts = mountinfo::read().context("reading the mounts")?;
    let mount = users::mount_of(&at, &mounts);
    let is_below = mount.is_some_and(|mount| mount.at != into && mount.at.starts_with(&into));
    Ok((at.is_dir() && is_below).then_some(into))
}

/// Where the archive's store `name` goes.
pub(super) fn of(
    cx: &Context,
    options: &Options,
    settings: &Settings,
    name: &Path,
) -> anyhow::Result<PathBuf> {
    let at = match (&options.into, machine_root(options, name)?) {
        (_, Some(root)) => root.join(name.strip_prefix("/").unwrap_or(name)),
        (Some(into), None) => into.clone(),
        (None, None) if settings.persist.contains_key(name) => cx.rooted(name),
        (None, None) => {
            let shown = name.display();
            return Err(
                Failure::refused(format!("no store {shown} is declared here"))
                    .hint("say where it goes: --into DIR")
                    .into(),
            );
        }
    };
    std::path::absolute(at).context("resolving the directory")
}
