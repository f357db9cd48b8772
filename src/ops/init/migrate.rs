//! `state init --migrate`: turns an ordinary installation into one that erases its root.
//!
//! It writes the configuration if there is none, copies every entry into its store, installs what
//! starts `state` at boot, and takes blank last. Nothing of the installation is removed. Every
//! step finds itself done, so a run that was cut off is finished by the next; and what changed on
//! the machine meanwhile is brought up to date, as long as nobody but us wrote to the copy.

mod fill;
mod journal;

use super::{Options, Todo, propose, write};
use crate::anchor::Anchor;
use crate::boot::maker::Maker;
use crate::config;
use crate::context::Context;
use crate::failure::{Class, Failure};
use crate::machine::Machine;
use crate::ops::{blank, install_boot, look, mount};
use crate::paths::{self, Shown};
use crate::persist::{CONFIGURATION, Entry, PersistTree};
use crate::settings::{Root, Settings};
use anyhow::Context as _;
use fill::{Between, Finding};
use journal::Journal;
use serde::Serialize;
use state_api::{Error, Kind, Refusal, RootFacts};
use std::fs;
use std::path::{Path, PathBuf};

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum Step {
    /// Write the configuration.
    Configure {
        /// Where.
        #[serde(serialize_with = "paths::serialize")]
        file: PathBuf,
    },
    /// Copy an entry into its store.
    Fill {
        /// Where it is.
        #[serde(serialize_with = "paths::serialize")]
        path: PathBuf,
        /// Where its copy will be.
        #[serde(serialize_with = "paths::serialize")]
        source: PathBuf,
        /// The space it takes.
        bytes: u64,
        /// Whether it brings an older copy of ours up to date.
        is_anew: bool,
    },
    /// Install what starts `state` at boot, and make the initrds anew.
    InstallBoot {
        /// By what.
        maker: Option<Maker>,
        /// How many files are new.
        files: usize,
    },
    /// Take blank.
    TakeBlank {
        /// Of which volume.
        root: String,
    },
}

/// What is left as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Left {
    /// The entry.
    #[serde(serialize_with = "paths::serialize")]
    pub path: PathBuf,
    /// Why.
    pub why: &'static str,
}

/// The plan, and how far it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What was found, a sentence each.
    pub found: Vec<String>,
    /// The configuration, if it is a new one.
    pub configuration: Option<String>,
    /// What is to be done.
    pub steps: Vec<Step>,
    /// Entries of which nothing is to be done.
    pub left: Vec<Left>,
    /// What stands in the way: nothing is done as long as there is any of it.
    pub obstacles: Vec<Todo>,
    /// What is left to do for somebody else.
    pub todo: Vec<Todo>,
    /// What changed while it was copied.
    #[serde(serialize_with = "paths::serialize_all")]
    pub moved: Vec<PathBuf>,
    /// How many of the steps are done.
    pub done: usize,
    /// Whether it was carried out (false: a plan).
    pub executed: bool,
}

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
pub fn run(cx: &Context, options: &Options, maker: Option<Maker>) -> anyhow::Result<Report> {
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

struct Planner<'a> {
    cx: &'a Context<'a>,
    machine: &'a Machine,
    settings: &'a Settings,
    tree: &'a PersistTree,
    maker: Option<Maker>,
}

impl Planner<'_> {
    fn plan(&self, declared: &Declared) -> anyhow::Result<Report> {
        let mut report = Report {
            found: declared.found.clone(),
            configuration: declared.text.clone(),
            steps: Vec::new(),
            left: Vec::new(),
            obstacles: declared.obstacles.clone(),
            todo: Vec::new(),
            moved: Vec::new(),
            done: 0,
            executed: false,
        };
        if declared.text.is_some() {
            let file = declared.file.clone();
            report.steps.push(Step::Configure { file });
        }
        let facts = self.root(&mut report)?;
        self.stores(&mut report);
        if !report.obstacles.is_empty() {
            return Ok(report); // what is found on the way to that is not the point
        }
        self.fills(&mut report, facts.as_ref())?;
        if let Some(facts) = facts {
            self.boot(&mut report, &facts);
        }
        Ok(report)
    }

    /// Looks at root: whether it can be erased, and is not erased already.
    fn root(&self, report: &mut Report) -> anyhow::Result<Option<RootFacts>> {
        let Some(root) = &self.settings.root else {
            if report.obstacles.is_empty() {
                let cure = "declare [root], or fill the store alone: `state keep PATH`";
                report.obstacles.push(todo("no root is declared", cure));
            }
            return Ok(None);
        };
        if matches!(root, Root::Tmpfs { .. } | Root::Overlay { .. }) {
            let fact = "what is written to this root is gone at every boot already";
            report
                .obstacles
                .push(todo(fact, "there is nothing to migrate: `state keep PATH`"));
            return Ok(None);
        }
        for who in self.machine.root_by_id() {
            let fact =
                format!("{who} mounts root by its subvolume id, which the first reset changes");
            let cure = "write subvol=NAME there in place of subvolid=…";
            report.obstacles.push(todo(fact, cure));
        }
        let facts = look::root(self.cx, self.settings).transpose()?;
        for refusal in facts.iter().flat_map(|facts| &facts.refusals) {
            // A machine that runs from its root, and has no blank yet, is what this is for.
            if !matches!(
                refusal,
                Refusal::RootMounted { .. } | Refusal::NoBlank { .. }
            ) {
                let cure = refusal.hint().unwrap_or_else(|| "`state doctor`".into());
                report.obstacles.push(todo(refusal.to_string(), cure));
            }
        }
        Ok(facts)
    }

    fn stores(&self, report: &mut Report) {
        for store in look::stores(self.cx, self.machine, self.settings) {
            let fact = match (store.exists, store.is_apart) {
                (true, true) => continue,
                (true, false) => "is part of root: it would be erased with it",
                (false, _) => "is not there",
            };
            let cure = super::store::how_to_make_a_store(self.machine, &store.path);
            let fact = format!("the store {} {fact}", Shown(&store.path));
            if !report.obstacles.iter().any(|known| known.cure == cure) {
                report.obstacles.push(todo(fact, cure));
            }
        }
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        let declared = |entry: &&Entry| entry.path != Path::new(CONFIGURATION);
        self.tree.entries().filter(declared)
    }

    fn anchors(&self, store: &Path) -> Result<(Anchor, Anchor), Error> {
        let open = |at: PathBuf| {
            Anchor::open(&at).map_err(|error| Error::os(format!("opening {}", Shown(&at)), error))
        };
        Ok((
            open(self.cx.root_dir.clone())?,
            open(self.cx.rooted(store))?,
        ))
    }

    fn fills(&self, report: &mut Report, facts: Option<&RootFacts>) -> anyhow::Result<()> {
        for of_user in self.tree.unresolved() {
            let fact = format!("the entries of {}: the user {}", of_user.user, of_user.why);
            report
                .obstacles
                .push(todo(fact, "add the user, or take the entries out"));
        }
        for entry in self.entries() {
            let (root, store) = self.anchors(&entry.store)?;
            let inner = self.inner(entry);
            let between = Between {
                root: &root,
                store: &store,
                inner: &inner,
            };
            let journal = Journal::read(&store)?;
            let found = between
                .look(entry, &journal, self.cx.interrupt)
                .with_context(|| format!("looking at {entry}"))?;
            match found {
                Err((fact, cure)) => report.obstacles.push(todo(fact, cure)),
                Ok(Finding::Nothing(why)) => report.left.push(Left {
                    path: entry.path.clone(),
                    why,
                }),
                // What root holds after a reset is not newer than what the store holds.
                Ok(Finding::Copy { is_anew: true, .. })
                    if facts.is_some_and(|facts| !facts.past_roots.is_empty()) =>
                {
                    let fact =
                        format!("{entry}: the store has another one, and root was reset since");
                    let cure = "what is in the store counts: `state mount` puts it in place";
                    report.obstacles.push(todo(fact, cure));
                }
                Ok(Finding::Copy { bytes, is_anew }) => report.steps.push(Step::Fill {
                    path: entry.path.clone(),
                    source: entry.source(),
                    bytes,
                    is_anew,
                }),
            }
        }
        self.space(report);
        Ok(())
    }

    /// Entries of other stores that lie inside this one: what is there is not copied twice.
    fn inner<'a>(&'a self, entry: &'a Entry) -> impl Fn(&Path) -> bool + 'a {
        |below: &Path| {
            let path = entry.path.join(below);
            let holder = self.tree.around(&path);
            !below.as_os_str().is_empty() && holder.is_some_and(|holder| holder.path != entry.path)
        }
    }

    /// Refuses what cannot fit, unless the filesystem shares content between root and the store.
    fn space(&self, report: &mut Report) {
        for store in look::stores(self.cx, self.machine, self.settings) {
            let of_store = |step: &Step| match step {
                Step::Fill { source, bytes, .. } if source.starts_with(&store.path) => *bytes,
                _ => 0,
            };
            let needed: u64 = report.steps.iter().map(of_store).sum();
            let shares = match (self.machine.root(), &store.mount) {
                (Some(root), Some(mount)) => {
                    root.filesystem == "btrfs" && root.device == mount.device
                }
                _ => false,
            };
            if let Some(space) = &store.space
                && space.free_bytes < needed
                && !shares
            {
                report.obstacles.push(todo(
                    format!(
                        "the entries take {needed} bytes, and the store {} has {} free",
                        Shown(&store.path),
                        space.free_bytes
                    ),
                    "make the store larger, or declare less",
                ));
            }
        }
    }

    /// What comes after the copies: the boot, and blank last.
    fn boot(&self, report: &mut Report, facts: &RootFacts) {
        if self.machine.distribution.is_nixos {
            report.todo.push(todo(
                "NixOS makes its initrd and its units itself",
                "import contrib/nixos/module.nix, and take blank when root is as it shall be at every boot",
            ));
            return;
        }
        let dry = Context {
            root_dir: self.cx.root_dir.clone(),
            config_file: self.cx.config_file.clone(),
            boot_id: self.cx.boot_id.clone(),
            dry_run: true,
            ..*self.cx
        };
        match install_boot::install(&dry, self.maker, self.settings, self.tree) {
            Err(error) => {
                let failure = error.downcast_ref::<Failure>();
                let cure = failure.and_then(|failure| failure.cure.clone());
                let cure = cure.unwrap_or_else(|| "`state init --install-boot` says more".into());
                let fact = crate::failure::message(&error);
                report.obstacles.push(todo(fact, cure));
            }
            Ok(boot) => {
                let files = boot.files.iter().filter(|file| file.is_new).count();
                // Without blank nobody knows whether the initrds were made after the files.
                if files > 0 || facts.blank.is_none() {
                    let maker = boot.maker;
                    report.steps.push(Step::InstallBoot { maker, files });
                }
                report.todo.extend(boot.todo);
            }
        }
        // What is in blank is what the machine boots into: it is taken after everything else.
        if facts.blank.is_none() || !report.steps.is_empty() {
            let root = facts.root.clone();
            report.steps.push(Step::TakeBlank { root });
        }
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
            Step::Fill { path, .. } => {
                let entry = self.tree.entry(path).expect("it was planned for an entry");
                let (root, store) = self.anchors(&entry.store)?;
                let inner = self.inner(entry);
                let between = Between {
                    root: &root,
                    store: &store,
                    inner: &inner,
                };
                let mut journal = Journal::read(&store)?;
                let moved = between.fill(entry, &mut journal, self.cx.interrupt)?;
                report.moved.extend(moved);
            }
            Step::InstallBoot { maker, .. } => {
                install_boot::install(&configured(), *maker, self.settings, self.tree)?;
            }
            Step::TakeBlank { .. } => {
                blank::take(&configured())?;
            }
        }
        Ok(())
    }
}
