//! `state init --migrate`: turns an ordinary installation into one that erases its root.
//!
//! It writes the configuration if there is none, copies every entry into its store, installs what
//! starts `state` at boot, and takes blank last; below an overlay what is installed is the blank,
//! and fstab must not mount it any more. Nothing of the installation is removed. Every step finds itself done, so a run that was cut off is finished by the next; and what changed on
//! the machine meanwhile is brought up to date, as long as nobody but us wrote to the copy.

mod fill;
mod journal;
mod plan;
mod report;

pub use report::{Left, Report, Step};

use super::{Options, Todo, propose, write};
use crate::anchor::Anchor;
use crate::boot::maker::Maker;
use crate::config;
use crate::context::Context;
use crate::failure::{Class, Failure};
use crate::machine::{FstabLine, Machine};
use crate::ops::{blank, install_boot, mount};
use crate::paths::Shown;
use crate::persist::{CONFIGURATION, Entry, PersistTree};
use crate::progress::{Progress, Watch};
use crate::settings::{Root, Settings};
use crate::whole;
use anyhow::Context as _;
use fill::Between;
use journal::Journal;
use state_api::{Error, Kind};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The settings, and the text they were made of if they are ours.
struct Declared {
    settings: Settings,
    file: PathBuf,
    text: Option<String>,
    found: Vec<String>,
    obstacles: Vec<Todo>,
}

fn todo(fact: impl Into<String>, cure: impl Into<String>) -> Todo {
    Todo {
        fact: fact.into(),
        cure: cure.into(),
    }
}

/// Looks and plans; carries the plan out unless it is a dry run.
///
/// # Errors
/// It was refused, failed, or was interrupted. What is in place stays.
pub fn run(
    cx: &Context,
    options: &Options,
    maker: Option<Maker>,
    progress: &dyn Progress,
) -> anyhow::Result<Report> {
    let machine = Machine::look(cx).context("looking at the machine")?;
    let declared = declared(cx, &machine, options)?;
    let tree = mount::tree(cx, &declared.settings)?;
    let lock = (!cx.dry_run).then(|| cx.lock()).transpose()?;
    let plan = Planner {
        cx,
        machine: &machine,
        settings: &declared.settings,
        tree: &tree,
        maker,
        watch: cx.watch(progress),
    };
    let mut report = plan.plan(&declared)?;
    if cx.dry_run {
        return Ok(report);
    }
    if let Some(first) = report.obstacles.first() {
        let fact = match report.obstacles.len() {
            1 => first.fact.clone(),
            n => format!("{}, and {} more", first.fact, n - 1),
        };
        return Err(Failure::refused(fact)
            .hint(format!("{}; `--dry-run` shows all", first.cure))
            .into());
    }
    report.executed = true;
    let mut lock = lock;
    plan.discard_leftovers()?;
    for step in report.steps.clone() {
        if matches!(step, Step::InstallBoot { .. } | Step::TakeBlank { .. }) {
            drop(lock.take()); // they take it themselves
        }
        let done = match cx.interrupt.is_set() {
            true => Err(Error::Interrupted.into()),
            false => plan.carry_out(&step, &declared, &mut report),
        };
        done.map_err(|error| stopped(&report, error))?;
        report.done += 1;
    }
    Ok(report)
}

/// What is said of a plan that was carried out in part.
fn stopped(report: &Report, why: anyhow::Error) -> anyhow::Error {
    let interrupted = why
        .downcast_ref::<Error>()
        .is_some_and(|error| error.kind() == Kind::Interrupted);
    let fact = format!(
        "stopped after {} of {} steps",
        report.done,
        report.steps.len()
    );
    if interrupted {
        return why.context(fact); // has an exit status of its own
    }
    if report.done == 0 {
        return why;
    }
    let again = "run it again to go on; nothing of the installation was removed";
    why.context(Failure::new(Class::Partial, fact).hint(again))
}

/// The configuration that is there, else the one that `state init` would write.
fn declared(cx: &Context, machine: &Machine, options: &Options) -> anyhow::Result<Declared> {
    let usual = cx.rooted(CONFIGURATION);
    let is_there = cx.config_file.is_some()
        || fs::symlink_metadata(&usual).is_ok()
        || !config::candidates(cx)?.is_empty();
    if is_there {
        let config = config::read(cx)?;
        let file = config
            .files
            .first()
            .expect("it was read from a file")
            .clone();
        return Ok(Declared {
            found: vec![format!("the configuration is {}", Shown(&file))],
            settings: config.settings,
            file,
            text: None,
            obstacles: Vec::new(),
        });
    }
    let probe = super::Probe { cx };
    let proposal = propose::propose(machine, options.store.as_deref(), None, &probe)?;
    let mut obstacles = Vec::new();
    if let Err(why) = &proposal.root {
        let cure = match machine.root() {
            Some(mount) if mount.filesystem == "btrfs" => propose::OUT_OF_THE_TOP_LEVEL,
            _ => {
                "it has to be a btrfs subvolume or a ZFS dataset of its own: install the system into one, or copy it there from a live medium"
            }
        };
        obstacles.push(todo(format!("root cannot be erased: {why}"), cure));
    }
    if !proposal.store_is_mounted {
        obstacles.push(todo(
            format!("no store is mounted at {}", Shown(&proposal.store)),
            super::store::how_to_make_a_store(machine, &proposal.store),
        ));
    }
    let text = super::draft::toml(&proposal);
    let settings = config::parse_text(Path::new("the proposed configuration"), &text)
        .context("checking what would be written")?;
    Ok(Declared {
        settings,
        file: config::store_copy(cx, &proposal.store),
        text: Some(text),
        found: proposal.found,
        obstacles,
    })
}

/// Makes what mounts root there a comment.
fn release_root(fstab: &Path) -> io::Result<()> {
    match FstabLine::without_root(&fs::read(fstab)?) {
        Some(new) => whole::replace(fstab, fs::metadata(fstab)?.mode() & 0o7777, &new),
        None => Ok(()),
    }
}

struct Planner<'a> {
    cx: &'a Context<'a>,
    machine: &'a Machine,
    settings: &'a Settings,
    tree: &'a PersistTree,
    maker: Option<Maker>,
    watch: Watch<'a>,
}

impl Planner<'_> {
    fn anchors(&self, store: &Path) -> Result<(Anchor, Anchor), Error> {
        let open = |at: PathBuf| {
            Anchor::open(&at).map_err(|error| Error::os(format!("opening {}", Shown(&at)), error))
        };
        Ok((
            open(self.cx.root_dir.clone())?,
            open(self.cx.rooted(store))?,
        ))
    }

    /// The machine as it is once all is done.
    fn machine_to_be(&self) -> Machine {
        let mut machine = self.machine.clone();
        if self.releases_root() {
            machine.fstab.retain(|line| line.at != Path::new("/"));
        }
        machine
    }

    /// Whether fstab must not mount root any more, and does.
    fn releases_root(&self) -> bool {
        let mut lines = self.machine.fstab.iter();
        matches!(self.settings.root, Some(Root::Overlay { .. }))
            && lines.any(|line| line.at == Path::new("/"))
    }

    /// Does something between the machine and the store of an entry.
    fn between<T>(
        &self,
        entry: &Entry,
        act: impl FnOnce(&Between<'_>, Journal) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let (root, store) = self.anchors(&entry.store)?;
        // What lies in other stores is not copied twice.
        let inner = |below: &Path| {
            let path = entry.path.join(below);
            let holder = self.tree.around(&path);
            !below.as_os_str().is_empty() && holder.is_some_and(|holder| holder.path != entry.path)
        };
        let between = Between {
            root: &root,
            store: &store,
            inner: &inner,
        };
        act(&between, Journal::read(&store)?)
    }

    /// Removes what a run that was cut off left half copied.
    fn discard_leftovers(&self) -> anyhow::Result<()> {
        for (path, _) in self.tree.stores() {
            let (_, store) = self.anchors(path)?;
            let doing = || format!("clearing {} of what is half copied", Shown(path));
            fill::discard(&store).map_err(|error| Error::os(doing(), error))?;
        }
        Ok(())
    }

    fn carry_out(
        &self,
        step: &Step,
        declared: &Declared,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let configured = || Context {
            root_dir: self.cx.root_dir.clone(),
            config_file: Some(declared.file.clone()),
            boot_id: self.cx.boot_id.clone(),
            ..*self.cx
        };
        match step {
            Step::Configure { file } => {
                let text = declared
                    .text
                    .as_deref()
                    .expect("it is planned for a new one");
                write(file, text).with_context(|| format!("writing {}", Shown(file)))?;
            }
            Step::Fill { path, bytes, .. } => {
                let entry = self.tree.entry(path).expect("it was planned for an entry");
                let moved = self.between(entry, |between, mut journal| {
                    between.fill(entry, *bytes, &mut journal, self.watch)
                })?;
                report.moved.extend(moved);
            }
            Step::InstallBoot { maker, .. } => {
                let (machine, cx) = (self.machine_to_be(), configured());
                install_boot::install(&cx, &machine, *maker, self.settings, self.tree)?;
            }
            Step::ReleaseRoot { file } => {
                let doing = || format!("taking the line for / out of {}", Shown(file));
                release_root(&self.cx.rooted(file)).map_err(|error| Error::os(doing(), error))?;
            }
            Step::TakeBlank { .. } => {
                blank::take(&configured())?;
            }
        }
        Ok(())
    }
}
