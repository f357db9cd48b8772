//! `state demo`: the whole life of a machine, on a throw-away image, in a minute.
//!
//! Plays the verbs as a library on a stage of its own (see [`stage`]) and shows what each says.
//! Reads files of the running system, changes nothing on it, and leaves nothing behind: the stage
//! is a mount namespace and the disks are files without a name, so the kernel cleans up after any
//! end of the process.

mod content;
mod machine;
mod play;
mod prepare;
mod stage;

use self::play::Play;
use self::prepare::{choose, fetch_btrfs_progs, find_zfs};
use self::stage::Stage;
use super::{backup, blank, diff, mount, recover, reset, restore, roots, snapshot};
use crate::program::Program;
use serde::Serialize;
use state_api::{Error, Interrupt};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Which engine root lives on in the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// A subvolume.
    Btrfs,
    /// A dataset; needs the kernel module.
    Zfs,
    /// Memory.
    Tmpfs,
}

/// What is asked of the demo.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The engine; by default the best that this machine has.
    pub backend: Option<Backend>,
    /// Leave the new machine's disk and the archives where they can be looked at.
    pub keep: bool,
    /// The name for the pool, where root is on ZFS. A pool outlives its process: whoever gives the
    /// name [destroys](remove_pool) what is left of it.
    pub pool: Option<String>,
}

/// Something that happens on stage.
#[derive(Debug)]
pub enum Event<'a> {
    /// The demo begins.
    Begins(&'a str),
    /// A scene begins.
    Scene(&'a str),
    /// Something is told in words.
    Tells(&'a str),
    /// A verb is run, as it would be typed.
    Runs(&'a str),
    /// A verb's report.
    Shows(Shown<'a>),
    /// What all of it was for.
    Proves(&'a str),
    /// A scene is over.
    Took(Duration),
}

/// The report of a verb that was run.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum Shown<'a> {
    Take(&'a blank::Take),
    Mount(&'a mount::Report),
    Diff(&'a diff::Report),
    Reset(&'a reset::Report),
    Roots(&'a roots::List),
    Recovered(&'a recover::Report),
    Snapshot(&'a snapshot::Create),
    Backup(&'a backup::Report),
    Restored(&'a restore::Report),
}

/// Someone who tells the audience.
pub trait Narrator {
    /// Tells it.
    ///
    /// # Errors
    /// Nobody is listening any more.
    fn tell(&mut self, event: Event<'_>) -> io::Result<()>;
}

/// How the demo went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The engine root lived on.
    pub backend: Backend,
    /// Whether disks were real (loop devices) or memory.
    pub had_devices: bool,
    /// The scenes.
    pub scenes: Vec<Scene>,
    /// How many paths were compared in the end.
    pub paths: usize,
    /// Their content, in bytes.
    pub bytes: u64,
    /// In what the restored tree differs from the one that was lost; empty: in nothing.
    pub differences: Vec<String>,
    /// Where things were left to be looked at.
    pub kept: Option<PathBuf>,
}

/// One scene.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scene {
    /// Its title.
    pub title: String,
    /// The commands that were run.
    pub commands: Vec<String>,
    /// How long it took, in microseconds.
    pub took_us: u64,
}

/// Plays it. Must be called while the process has one thread.
///
/// # Errors
/// Something is missing here, went wrong, or was interrupted; or the two trees differ.
pub fn run(
    options: Options,
    interrupt: &dyn Interrupt,
    narrator: &mut dyn Narrator,
) -> anyhow::Result<Report> {
    let (backend, why) = choose(options.backend);
    match backend {
        Backend::Btrfs => fetch_btrfs_progs(narrator)?,
        Backend::Zfs => find_zfs()?,
        Backend::Tmpfs => {}
    }
    let stage = Stage::new(options.keep)?;
    let mut play = Play {
        interrupt,
        narrator,
        scenes: Vec::new(),
        begun: Instant::now(),
    };
    play.say(Event::Begins(&format!(
        "The whole life of a machine, in a minute. Everything happens on throw-away disks that \
         only this process sees; of your system, some files are read. {why}"
    )))?;
    play.acts(
        &stage,
        backend,
        options.pool.as_deref().unwrap_or("state-demo"),
    )
}

/// Destroys what a demo on ZFS left of its pool.
///
/// # Errors
/// It is there and cannot be destroyed.
pub fn remove_pool(pool: &str) -> state_api::Result<()> {
    if Program::Zpool.find().is_none() {
        return Ok(()); // then there never was one
    }
    let limit = Duration::from_secs(60);
    let doing = "looking for the demo's pool";
    match Program::Zpool.run(doing, ["list", "-H", "-o", "name", pool], limit) {
        Ok(_) => machine::destroy_pool(pool),
        // There is none, nor a program that could have made one.
        Err(Error::Tool { .. } | Error::Missing { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
