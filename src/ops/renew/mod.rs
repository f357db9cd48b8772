//! `state blank run`: a command runs in a writable copy of blank, the draft, which becomes the blank
//! if it succeeds.
//!
//! The command finds the machine as it will be: the stores and every entry in place, `/boot` if that
//! is a filesystem of its own. What it writes there is not in the draft, and no draft that is given
//! up takes it back: the stores are snapshotted first, and what to do is told. Never is a store rolled
//! back unasked that services are writing to.

mod boot;
mod copies;
mod guest;
mod job;
mod loader;
mod report;
mod undo;

pub use report::Report;
pub use undo::{Undo, undo};

use crate::anchor::Anchor;
use crate::context::Context;
use crate::failure::{Failure, message};
use crate::machine::Machine;
use crate::ops::act;
use crate::ops::mount;
use crate::ops::reset::no_root;
use crate::ops::snapshot::{self, Created};
use crate::paths::Shown;
use crate::persist::Blank as BlankTree;
use crate::settings::{Class, Root, Settings};
use crate::{config, engine};
use anyhow::Context as _;
use job::{Job, Worked};
use state_api::{Never, Renewal, RootBackend, Source};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// What is asked for.
#[allow(missing_debug_implementations)] // a function has nothing to show
pub struct Options<'a> {
    /// The command and its arguments.
    pub command: Vec<OsString>,
    /// Go on where a store cannot be snapshotted.
    pub without_snapshot: bool,
    /// Standard output is for the report.
    pub is_aside: bool,
    /// Whether the draft becomes the blank, by the status that the command ended with.
    pub accept: &'a mut (dyn FnMut(u8) -> anyhow::Result<bool> + Send),
}

/// Runs a command in a copy of blank.
///
/// # Errors
/// It was refused, or failed or was interrupted: blank is what it was. A command that fails is a
/// report, not an error.
pub fn run(cx: &Context, mut options: Options<'_>) -> anyhow::Result<Report> {
    let settings = config::load(cx)?;
    let root = settings.root.as_ref().ok_or_else(no_root)?;
    let _lock = (!cx.dry_run).then(|| cx.lock()).transpose()?;
    let mut engine = engine::root(cx, root, &settings.persist)?;
    engine::on_root!(&mut engine, on => Renewing { cx, settings: &settings, on }.run(root, &mut options))
}

const WITHOUT_OVERLAY: &str = "what is installed is the blank: boot once without the overlay \
     (`rd.systemd.mask=state-reset.service rw` on the kernel command line) and upgrade it";

/// Refuses an engine whose blank cannot be renewed so, with what can be done there.
fn refuse_unless_able<B: RootBackend>(on: &B, root: &Root) -> anyhow::Result<()> {
    if on.capabilities().renews_blank {
        return Ok(());
    }
    let failure = Failure::refused(format!(
        "a blank on {} cannot be renewed in a copy",
        B::NAME
    ));
    Err(match root {
        Root::Overlay { .. } => failure.hint(WITHOUT_OVERLAY),
        Root::Tmpfs { .. } => failure.hint("change the tree that root is filled from"),
        Root::Btrfs { .. } | Root::Zfs { .. } => failure.hint(
            "restart, run the command on the fresh root before anything else, then `state blank take`",
        ),
    }
    .into())
}

/// How `command` is run so that its work lasts, on a machine with a blank.
pub(super) fn lasting(root: &Root, command: &str) -> String {
    match root {
        Root::Btrfs { .. } => {
            format!("`state blank run -- {command}` does it in blank, where it lasts")
        }
        Root::Zfs { .. } | Root::Tmpfs { .. } => format!(
            "restart, run `{command}` on the fresh root before anything else, then `state blank take`"
        ),
        Root::Overlay { .. } => format!(
            "boot once without the overlay (`rd.systemd.mask=state-reset.service rw` on the kernel command line) \
             and run `{command}` there"
        ),
    }
}

/// The cure for a blank that lacks what was installed into the running root.
pub(crate) fn catch_up(root: &Root) -> &'static str {
    match root {
        Root::Btrfs { .. } => {
            "upgrade blank as root was (`state blank run -- apt-get -y upgrade`, or what your \
             distribution has), or make root as it is the blank (`state blank take`)"
        }
        Root::Zfs { .. } => {
            "make root as it is the blank (`state blank take`), or have the boot loader start a \
             kernel that blank has modules for"
        }
        Root::Overlay { .. } => WITHOUT_OVERLAY,
        Root::Tmpfs { .. } => {
            "make root as it is the blank (`state blank take`) once its modules are installed, or \
             have the boot loader start a kernel that blank has modules for"
        }
    }
}

struct Renewing<'a, B> {
    cx: &'a Context<'a>,
    settings: &'a Settings,
    on: &'a mut B,
}

impl<B: RootBackend> Renewing<'_, B> {
    fn run(mut self, root: &Root, options: &mut Options<'_>) -> anyhow::Result<Report> {
        let cx = self.cx;
        refuse_unless_able(self.on, root)?;
        let machine = Machine::look(cx).context("looking at the machine")?;
        let shared = guest::filesystems(&machine, self.settings)?;
        if !options.without_snapshot {
            self.refuse_without_snapshots()?;
        }
        let survey = self.on.survey().context("looking at root")?;
        let facts = self.on.facts(&survey);
        let plan = self
            .on
            .plan_renewal(&survey, Renewal::Begin)
            .context("making a draft of blank")?;
        let text = |word: &OsString| word.to_string_lossy().into_owned();
        let mut report = Report {
            executed: !cx.dry_run,
            root: facts.root,
            command: options.command.iter().map(text).collect(),
            snapshots: Vec::new(),
            shared,
            begin: act::planned(&plan),
            status: None,
            renewed: false,
            end: Vec::new(),
            blank: facts.blank,
            previous: facts.previous_blank,
            saved: Vec::new(),
            changed: Vec::new(),
            unchanged: Vec::new(),
            notes: Vec::new(),
        };
        if cx.dry_run {
            report.snapshots = self.snapshots()?;
            return Ok(report);
        }
        self.save_copies()?;
        report.snapshots = self.snapshots()?;
        let (begun, ended) = act::carry_out(self.on, &survey, &plan, cx.interrupt);
        ended.context("making a draft of blank")?;
        report.begin = begun;
        let worked = self
            .on
            .mount_draft()
            .context("mounting the draft")
            .and_then(|draft| self.work(draft, &report.shared, &machine, options));
        let is_accepted = worked.as_ref().is_ok_and(|worked| worked.accepted);
        let ended = self.finish(is_accepted, &mut report);
        if !is_accepted {
            report.changed = self.changed(&report.snapshots);
            self.forget(&mut report);
            report.notes.extend(self.left_in_boot(&machine));
        }
        let worked = worked.map_err(|error| match report.tell_stores() {
            Some(told) => error.context(told),
            None => error,
        })?;
        report.status = Some(worked.status);
        report.renewed = is_accepted;
        report.saved = worked.saved;
        match ended {
            Err(error) if is_accepted => return Err(error),
            // `state roots gc` deletes it, and so does the next run.
            Err(error) => report
                .notes
                .push(format!("the draft is left: {}", message(&error))),
            Ok(()) => {}
        }
        if is_accepted {
            self.follow(&machine, &report.saved)?;
        }
        Ok(report)
    }

    /// The stores that are snapshotted.
    fn stores(&self) -> impl Iterator<Item = &PathBuf> {
        let stores = self.settings.persist.iter();
        stores
            .filter(|(_, store)| store.class != Class::Cache)
            .map(|(path, _)| path)
    }

    fn refuse_without_snapshots(&self) -> anyhow::Result<()> {
        for path in self.stores() {
            let opening = || format!("opening the store {}", Shown(path));
            let store = engine::store(&self.cx.rooted(path)).with_context(opening)?;
            if !store.capabilities().snapshots {
                let fact = format!("the store {} cannot be snapshotted", Shown(path));
                return Err(Failure::refused(fact)
                    .hint("what the command writes there cannot be taken back: `state backup` first, then `--no-snapshot`")
                    .into());
            }
        }
        Ok(())
    }

    fn snapshots(&self) -> anyhow::Result<Vec<Created>> {
        let is_able = |path: &PathBuf| {
            engine::store(&self.cx.rooted(path)).is_ok_and(|store| store.capabilities().snapshots)
        };
        if !self.stores().any(is_able) {
            return Ok(Vec::new());
        }
        let created = snapshot::create_now(self.cx, None, None);
        Ok(created.context("taking snapshots of the stores")?.stores)
    }

    /// What the machine has and has not saved yet would not be in the draft.
    fn save_copies(&self) -> anyhow::Result<()> {
        if self.cx.root_dir != Path::new("/") {
            return Ok(());
        }
        let tree = mount::tree(self.cx, self.settings)?;
        let blank = BlankTree::new(|| mount::blank(self.cx, self.settings));
        self.machine(&tree, &blank).save()?;
        Ok(())
    }

    fn machine<'m>(
        &'m self,
        tree: &'m crate::persist::PersistTree,
        blank: &'m BlankTree<'m>,
    ) -> copies::Machine<'m> {
        copies::Machine {
            cx: self.cx,
            settings: self.settings,
            tree,
            blank,
        }
    }

    /// Runs the command in the draft, on a thread whose mounts nobody else sees.
    fn work(
        &self,
        draft: OwnedFd,
        shared: &[PathBuf],
        machine: &Machine,
        options: &mut Options<'_>,
    ) -> anyhow::Result<Worked> {
        let (cx, settings) = (self.cx, self.settings);
        let job = Job {
            cx,
            settings,
            machine,
        };
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || job.run(draft, shared, options));
            thread.join().expect("it does not panic")
        })
    }

    fn finish(&mut self, is_accepted: bool, report: &mut Report) -> anyhow::Result<()> {
        let (what, doing) = match is_accepted {
            true => (Renewal::Adopt, "making the draft the blank"),
            false => (Renewal::GiveUp, "deleting the draft"),
        };
        let survey = self.on.survey().context("looking at root")?;
        let plan = self.on.plan_renewal(&survey, what).context(doing)?;
        // Whoever interrupts it now is too late, or wants just this.
        let (acts, ended) = act::carry_out(self.on, &survey, &plan, &Never);
        report.end = acts;
        ended.context(doing)?;
        let facts = self.on.facts(&self.on.survey().context("looking at root")?);
        (report.blank, report.previous) = (facts.blank, facts.previous_blank);
        Ok(())
    }

    /// What the running machine has to have of a renewal at once.
    fn follow(&self, machine: &Machine, saved: &[PathBuf]) -> anyhow::Result<()> {
        if self.cx.root_dir == Path::new("/") && !saved.is_empty() {
            let tree = mount::tree(self.cx, self.settings)?;
            let blank = BlankTree::new(|| mount::blank(self.cx, self.settings));
            copies::follow(self.machine(&tree, &blank), saved)?;
        }
        let blank = self.on.open(&Source::Blank)?;
        boot::follow(self.cx, machine, &blank).map_err(boot::unfollowed)?;
        Ok(())
    }

    /// The stores that are not what their snapshots are. Of one that cannot tell, it is assumed.
    fn changed(&self, snapshots: &[Created]) -> Vec<PathBuf> {
        let is_so = |created: &&Created| {
            let store = engine::store(&self.cx.rooted(&created.store));
            let now = store.and_then(|store| store.survey());
            let was = created.snapshot.as_ref().and_then(|s| s.identity.clone());
            was.is_none() || !now.is_ok_and(|now| now.identity == was)
        };
        let changed = snapshots.iter().filter(is_so);
        changed.map(|created| created.store.clone()).collect()
    }

    /// Deletes the snapshots that are what their stores are.
    fn forget(&self, report: &mut Report) {
        let (changed, same) = std::mem::take(&mut report.snapshots)
            .into_iter()
            .partition(|created: &Created| report.changed.contains(&created.store));
        report.snapshots = changed;
        report.unchanged = same.iter().map(|created| created.store.clone()).collect();
        for created in same {
            let Some(snapshot) = &created.snapshot else {
                continue;
            };
            let store = engine::store(&self.cx.rooted(&created.store));
            if let Err(error) = store.and_then(|mut store| store.delete(&snapshot.name)) {
                let (name, store) = (&snapshot.name, Shown(&created.store));
                let note = format!("the snapshot {name} of {store} is left: {error}");
                report.notes.push(note);
            }
        }
    }

    /// What a command that failed has left in a `/boot` of its own.
    fn left_in_boot(&self, machine: &Machine) -> Option<String> {
        if !boot::is_apart(machine) {
            return None;
        }
        let blank = self.on.open(&Source::Blank).ok()?;
        let root = Anchor::from(blank.dir.try_clone().ok()?);
        let here = Anchor::open(&self.cx.root_dir).ok()?;
        let stranger = boot::stranger(machine, &here, &root, None).ok()??;
        Some(format!(
            "/boot starts {} now, and blank has no modules for it: run the command again until it succeeds, or \
             take that kernel out of /boot before the next boot",
            stranger.kernel
        ))
    }
}
