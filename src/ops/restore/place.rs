//! Where a store goes: to its place on this machine, into a directory that is a store, or below one
//! that a new machine is mounted at.

use super::Options;
use crate::context::Context;
use crate::failure::Failure;
use crate::settings::{Root, Settings};
use anyhow::Context as _;
use state_api::Shape;
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

/// Whether `into` is a store of this machine, in its place: those are what boots look after.
pub(super) fn is_declared(cx: &Context, settings: &Settings, into: &Path) -> bool {
    let is_it = |store: &PathBuf| std::path::absolute(cx.rooted(store)).is_ok_and(|at| at == into);
    settings.persist.keys().any(is_it)
}

/// Refuses a store whose exchange would take more along than the store, or that is not there.
pub(super) fn demand_fit(
    cx: &Context,
    settings: &Settings,
    into: &Path,
    shape: &Shape,
) -> anyhow::Result<()> {
    if !is_declared(cx, settings, into) {
        return Ok(());
    }
    let Some(root) = &settings.root else {
        return Ok(());
    };
    let mounts = mountinfo::read().context("reading the mounts")?;
    // A restore that was killed may have left a subvolume unmounted.
    if users::mount_of(into, &mounts).is_some_and(|mount| mount.at == cx.root_dir) {
        let fact = format!("the store {} is not mounted", into.display());
        return Err(Failure::refused(fact)
            .hint("what is there is a directory of the root that is erased: mount the store")
            .into());
    }
    match roots_own(root).filter(|own| *shape == Shape::FilesystemRoot && into.join(own).exists()) {
        None => Ok(()),
        Some(own) => Err(Failure::refused(format!(
            "the store {} is a whole filesystem, and {} in it, which root is made from, would be \
             moved away with what is in the store",
            into.display(),
            own.display()
        ))
        .hint(
            "restore single paths, or keep the store in a directory of its own on that filesystem",
        )
        .into()),
    }
}

/// What of root lies on a filesystem that may be a store's: blank, or the layers.
fn roots_own(root: &Root) -> Option<&Path> {
    match root {
        Root::Overlay { directory, .. } => Some(directory),
        Root::Tmpfs {
            device: Some(_),
            blank,
            ..
        } => Some(blank),
        Root::Tmpfs { .. } | Root::Btrfs { .. } | Root::Zfs { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use state_api::Never;

    fn below(root_dir: &Path) -> Context<'static> {
        Context {
            root_dir: root_dir.into(),
            config_file: None,
            now: chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap(),
            boot_id: String::new(),
            interrupt: &Never,
            dry_run: true,
        }
    }

    #[test]
    fn what_root_is_made_from_is_not_moved_away() {
        let dir = tempfile::tempdir().unwrap();
        let root_dir = dir.path().canonicalize().unwrap();
        let cx = below(&root_dir);
        let persist = "[persist.\"/persist\"]\ndirectories = [\"/var/lib/app\"]\n";
        let settings = |root: &str| format!("{root}{persist}").parse::<Settings>().unwrap();
        let overlay = settings("[root]\nbackend = \"overlay\"\ndevice = \"/dev/sda2\"\n");
        let tmpfs = settings("[root]\nbackend = \"tmpfs\"\ndevice = \"/dev/sda2\"\n");
        let empty = settings("[root]\nbackend = \"tmpfs\"\n");
        let into = root_dir.join("persist");
        let whole = Shape::FilesystemRoot;
        let part = Shape::Directory {
            path: "persist".into(),
        };
        let fits = |settings, shape| demand_fit(&cx, settings, &into, shape).is_ok();
        for own in ["state/layers", "state/blank"] {
            std::fs::create_dir_all(into.join(own)).unwrap();
            let refused = [&overlay, &tmpfs, &empty].map(|root| !fits(root, &whole));
            assert_eq!(
                refused,
                [own == "state/layers", own == "state/blank", false]
            );
            assert!(fits(&overlay, &part) && fits(&tmpfs, &part));
            std::fs::remove_dir(into.join(own)).unwrap();
        }
        let elsewhere = demand_fit(&cx, &tmpfs, Path::new("/elsewhere"), &whole);
        elsewhere.unwrap();
    }

    #[test]
    fn a_store_that_is_not_mounted_is_none() {
        let cx = below(Path::new("/"));
        let text = "[root]\nbackend = \"tmpfs\"\n[persist.\"/no such store\"]\nfiles = [\"/etc/machine-id\"]\n";
        let settings: Settings = text.parse().unwrap();
        let shape = Shape::FilesystemRoot;
        let error = demand_fit(&cx, &settings, Path::new("/no such store"), &shape).unwrap_err();
        assert_eq!(error.to_string(), "the store /no such store is not mounted");
    }
}
