//! The one place that names every engine.

use crate::context::Context;
use crate::settings::{self, PastRoots};
use state_api::{Error, Refusal, Result, SnapshotStore};
use state_plain::PlainStore;
use std::fs;
use std::io;
use std::path::Path;

/// Root's engine, as the configuration says.
#[derive(Debug)]
pub enum Root {
    /// A subvolume.
    Btrfs(state_btrfs::Btrfs<state_btrfs::Live>),
}

/// Evaluates an expression that is generic over [`state_api::RootBackend`] on whichever engine it
/// is.
macro_rules! on_root {
    ($root:expr, $on:ident => $body:expr) => {
        match $root {
            $crate::engine::Root::Btrfs($on) => $body,
        }
    };
}
pub(crate) use on_root;

/// The engine's name, as configurations and records write it.
pub fn name(root: &settings::Root) -> &'static str {
    match root {
        settings::Root::Btrfs { .. } => "btrfs",
        settings::Root::Zfs { .. } => "zfs",
        settings::Root::Tmpfs { .. } => "tmpfs",
    }
}

/// How long past roots are kept; `None` where the engine keeps none.
pub fn past_roots(root: &settings::Root) -> Option<PastRoots> {
    match root {
        settings::Root::Btrfs { past_roots, .. } | settings::Root::Zfs { past_roots, .. } => {
            Some(*past_roots)
        }
        settings::Root::Tmpfs { .. } => None,
    }
}

/// Opens root's engine.
///
/// # Errors
/// The engine cannot be reached: no such device, no module, a name it cannot carry.
pub fn root(_cx: &Context, root: &settings::Root) -> Result<Root> {
    match root {
        settings::Root::Btrfs {
            device,
            subvolume,
            blank,
            ..
        } => {
            let kernel = state_btrfs::Live::open(device)?;
            let engine = state_btrfs::Btrfs::new(kernel, subvolume, blank.as_deref());
            Ok(Root::Btrfs(engine.map_err(Refusal::BadName)?))
        }
        _ => Err(Error::Unsupported {
            engine: name(root),
            what: "root",
        }),
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
        BTRFS_MAGIC => Err(Error::Unsupported {
            engine: "btrfs",
            what: "a store",
        }),
        ZFS_MAGIC => Err(Error::Unsupported {
            engine: "zfs",
            what: "a store",
        }),
        _ => Ok(Box::new(PlainStore::new(path))),
    }
}
