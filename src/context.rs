//! What a verb needs of the world, as a value: no globals, no ambient clock.

use crate::progress::{Progress, Watch};
use anyhow::Context as _;
use chrono::{DateTime, Utc};
use state_api::{Error, Interrupt};
use state_linux::lock::{Lock, Taken};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Directory of the run-time records, below the root directory.
pub const RUN_DIR: &str = "run/state";

/// The surroundings of one run.
pub struct Context<'a> {
    /// Everything is looked for below this directory (`--root`); `/` on a running machine.
    pub root_dir: PathBuf,
    /// The configuration file, if one was named (`--config`).
    pub config_file: Option<PathBuf>,
    /// The time the run began.
    pub now: DateTime<Utc>,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// Whether to stop at the next step.
    pub interrupt: &'a dyn Interrupt,
    /// Plan and show, change nothing.
    pub dry_run: bool,
}

impl Context<'_> {
    /// The same surroundings, of a run that only plans.
    pub fn planning(&self) -> Self {
        Self {
            root_dir: self.root_dir.clone(),
            config_file: self.config_file.clone(),
            boot_id: self.boot_id.clone(),
            dry_run: true,
            ..*self
        }
    }

    /// Whom long work of this run asks, and tells.
    pub fn watch<'a>(&'a self, progress: &'a dyn Progress) -> Watch<'a> {
        Watch {
            interrupt: self.interrupt,
            progress,
        }
    }

    /// `path` (absolute on the machine) below the root directory.
    pub fn rooted(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root_dir.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Where records of this boot live: `ROOT/run/state`. In an initrd that is its own /run, which
    /// becomes that of the system; what root itself holds below /run is never seen again.
    pub fn run_dir(&self) -> PathBuf {
        run_dir(&self.root_dir, || is_initrd(Path::new("/")))
    }

    /// Whether what lies below the root directory is an initrd.
    pub fn is_initrd(&self) -> bool {
        is_initrd(&self.root_dir)
    }

    /// Takes the lock that keeps two runs apart, until the value is dropped. Every verb that
    /// changes something holds it while it does; a dry run, which changes nothing, need not.
    ///
    /// # Errors
    /// [`Locked`] if another run holds it.
    pub fn lock(&self) -> anyhow::Result<Lock> {
        let path = self.run_dir().join("lock");
        let doing = || format!("locking {}", path.display());
        let taken = match Lock::take(&path) {
            // A machine that does not run has its /run on a disk: that must not be in the way of
            // making room on it.
            Err(error) if self.root_dir != Path::new("/") && is_full(&error) => {
                Lock::take_directory(&self.root_dir)
            }
            taken => taken,
        };
        match taken.map_err(|error| Error::os(doing(), error))? {
            Taken::Mine(lock) => Ok(lock),
            Taken::Held { by } => Err(Locked { by }).with_context(doing),
        }
    }
}

/// Whether nothing can be written there.
fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(
        error.kind(),
        StorageFull | QuotaExceeded | ReadOnlyFilesystem
    )
}

/// Another run of `state` is changing something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another run holds it{}", .by.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
pub struct Locked {
    /// Its process id, if it has said so.
    pub by: Option<u32>,
}

impl Locked {
    /// The cure.
    pub fn hint(&self) -> String {
        "wait until it has ended and run the command again".into()
    }
}

fn run_dir(root_dir: &Path, is_initrd: impl Fn() -> bool) -> PathBuf {
    match root_dir != Path::new("/") && is_initrd() {
        true => Path::new("/").join(RUN_DIR),
        false => root_dir.join(RUN_DIR),
    }
}

/// Whether a root directory is an initrd's, by systemd's sign of one (os-release(5)), or by what `/`
/// is there: the kernel's own first filesystem, which a system never sees.
fn is_initrd(root_dir: &Path) -> bool {
    let is_first = || {
        let mounts = state_linux::mountinfo::read();
        mounts.is_ok_and(|mounts| {
            let root = mounts.iter().rfind(|mount| mount.at == Path::new("/"));
            root.is_some_and(|root| root.filesystem == "rootfs")
        })
    };
    root_dir.join("etc/initrd-release").exists() || root_dir == Path::new("/") && is_first()
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("root_dir", &self.root_dir)
            .field("config_file", &self.config_file)
            .field("now", &self.now)
            .field("boot_id", &self.boot_id)
            .field("dry_run", &self.dry_run)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
impl Context<'static> {
    /// For tests: below `root_dir`, in 1970, in a boot without an id; changes nothing.
    pub(crate) fn below(root_dir: impl Into<PathBuf>) -> Self {
        Self {
            root_dir: root_dir.into(),
            config_file: None,
            now: DateTime::UNIX_EPOCH,
            boot_id: String::new(),
            interrupt: &state_api::Never,
            dry_run: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_initrd_leaves_nothing_in_the_root_that_it_prepares() {
        for (root_dir, is_initrd, expected) in [
            ("/", false, "/run/state"),
            ("/", true, "/run/state"),
            ("/sysroot", true, "/run/state"),
            ("/mnt", false, "/mnt/run/state"),
        ] {
            let found = run_dir(Path::new(root_dir), || is_initrd);
            assert_eq!(found, Path::new(expected), "{root_dir} {is_initrd}");
        }
        assert!(!is_initrd(Path::new("/")), "tests run on a whole system");
    }
}
