//! `state demo`: the whole life of a machine, on a throw-away image, in a minute.
//!
//! Plays the verbs as a library on a stage of its own (see [`stage`]) and shows what each says.
//! Reads files of the running system, changes nothing on it, and leaves nothing behind: the stage
//! is a mount namespace and the disks are files without a name, so the kernel cleans up after any
//! end of the process.

mod content;
mod machine;
mod stage;

use self::machine::{Machine, New};
use self::stage::Stage;
use super::{archives, backup, blank, diff, mount, recover, reset, restore, roots, snapshot};
use crate::copy::Fidelity;
use crate::failure::{Class, Failure};
use crate::inventory::Inventory;
use crate::program::Program;
use crate::progress::Silent;
use crate::record::Record;
use anyhow::Context as _;
use serde::Serialize;
use state_api::{Error, Interrupt};
use std::io;
use std::path::{Path, PathBuf};
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
    let limit = Duration::from_secs(60);
    let doing = "looking for the demo's pool";
    match Program::Zpool.run(doing, ["list", "-H", "-o", "name", pool], limit) {
        Ok(_) => machine::destroy_pool(pool),
        Err(Error::Tool { .. }) => Ok(()), // there is none
        Err(error) => Err(error),
    }
}

/// The engine to show, and what there is to say about the choice.
fn choose(asked: Option<Backend>) -> (Backend, &'static str) {
    let is_root = rustix::process::geteuid().is_root();
    match (asked, is_root) {
        (None | Some(Backend::Btrfs | Backend::Zfs), false) => (
            Backend::Tmpfs,
            "You are not root, so root is a tmpfs and the disks are memory; `sudo` shows the same \
             on btrfs, with snapshots and past roots.",
        ),
        (Some(backend), _) => (backend, ""),
        (None, true) => (Backend::Btrfs, ""),
    }
}

/// Gets the one program the demo needs that a fresh machine may lack.
fn fetch_btrfs_progs(narrator: &mut dyn Narrator) -> anyhow::Result<()> {
    if Program::MkfsBtrfs.find().is_some() {
        return Ok(());
    }
    let is_root = rustix::process::geteuid().is_root();
    let is_debian = Path::new("/etc/debian_version").exists();
    if !(is_root && is_debian && Program::AptGet.find().is_some()) {
        return Err(
            Failure::new(Class::Usage, "the program mkfs.btrfs is missing")
                .hint("install the package btrfs-progs, or see the demo on `--backend tmpfs`")
                .into(),
        );
    }
    narrator.tell(Event::Tells(
        "mkfs.btrfs is missing: installing the package btrfs-progs (apt-get install btrfs-progs)",
    ))?;
    let limit = Duration::from_secs(600);
    let install = [
        "-qq",
        "-y",
        "-o",
        "DPkg::Lock::Timeout=300",
        "--no-install-recommends",
        "install",
        "btrfs-progs",
    ];
    let doing = "installing btrfs-progs";
    if Program::AptGet.run(doing, install, limit).is_err() {
        // The lists of packages may be old or have never been fetched.
        Program::AptGet.run("fetching the lists of packages", ["-qq", "update"], limit)?;
        Program::AptGet.run(doing, install, limit)?;
    }
    Ok(())
}

/// ZFS is not fetched: its kernel module takes minutes to compile, and belongs to the system.
fn find_zfs() -> anyhow::Result<()> {
    if !Path::new("/sys/module/zfs").exists() && Program::Modprobe.find().is_some() {
        let loading = Program::Modprobe.run("loading zfs", ["zfs"], Duration::from_secs(60));
        loading.map_err(|error| {
            Failure::new(Class::Usage, format!("this kernel has no ZFS: {error}"))
                .hint("install zfsutils-linux and zfs-dkms, or see the demo on btrfs")
        })?;
    }
    for program in [Program::Zpool, Program::Zfs] {
        if program.find().is_none() {
            let fact = format!("the program {} is missing", program.name());
            return Err(Failure::new(Class::Usage, fact)
                .hint("install the package zfsutils-linux, or see the demo on btrfs")
                .into());
        }
    }
    Ok(())
}

/// A play under way.
struct Play<'a> {
    interrupt: &'a dyn Interrupt,
    narrator: &'a mut dyn Narrator,
    scenes: Vec<Scene>,
    begun: Instant,
}

impl Play<'_> {
    fn say(&mut self, event: Event<'_>) -> anyhow::Result<()> {
        if self.interrupt.is_set() {
            return Err(Error::Interrupted.into());
        }
        Ok(self.narrator.tell(event)?)
    }

    fn tells(&mut self, text: impl AsRef<str>) -> anyhow::Result<()> {
        self.say(Event::Tells(text.as_ref()))
    }

    fn scene(&mut self, title: &str) -> anyhow::Result<()> {
        self.say(Event::Scene(title))?;
        self.begun = Instant::now();
        self.scenes.push(Scene {
            title: title.to_owned(),
            commands: Vec::new(),
            took_us: 0,
        });
        Ok(())
    }

    fn runs(&mut self, command: &str) -> anyhow::Result<()> {
        if let Some(scene) = self.scenes.last_mut() {
            scene.commands.push(command.to_owned());
        }
        self.say(Event::Runs(command))
    }

    fn shows(&mut self, shown: Shown<'_>) -> anyhow::Result<()> {
        self.say(Event::Shows(shown))
    }

    fn ends(&mut self) -> anyhow::Result<()> {
        let took = self.begun.elapsed();
        if let Some(scene) = self.scenes.last_mut() {
            scene.took_us = Record::micros(took);
        }
        self.say(Event::Took(took))
    }

    fn acts(mut self, stage: &Stage, backend: Backend, pool: &str) -> anyhow::Result<Report> {
        let mut machine = Machine::new(stage, backend, pool)?;
        self.is_set_up(&mut machine)?;
        self.boots(&mut machine)?;
        self.is_lived_in(&machine)?;
        self.is_reset(&mut machine)?;
        let noted = self.is_backed_up(&machine)?;
        let usb = machine.usb();
        self.dies(machine)?;
        let new = self.is_restored(stage, &usb)?;
        let differences = self.is_proven(&noted, &new)?;
        Ok(self.report(stage, backend, &noted, differences))
    }

    fn report(
        self,
        stage: &Stage,
        backend: Backend,
        noted: &Inventory,
        differences: Vec<String>,
    ) -> Report {
        Report {
            backend,
            had_devices: stage.has_devices,
            scenes: self.scenes,
            paths: noted.len(),
            bytes: noted.bytes(),
            differences,
            kept: stage.kept.clone(),
        }
    }

    fn is_set_up(&mut self, machine: &mut Machine<'_>) -> anyhow::Result<()> {
        self.scene("A machine is set up")?;
        machine.lay_out()?;
        self.tells(machine.describe())?;
        let fidelity = if machine.stage.has_devices {
            Fidelity::Exact
        } else {
            Fidelity::AsFarAsAllowed
        };
        let copied = machine.filled(fidelity, self.interrupt)?;
        self.tells(format!(
            "{} files and directories of this system ({}) go into its persist tree, owners, \
             times, links and all; with them a few things that copies like to lose.",
            thousands(copied.entries),
            size(copied.bytes),
        ))?;
        if machine.has_blank() {
            self.runs("state blank take")?;
            let take = blank::take(&machine.at_boot(self.interrupt))?;
            self.shows(Shown::Take(&take))?;
        }
        self.ends()
    }

    fn boots(&mut self, machine: &mut Machine<'_>) -> anyhow::Result<()> {
        self.scene("It boots")?;
        machine.boots()?;
        let report = self.mounts(machine)?;
        self.shows(Shown::Mount(&report))?;
        self.ends()
    }

    fn mounts(&mut self, machine: &Machine<'_>) -> anyhow::Result<mount::Report> {
        self.runs("state mount")?;
        let report = mount::run(&machine.running(self.interrupt), mount::Options::default())?;
        anyhow::ensure!(report.failed() == 0, "an entry could not be put in place");
        Ok(report)
    }

    fn is_lived_in(&mut self, machine: &Machine<'_>) -> anyhow::Result<()> {
        self.scene("Somebody lives on it")?;
        let (files, bytes) = content::clutter(&machine.root())?;
        self.tells(format!(
            "{files} files ({}) end up where nobody declared them: a download, a quick fix, and \
             the only copy of a good idea.",
            size(bytes)
        ))?;
        self.runs("state diff")?;
        let report = diff::run(&machine.running(self.interrupt), &diff::Options::default())?;
        self.shows(Shown::Diff(&report))?;
        self.ends()
    }

    fn is_reset(&mut self, machine: &mut Machine<'_>) -> anyhow::Result<()> {
        let is_memory = !machine.has_blank();
        self.scene(match is_memory {
            true => "It reboots, and memory forgets",
            false => "It reboots, and root goes back to blank",
        })?;
        machine.shuts_down()?;
        if is_memory {
            // There is nothing to erase; what is checked is there once root is mounted.
            machine.boots()?;
        }
        self.runs("state reset")?;
        let report = reset::run(&match is_memory {
            true => machine.running(self.interrupt),
            false => machine.at_boot(self.interrupt),
        })?;
        self.shows(Shown::Reset(&report))?;
        if !is_memory {
            machine.boots()?;
        }
        let report = self.mounts(machine)?;
        let gone = !machine.root().join(content::IDEA).exists();
        anyhow::ensure!(gone, "the clutter is still there");
        self.tells(format!(
            "All {} entries are back in place, and the clutter is gone: the download, the quick \
             fix, and the good idea.",
            report.entries.len()
        ))?;
        self.ends()?;
        if is_memory {
            return Ok(());
        }
        self.scene("But nothing is lost")?;
        self.runs("state roots")?;
        let list = roots::list(&machine.running(self.interrupt))?;
        self.shows(Shown::Roots(&list))?;
        self.runs(&format!("state roots recover /{}", content::IDEA))?;
        let options = recover::Options {
            path: Path::new("/").join(content::IDEA),
            from: None,
            to: None,
        };
        let report = recover::run(&machine.running(self.interrupt), &options)?;
        self.shows(Shown::Recovered(&report))?;
        let idea = std::fs::read_to_string(machine.root().join(content::IDEA));
        let idea = idea.context("reading the good idea")?;
        anyhow::ensure!(
            idea == content::IDEA_TEXT,
            "the good idea is another one now"
        );
        self.tells(format!("The good idea: “{}”", idea.trim()))?;
        self.ends()
    }

    fn is_backed_up(&mut self, machine: &Machine<'_>) -> anyhow::Result<Inventory> {
        self.scene("It is backed up")?;
        let cx = machine.running(self.interrupt);
        let noted = content::noted(&machine.store(), self.interrupt)?;
        if machine.has_snapshots() {
            self.runs("state snapshot create before-the-flood")?;
            let name = "before-the-flood".parse()?;
            let created = snapshot::create(&cx, None, Some(name))?;
            self.shows(Shown::Snapshot(&created))?;
        } else {
            self.tells(
                "This store's filesystem has no snapshots; the archive is made of the tree itself.",
            )?;
        }
        self.runs("state backup --to usb")?;
        let to = backup::Options {
            to: Some("usb".into()),
            full: false,
        };
        let report = backup::run(&cx, &to, &Silent)?;
        self.shows(Shown::Backup(&report))?;
        self.ends()?;
        Ok(noted)
    }

    fn dies(&mut self, mut machine: Machine<'_>) -> anyhow::Result<()> {
        self.scene("The disk dies")?;
        machine.shuts_down()?;
        let lost = match machine.has_snapshots() {
            true => "Root, blank, past roots, the store and its snapshots are gone.",
            false => "The store is gone.",
        };
        machine.destroy()?;
        self.tells(format!(
            "{lost} What is left is the archive, on another disk."
        ))?;
        self.ends()
    }

    fn is_restored(&mut self, stage: &Stage, usb: &Path) -> anyhow::Result<New> {
        self.scene("New hardware, another filesystem")?;
        let new = New::set_up(stage)?;
        self.tells(new.describe())?;
        self.runs("state restore --from file:///mnt/usb --machine demo --into /mnt/persist --allow-unsigned")?;
        let options = restore::Options {
            which: archives::Which {
                from: Some(format!("file://{}", usb.display())),
                machine: Some("demo".into()),
            },
            into: Some(new.store()),
            allow_unsigned: true,
            ..restore::Options::default()
        };
        let report = restore::run(&new.rescue(self.interrupt)?, &options, &Silent)?;
        self.shows(Shown::Restored(&report))?;
        self.ends()?;
        Ok(new)
    }

    fn is_proven(&mut self, noted: &Inventory, new: &New) -> anyhow::Result<Vec<String>> {
        self.scene("The proof")?;
        let found = content::noted(&new.store(), self.interrupt)?;
        let differences = noted.differences(&found);
        let rare = noted.delicate();
        self.tells(
            "Before the disk died, every path of the store was noted down: what it is, its content \
             (SHA-256), owner, mode, time to the nanosecond, attributes, ACLs, flags, links.",
        )?;
        self.tells(format!(
            "{} paths and {} were lost: {} symlinks among them, {} further names of files, {} with \
             attributes, {} with an ACL. {} paths and {} are back.",
            thousands(noted.len()),
            size(noted.bytes()),
            rare.symlinks,
            rare.hard_links,
            rare.attributes,
            rare.acls,
            thousands(found.len()),
            size(found.bytes()),
        ))?;
        match differences.len() {
            0 => self.say(Event::Proves("The two trees are equal in all of it."))?,
            n => self.tells(format!("{n} of them differ."))?,
        }
        self.ends()?;
        Ok(differences)
    }
}

/// `1.5 MiB`, for the words of the play.
fn size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    match bytes {
        0..MIB => format!("{} KiB", bytes.div_ceil(1024)),
        _ => format!("{} MiB", bytes.div_ceil(MIB)),
    }
}

/// `2,181`
fn thousands(n: impl TryInto<u64>) -> String {
    let digits = n.try_into().unwrap_or(u64::MAX).to_string();
    let mut grouped = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        let table = [
            (0u64, "0"),
            (999, "999"),
            (2181, "2,181"),
            (1_000_000, "1,000,000"),
        ];
        for (n, text) in table {
            assert_eq!(thousands(n), text);
        }
        assert_eq!(
            [size(0), size(1), size(1 << 20)],
            ["0 KiB", "1 KiB", "1 MiB"]
        );
    }
}
