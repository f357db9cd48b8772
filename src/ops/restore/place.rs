//! Where a store goes: to its place on this machine, into a directory that is a store, or below one
//! that a new machine is mounted at.

use super::Options;
use crate::config;
use crate::context::Context;
use crate::failure::Failure;
use crate::settings::{Root, Settings};
use anyhow::Context as _;
use state_api::{Error, Refusal, Result, Shape};
use state_linux::swap::RESERVED;
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
    let at = below(&into, store);
    if !at.is_dir() {
        return Ok(None);
    }
    let mounts = mountinfo::read().context("reading the mounts")?;
    let mount = users::mount_of(&at, &mounts);
    let is_below = mount.is_some_and(|mount| mount.at != into && mount.at.starts_with(&into));
    Ok(is_below.then_some(into))
}

/// Where the archive's store `name` goes.
pub(super) fn of(
    cx: &Context,
    options: &Options,
    settings: &Settings,
    name: &Path,
) -> anyhow::Result<PathBuf> {
    let at = match (&options.into, machine_root(options, name)?) {
        (_, Some(root)) => below(&root, name),
        (Some(into), None) => {
            let into = std::path::absolute(into).context("resolving the directory")?;
            refuse_system(&into, name)?;
            into
        }
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

/// Where a store is below the directory that its machine is mounted at.
pub(super) fn below(root: &Path, store: &Path) -> PathBuf {
    root.join(store.strip_prefix("/").unwrap_or(store))
}

/// Refuses a directory that a system is in, and one of such a system where the store should be mounted
/// and is not: as a store it would have its content moved away.
fn refuse_system(into: &Path, store: &Path) -> anyhow::Result<()> {
    let mounts = mountinfo::read().context("reading the mounts")?;
    let around = users::mount_of(into, &mounts).map(|mount| mount.at.as_path());
    let at = below(into, store);
    let (fact, at) = match around {
        Some(root) if below(root, store) == into && holds_system(root) => {
            (format!("nothing is mounted at {}", into.display()), into)
        }
        _ if at.is_dir() => (format!("nothing is mounted at {}", at.display()), &*at),
        _ if holds_system(into) => {
            let fact = format!("{} holds a system, and is no store", into.display());
            (fact, &*at)
        }
        _ => return Ok(()),
    };
    let cure = format!(
        "mount the store {} at {} first: what is there without it is a part of root",
        store.display(),
        at.display()
    );
    Err(Failure::refused(fact).hint(cure).into())
}

/// Whether it looks like the root of a system, and not like a store that has been used.
fn holds_system(dir: &Path) -> bool {
    let has = |name: &str| dir.join(name).symlink_metadata().is_ok();
    ["usr/bin", "usr/lib", "etc/os-release"]
        .iter()
        .any(|name| has(name))
        && !has(RESERVED)
}

/// Whether `into` is a store of this machine, in its place: those are what boots look after.
pub(super) fn is_declared(cx: &Context, settings: &Settings, into: &Path) -> bool {
    let is_it = |store: &PathBuf| std::path::absolute(cx.rooted(store)).is_ok_and(|at| at == into);
    settings.persist.keys().any(is_it)
}

/// Refuses a store of this machine that is not there: a restore that was killed may have left a
/// subvolume unmounted.
pub(super) fn demand_mounted(cx: &Context, settings: &Settings, into: &Path) -> Result<()> {
    if settings.root.is_none() || !is_declared(cx, settings, into) {
        return Ok(());
    }
    let mounts = mountinfo::read().map_err(|e| Error::os("reading the mounts", e))?;
    if users::mount_of(into, &mounts).is_some_and(|mount| mount.at == cx.root_dir) {
        return Err(Refusal::Unsafe {
            fact: format!("the store {} is not mounted", into.display()),
            cure: "what is there is a directory of the root that is erased: mount the store".into(),
        }
        .into());
    }
    Ok(())
}

/// Refuses a store whose exchange would take more along than the store, or that is not there.
pub(in crate::ops) fn demand_fit(
    cx: &Context,
    settings: &Settings,
    into: &Path,
    shape: &Shape,
) -> Result<()> {
    demand_mounted(cx, settings, into)?;
    // A machine that does not run has its configuration in its store.
    let of_store = match is_declared(cx, settings, into) {
        true => None,
        false => stored(into),
    };
    let settings = of_store.as_ref().unwrap_or(settings);
    let own = settings.root.as_ref().and_then(roots_own).filter(|own| {
        *shape == Shape::FilesystemRoot && !own.starts_with(RESERVED) && into.join(own).exists()
    });
    match own {
        None => Ok(()),
        Some(own) => Err(Refusal::Unsafe {
            fact: format!(
                "the store {} is a whole filesystem, and {} in it, which root is made from, would be \
                 moved away with what is in the store",
                into.display(),
                own.display()
            ),
            cure: "restore single paths, or keep the store in a directory of its own on that filesystem"
                .into(),
        }
        .into()),
    }
}

/// The configuration in a store, if one is there that can be read.
fn stored(store: &Path) -> Option<Settings> {
    let file = store.join("etc/state/state.toml");
    // A link, as NixOS makes it, leads into the system that runs here.
    let is_file = file.symlink_metadata().is_ok_and(|found| found.is_file());
    let text = is_file.then(|| std::fs::read_to_string(&file).ok())??;
    config::parse_text(&file, &text).ok()
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

    #[test]
    fn what_root_is_made_from_is_not_moved_away() {
        let dir = tempfile::tempdir().unwrap();
        let root_dir = dir.path().canonicalize().unwrap();
        let cx = Context::below(&root_dir);
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
    fn what_another_machines_root_is_made_from_stays_too() {
        let dir = tempfile::tempdir().unwrap();
        let cx = Context::below(dir.path().join("live medium"));
        let live = Settings::default();
        let into = dir.path().join("mnt");
        std::fs::create_dir_all(into.join("etc/state")).unwrap();
        for (layers, fits) in [("state/layers", false), (".state/layers", true)] {
            std::fs::create_dir_all(into.join(layers)).unwrap();
            let text = format!(
                "version = 1\n[root]\nbackend = \"overlay\"\ndevice = \"/dev/sda2\"\n\
                 directory = \"{layers}\"\n[persist.\"/persist\"]\nfiles = [\"/etc/machine-id\"]\n"
            );
            std::fs::write(into.join("etc/state/state.toml"), text).unwrap();
            let fit = demand_fit(&cx, &live, &into, &Shape::FilesystemRoot);
            assert_eq!(fit.is_ok(), fits, "{layers}: {fit:?}");
        }
    }

    #[test]
    fn a_system_without_its_store_is_no_store() {
        let dir = tempfile::tempdir().unwrap();
        let mnt = dir.path().canonicalize().unwrap();
        let cx = Context::below(Path::new("/"));
        let place = |into: &Path| {
            let options = Options {
                into: Some(into.to_owned()),
                ..Options::default()
            };
            let at = of(&cx, &options, &Settings::default(), Path::new("/persist"));
            at.map_err(|error| error.to_string().replace(&*mnt.to_string_lossy(), "MNT"))
        };
        // Any directory can become a store.
        assert_eq!(place(&mnt), Ok(mnt.clone()));
        std::fs::create_dir_all(mnt.join("usr/bin")).unwrap();
        let system = Err("MNT holds a system, and is no store".to_owned());
        assert_eq!(place(&mnt), system);
        std::fs::create_dir(mnt.join("persist")).unwrap();
        let unmounted = Err("nothing is mounted at MNT/persist".to_owned());
        assert_eq!(place(&mnt), unmounted);
        std::fs::remove_dir(mnt.join("persist")).unwrap();
        // A store that keeps such things has been used as one.
        std::fs::create_dir(mnt.join(".state")).unwrap();
        assert_eq!(place(&mnt), Ok(mnt.clone()));
    }

    #[test]
    fn a_store_that_is_not_mounted_is_none() {
        let cx = Context::below(Path::new("/"));
        let text = "[root]\nbackend = \"tmpfs\"\n[persist.\"/no such store\"]\nfiles = [\"/etc/machine-id\"]\n";
        let settings: Settings = text.parse().unwrap();
        let shape = Shape::FilesystemRoot;
        let error = demand_fit(&cx, &settings, Path::new("/no such store"), &shape).unwrap_err();
        assert_eq!(error.to_string(), "the store /no such store is not mounted");
    }
}
