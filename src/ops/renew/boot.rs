//! `/boot`: what starts next has to fit the blank that it starts.
//!
//! As a filesystem of its own it is outside blank, and whatever is newest in it starts. Inside root,
//! a boot loader reads the root that the last run left, before the reset: so that root gets the new
//! blank's.

use crate::anchor::{Anchor, Found};
use crate::boot::initrd::find::{self, DIRS};
use crate::bring::{self, Expects};
use crate::context::Context;
use crate::failure::{Class, Failure};
use crate::machine::Machine;
use crate::paths::Shown;
use crate::{diff, kernels, view};
use anyhow::Context as _;
use rustix::fs::{AtFlags, fsync, unlinkat};
use state_api::{Never, View};
use state_linux::stat::{Kind, Stat};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

/// Whether some of what boot loaders read is outside root, and so outside blank.
pub(super) fn is_apart(machine: &Machine) -> bool {
    DIRS.iter()
        .any(|dir| find::is_apart(machine, Path::new(dir)))
}

/// A kernel that starts, and what the root that it starts has modules for: not for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stranger {
    /// The kernel's version.
    pub(super) kernel: String,
    /// The versions that the root has modules for.
    pub(super) modules: Vec<String>,
}

/// The kernel that starts next (the one `told`, or the newest) if blank is `root`, which has no
/// modules for it. What is outside root is found `here`.
///
/// # Errors
/// They cannot be looked at; there is none of that version.
pub(super) fn stranger(
    machine: &Machine,
    here: &Anchor,
    root: &Anchor,
    told: Option<&str>,
) -> anyhow::Result<Option<Stranger>> {
    let dirs = DIRS.map(|dir| match find::is_apart(machine, Path::new(dir)) {
        true => (here, Path::new(dir)),
        false => (root, Path::new(dir)),
    });
    let look = || io::Result::Ok((kernels::in_boot(dirs)?, kernels::modules(root)?));
    let (mut found, modules) = look().context("looking for kernels")?;
    if let Some(told) = told {
        if !found.iter().any(|version| version == told) {
            let fact = format!("there is no kernel {told} in /boot");
            return Err(Failure::usage(fact)
                .hint(format!("the kernels there are {}", found.join(", ")))
                .into());
        }
        found = vec![told.to_owned()];
    }
    Ok(kernels::stranger(&found, &modules).map(|kernel| Stranger { kernel, modules }))
}

/// Gives the root that is below the root directory the `/boot` of `blank`, where that is a part of
/// root. What is mounted there, and directories that blank has not, stay.
///
/// # Errors
/// A file cannot be copied; those before it were.
pub(super) fn follow(cx: &Context, machine: &Machine, blank: &View) -> anyhow::Result<usize> {
    if find::is_apart(machine, Path::new("/boot")) {
        return Ok(0);
    }
    let root = Anchor::open(&cx.root_dir).context("opening root")?;
    let Some(live) = kernels::boot_of(&root).context("opening /boot")? else {
        return Ok(0);
    };
    let wanted = match view::subtree(blank, Path::new("boot")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        wanted => wanted.context("opening blank's /boot")?,
    };
    let opened = |path: &str| live.directory(Path::new(path)).context("opening /boot");
    let live = opened("")?;
    let found = diff::compare(
        Some(&View::live(opened("")?.into())),
        &wanted,
        &|_| false,
        &Never,
    )?;
    let first = |path: &Path| path.iter().next().map(OsString::from);
    let names: BTreeSet<OsString> = found
        .changes
        .iter()
        .filter_map(|c| first(&c.path))
        .collect();
    let mut acts = Vec::new();
    for name in names {
        let look = || -> io::Result<_> {
            let is = found_at(live.find(Path::new(&name))?);
            let wanted = found_at(view::find(blank, &Path::new("boot").join(&name))?);
            Ok(Act::of(is, wanted))
        };
        let act = look().with_context(|| format!("looking at /boot/{}", name.display()))?;
        acts.extend(act.map(|act| (act, name)));
    }
    // A menu never names a kernel that is not there.
    acts.sort();
    let expects = Expects {
        is_whole: &|_, _| Ok(true),
        is_replaceable: &|stat| !stat.is_mount_point,
    };
    for (act, name) in &acts {
        let path = Path::new("boot").join(name);
        let doing = || format!("renewing /{}", Shown(&path));
        match act {
            Act::PutFile | Act::PutDirectory => {
                let to = (&live, name.as_os_str());
                bring::replace(blank, &path, to, &expects, &Never).with_context(doing)?;
            }
            Act::Remove => {
                unlinkat(&live, name.as_os_str(), AtFlags::empty()).with_context(doing)?
            }
        }
    }
    fsync(live.as_fd()).context("syncing /boot")?;
    Ok(acts.len())
}

/// What is said when blank was exchanged and `/boot` was not.
pub(super) fn unfollowed(error: anyhow::Error) -> anyhow::Error {
    let fact = "the blank is another one now, but what starts next has not its /boot";
    let cure = "copy blank's /boot to this root's by hand before the next boot, or restart twice";
    error.context(Failure::new(Class::Partial, fact).hint(cure))
}

/// What becomes of one name in `/boot`, in the order in which it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    /// A kernel, an initrd.
    PutFile,
    /// What names them.
    PutDirectory,
    /// A file that blank does not have.
    Remove,
}

impl Act {
    fn of(is: Option<Stat>, wanted: Option<Stat>) -> Option<Self> {
        match (is, wanted) {
            (Some(is), _) if is.is_mount_point => None,
            (_, Some(wanted)) if wanted.kind == Kind::Directory => Some(Self::PutDirectory),
            (_, Some(_)) => Some(Self::PutFile),
            (Some(is), None) if is.kind != Kind::Directory => Some(Self::Remove),
            (_, None) => None,
        }
    }
}

fn found_at(found: Found) -> Option<Stat> {
    match found {
        Found::Here(_, stat) => Some(stat),
        Found::Missing | Found::Behind(..) => None,
    }
}
