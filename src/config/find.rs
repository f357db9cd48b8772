//! Where the configuration is: its file, the copy in a store, and what is merged with it.

use super::Error;
use crate::context::Context;
use crate::machine::{self, STORES};
use crate::paths::{self, Shown};
use crate::persist::CONFIGURATION;
use crate::settings::node::Table;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The directory, beside it, of the files that are merged with it.
pub const DROP_INS: &str = "state.d";

/// The configuration's file.
pub(super) fn file(cx: &Context) -> Result<PathBuf, Error> {
    if let Some(file) = &cx.config_file {
        return Ok(file.clone());
    }
    let usual = cx.rooted(CONFIGURATION);
    if exists(&usual)? {
        return Ok(usual);
    }
    let copies = candidates(cx)?;
    match copies.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(Error::one(
            format!(
                "{} does not exist, and no mounted store has a copy",
                Shown(&usual)
            ),
            Some(
                "`state init` looks at this machine and writes one; `--config FILE` names another",
            ),
        )),
        several => {
            let names: Vec<String> = several.iter().map(|file| Shown(file).to_string()).collect();
            Err(Error::one(
                format!(
                    "{} does not exist, and several stores have a copy: {}",
                    Shown(&usual),
                    names.join(", ")
                ),
                Some("say which with `--config FILE`"),
            ))
        }
    }
}

/// The copies of the configuration in mounted filesystems.
///
/// # Errors
/// The list of mounts cannot be read.
pub fn candidates(cx: &Context) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let mounts = machine::mounts(cx)
        .map_err(|error| Error::one(format!("reading the mounts: {error}"), None))?;
    for mount in mounts {
        // The others are not looked into: a network that is down would hang the boot. A store may
        // be a tmpfs in tests and live media.
        let is_store = STORES
            .iter()
            .chain(&["tmpfs"])
            .any(|name| mount.filesystem == *name);
        // A stick that somebody plugs in does not configure the machine, nor does a file that an
        // ordinary user could have put there.
        let comes_and_goes = ["/media", "/run", "/tmp"]
            .iter()
            .any(|dir| mount.at.starts_with(dir));
        if !is_store || comes_and_goes || mount.at == Path::new("/") {
            continue;
        }
        let us = rustix::process::geteuid().as_raw();
        // A store is a mount, or the directory `persist` of one: /nix/persist.
        for store in [mount.at.clone(), mount.at.join("persist")] {
            let file = store_copy(cx, &store);
            // One filesystem may be mounted in many places.
            if let Ok(metadata) = fs::metadata(&file)
                && metadata.is_file()
                && [0, us].contains(&metadata.uid())
                && seen.insert((metadata.dev(), metadata.ino()))
            {
                found.push(file);
            }
        }
    }
    Ok(found)
}

/// Where a store's copy of the configuration is.
pub fn store_copy(cx: &Context, store: &Path) -> PathBuf {
    cx.rooted(store).join(CONFIGURATION.trim_start_matches('/'))
}

fn exists(file: &Path) -> Result<bool, Error> {
    match fs::metadata(file) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::one(
            format!("reading {}: {error}", Shown(file)),
            None,
        )),
    }
}

/// The stores that a file names, whatever else may be wrong with it.
pub(super) fn stores(table: &Table) -> Vec<PathBuf> {
    use crate::settings::node::Value;
    let Some(Value::Table(stores)) = table.get("persist").map(|pair| &pair.node.value) else {
        return Vec::new();
    };
    let stores = stores
        .keys()
        .filter_map(|store| paths::normal(Path::new(store)).ok());
    stores.collect()
}

/// Where files to merge are looked for, whether there is such a directory or not.
pub fn drop_in_dirs<'a>(
    cx: &Context,
    file: &Path,
    stores: impl Iterator<Item = &'a Path>,
) -> Vec<PathBuf> {
    let beside = |file: &Path| file.parent().map(|dir| dir.join(DROP_INS));
    let copies = stores.filter_map(|store| beside(&store_copy(cx, store)));
    beside(file).into_iter().chain(copies).collect()
}

/// The files to merge: `state.d/*.toml` beside the configuration and beside its copy in each
/// store (on NixOS the configuration is a link into a read-only place with nothing beside it),
/// by name within a directory.
pub(super) fn drop_ins(
    cx: &Context,
    file: &Path,
    stores: &[PathBuf],
) -> Result<Vec<PathBuf>, Error> {
    let mut seen = BTreeSet::new();
    let mut files = Vec::new();
    for dir in drop_in_dirs(cx, file, stores.iter().map(PathBuf::as_path)) {
        let wrong =
            |error: &io::Error| Error::one(format!("reading {}: {error}", Shown(&dir)), None);
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                continue;
            }
            Err(error) => return Err(wrong(&error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| wrong(&error))?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "toml")
            {
                names.push(path);
            }
        }
        names.sort();
        for path in names {
            // The same file seen through a bind mount or a link is merged once.
            let metadata = fs::metadata(&path)
                .map_err(|error| Error::one(format!("reading {}: {error}", Shown(&path)), None))?;
            if seen.insert((metadata.dev(), metadata.ino())) {
                files.push(path);
            }
        }
    }
    Ok(files)
}
