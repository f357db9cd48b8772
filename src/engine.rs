//! The one place that names every engine.

pub mod fstab;

use crate::captured::Craftsman;
use crate::context::Context;
use crate::settings::{self, PastRoots};
use state_api::{Error, Refusal, Result, RootBackend as _, SnapshotStore, Source};
use state_plain::PlainStore;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where a store has the past roots of a root in memory.
const PAST_ROOTS: &str = ".state/past-roots";

/// Root's engine, as the configuration says.
#[derive(Debug)]
pub enum Root {
    /// A subvolume.
    Btrfs(state_btrfs::Btrfs<state_btrfs::Live>),
    /// A dataset.
    Zfs(state_zfs::Zfs<state_zfs::Live>),
    /// Memory.
    Tmpfs(state_tmpfs::Tmpfs<state_tmpfs::Live>),
    /// Layers above an installed system.
    Overlay(state_overlay::Overlay<state_overlay::Live>),
}

/// Evaluates an expression that is generic over [`state_api::RootBackend`] on whichever engine it
/// is.
macro_rules! on_root {
    ($root:expr, $on:ident => $body:expr) => {
        match $root {
            $crate::engine::Root::Btrfs($on) => $body,
            $crate::engine::Root::Zfs($on) => $body,
            $crate::engine::Root::Tmpfs($on) => $body,
            $crate::engine::Root::Overlay($on) => $body,
        }
    };
}
pub(crate) use on_root;

impl Root {
    /// Mounts what a reset cannot put under the name that the initrd mounts: the overlay above the
    /// installed system. `None` for the other engines.
    ///
    /// # Errors
    /// There are no layers to mount, or the kernel refuses them.
    pub fn stack(&self) -> Result<Option<state_overlay::Stack>> {
        match self {
            Self::Overlay(overlay) => overlay.kernel().stack().map(Some),
            Self::Btrfs(_) | Self::Zfs(_) | Self::Tmpfs(_) => Ok(None),
        }
    }
}

/// The engine's name, as configurations and records write it.
pub fn name(root: &settings::Root) -> &'static str {
    match root {
        settings::Root::Btrfs { .. } => "btrfs",
        settings::Root::Zfs { .. } => "zfs",
        settings::Root::Tmpfs { .. } => "tmpfs",
        settings::Root::Overlay { .. } => "overlay",
    }
}

/// How long past roots are kept.
pub fn past_roots(root: &settings::Root) -> PastRoots {
    match root {
        settings::Root::Btrfs { past_roots, .. }
        | settings::Root::Zfs { past_roots, .. }
        | settings::Root::Overlay { past_roots, .. }
        | settings::Root::Tmpfs { past_roots, .. } => *past_roots,
    }
}

/// The store that holds the past roots of a root in memory; `None`: all of them may be lost.
pub fn home(stores: &BTreeMap<PathBuf, settings::Store>) -> Option<&Path> {
    let mut kept = stores
        .iter()
        .filter(|(_, store)| store.class != settings::Class::Cache);
    kept.next().map(|(path, _)| path.as_path())
}

/// Opens root's engine. `stores` are those of the persist tree, which must not be part of root.
///
/// # Errors
/// The engine cannot be reached: no such device, no module, a name it cannot carry.
pub fn root(
    cx: &Context,
    root: &settings::Root,
    stores: &BTreeMap<PathBuf, settings::Store>,
) -> Result<Root> {
    match root {
        settings::Root::Btrfs {
            device,
            subvolume,
            blank,
            ..
        } => {
            let kernel = state_btrfs::Live::open(device)?;
            let mut engine = state_btrfs::Btrfs::new(kernel, subvolume, blank.as_deref())
                .map_err(Refusal::BadName)?;
            // Root's own may say more than blank's: somebody counts on that since this boot.
            let trees = [engine.open_root(), engine.open(&Source::Blank)];
            for path in fstab::subvolumes(&fstab::lines(cx, &trees)?, device) {
                engine = engine.protecting(&path).map_err(Refusal::BadName)?;
            }
            Ok(Root::Btrfs(engine))
        }
        settings::Root::Tmpfs {
            size,
            device,
            blank,
            ..
        } => {
            let fills = device.is_some() && cx.is_initrd();
            let past_roots = |store| cx.rooted(store).join(PAST_ROOTS);
            let places = state_tmpfs::Places {
                at: match fills {
                    true => cx.rooted("/sysroot"),
                    false => cx.root_dir.clone(),
                },
                size: size.clone(),
                stores: stores.keys().cloned().collect(),
                past_roots: home(stores).map(past_roots),
                blank: device.clone().map(|device| (device, blank.clone())),
            };
            let kernel = state_tmpfs::Live::new(places, Box::new(Craftsman));
            let engine = state_tmpfs::Tmpfs::new(kernel);
            Ok(Root::Tmpfs(match fills {
                true => engine.to_be_filled(),
                false => engine,
            }))
        }
        settings::Root::Overlay {
            device, directory, ..
        } => {
            // In an initrd root is where systemd will switch to.
            let at = cx.rooted(if cx.is_initrd() { "/sysroot" } else { "/" });
            let kernel = state_overlay::Live::open(device, directory, &at, &cx.run_dir())?;
            Ok(Root::Overlay(state_overlay::Overlay::new(kernel)))
        }
        settings::Root::Zfs { dataset, blank, .. } => {
            let mut engine = state_zfs::Zfs::new(state_zfs::Live::new(), dataset, blank)
                .map_err(Refusal::BadName)?;
            for store in stores.keys() {
                engine = engine.protecting(store);
            }
            // Elsewhere than in an initrd the machine's own is there, and root in use.
            let blank = cx.is_initrd().then(|| engine.open(&Source::Blank));
            for dataset in fstab::datasets(fstab::lines(cx, blank.as_slice())?, stores) {
                engine = engine.protecting_dataset(dataset);
            }
            Ok(Root::Zfs(engine))
        }
    }
}

/// The magic numbers of `linux/magic.h` and of OpenZFS by which a store's engine is known.
const BTRFS_MAGIC: u64 = 0x9123_683E;
const ZFS_MAGIC: u64 = 0x2FC1_2FC1;

/// Opens the store at `path` with the engine of the filesystem that it is on.
///
/// # Errors
/// It is not there, or its engine cannot be reached.
pub fn store(path: &Path) -> Result<Box<dyn SnapshotStore>> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Error::Missing {
            what: format!("the store {}", path.display()),
        },
        _ => Error::os(format!("opening the store {}", path.display()), error),
    };
    let path = fs::canonicalize(path).map_err(failed)?;
    let filesystem = rustix::fs::statfs(&path).map_err(|errno| failed(errno.into()))?;
    match filesystem.f_type.cast_unsigned() {
        BTRFS_MAGIC => Ok(Box::new(state_btrfs::BtrfsStore::open(&path)?)),
        ZFS_MAGIC => Ok(Box::new(state_zfs::ZfsStore::open(&path)?)),
        _ => Ok(Box::new(PlainStore::new(path))),
    }
}
