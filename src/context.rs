//! What a verb needs of the world, as a value: no globals, no ambient clock.

use chrono::{DateTime, Utc};
use state_api::Interrupt;
use std::fmt;
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
    /// `path` (absolute on the machine) below the root directory.
    pub fn rooted(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root_dir.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Where records of this boot live: `ROOT/run/state`.
    pub fn run_dir(&self) -> PathBuf {
        self.root_dir.join(RUN_DIR)
    }
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
