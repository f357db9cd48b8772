//! `state mount`: puts the persist tree in place.

use crate::config::{self, Fault};
use crate::context::Context;
use crate::engine;
use crate::paths;
use crate::persist::{
    self, Agreed, Anchors, Applier, Blank, Entry, Method, PersistTree, Problem, Problems, Step,
    Verdict, When,
};
use crate::settings::Settings;
use anyhow::Context as _;
use rustix::fs::CWD;
use serde::Serialize;
use state_api::{Error, Plan, Result, RootBackend as _, Source, View, execute};
use state_linux::stat::Stat;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What is asked of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options<'a> {
    /// Which entries.
    pub which: Which<'a>,
}

/// Which entries are put in place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Which<'a> {
    /// All.
    #[default]
    All,
    /// The early ones: what the initrd does.
    Early,
    /// The copied ones: what is saved while the machine runs.
    Copied,
    /// The one at this path.
    One(&'a Path),
}

impl Options<'_> {
    fn concerns(self, entry: &Entry) -> bool {
        match self.which {
            Which::All => true,
            Which::Early => entry.is_early,
            Which::Copied => entry.method == Method::Copy,
            Which::One(path) => entry.path == path,
        }
    }
}

/// What became of the persist tree.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether anything was done, or only planned.
    pub executed: bool,
    /// The entries, parents first.
    pub entries: Vec<EntryReport>,
    /// What somebody should know beside that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What went wrong beside the entries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// What became of one entry.
#[derive(Debug, Serialize)]
pub struct EntryReport {
    /// Where it is on the machine.
    #[serde(serialize_with = "paths::serialize")]
    pub path: PathBuf,
    /// Where it is in its store.
    #[serde(serialize_with = "paths::serialize")]
    pub source: PathBuf,
    /// How it is put in place.
    pub method: Method,
    /// What became of it.
    #[serde(flatten)]
    pub status: Status,
}

/// What became of one entry.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "status")]
pub enum Status {
    /// Nothing was to be done.
    InPlace,
    /// It was put in place now.
    Done {
        /// By these steps.
        steps: Vec<Step>,
    },
    /// It would be put in place.
    Planned {
        /// By these steps.
        steps: Vec<Step>,
    },
    /// It was left out, as declared or for now.
    LeftOut {
        /// Why.
        why: String,
    },
    /// It could not be put in place.
    Failed {
        /// Why.
        error: String,
        /// The cure.
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
}

impl Report {
    /// How many entries could not be put in place.
    pub fn failed(&self) -> usize {
        self.entries
            .iter()
            .filter(|entry| matches!(entry.status, Status::Failed { .. }))
            .count()
    }

    /// Whether at least one entry is in place, or would be.
    pub fn has_worked(&self) -> bool {
        self.entries.iter().any(|entry| {
            matches!(
                entry.status,
                Status::InPlace | Status::Done { .. } | Status::Planned { .. }
            )
        })
    }
}

/// Puts the persist tree in place.
///
/// # Errors
/// The configuration is wrong, another run holds the lock, or the run was interrupted. What
/// becomes of one entry is part of the report and stops no other.
pub fn run(cx: &Context, options: Options<'_>) -> anyhow::Result<Report> {
    let settings = config::load(cx)?;
    let tree = tree(cx, &settings)?;
    let lock = if cx.dry_run { None } else { Some(cx.lock()?) };
    let blank = Blank::new(|| blank(cx, &settings));
    let unfit = match lock {
        Some(_) => finish_exchanges(cx, &tree),
        None => BTreeMap::new(),
    };
    let report = place_all(cx, &settings, &tree, &blank, (options, unfit))
        .context("putting the persist tree in place")?;
    drop(lock);
    Ok(report)
}

/// What putting the persist tree in place would do. Changes nothing, and needs no lock.
///
/// # Errors
/// The declaration contradicts itself, or there is no root directory.
pub fn look(cx: &Context, settings: &Settings) -> anyhow::Result<Report> {
    let tree = tree(cx, settings)?;
    let blank = Blank::new(|| blank(cx, settings));
    Ok(place_all(
        &cx.planning(),
        settings,
        &tree,
        &blank,
        (Options::default(), BTreeMap::new()),
    )?)
}

/// Puts the entry at `path` in place, or says what that would be.
///
/// # Errors
/// As [`place_all`].
pub fn place_one(
    cx: &Context,
    settings: &Settings,
    tree: &PersistTree,
    path: &Path,
) -> Result<Report> {
    let blank = Blank::new(|| blank(cx, settings));
    let which = Which::One(path);
    place_all(
        cx,
        settings,
        tree,
        &blank,
        (Options { which }, BTreeMap::new()),
    )
}

/// The persist tree that the settings declare, on the machine below the root directory.
///
/// # Errors
/// The declaration contradicts itself ([`config::Error`]), or there is no root directory.
pub fn tree(cx: &Context, settings: &Settings) -> anyhow::Result<PersistTree> {
    let resolved = persist::load(&cx.root_dir, settings)?;
    Ok(resolved.map_err(|Problems(problems)| {
        let fault = |problem: &Problem| Fault {
            fact: problem.to_string(),
            excerpt: None,
            hint: None,
        };
        config::Error {
            faults: problems.iter().map(fault).collect(),
        }
    })?)
}

/// The blank tree, where root's engine has one and it can be read.
pub(super) fn blank(cx: &Context, settings: &Settings) -> Option<View> {
    let mut root = engine::root(cx, settings.root.as_ref()?, &settings.persist).ok()?;
    engine::on_root!(&mut root, on => match on.capabilities().blank {
        true => on.open(&Source::Blank).ok(),
        false => None,
    })
}

/// Finishes exchanges of stores that a power cut interrupted, before anything of them is in place.
/// Says of which stores that was not possible: they may hold a part of each tree.
fn finish_exchanges(cx: &Context, tree: &PersistTree) -> BTreeMap<PathBuf, String> {
    let is_mounted =
        |entry: &Entry| Stat::of(CWD, cx.rooted(&entry.path)).is_ok_and(|stat| stat.is_mount_point);
    let unused = tree.stores().map(|(store, _)| store).filter(|store| {
        !tree
            .entries()
            .any(|entry| entry.store == *store && is_mounted(entry))
    });
    let failed = unused.filter_map(|store| {
        let at = cx.rooted(store);
        if !at.is_dir() {
            return None;
        }
        let recovered = engine::store(&at).and_then(|mut store| store.recover());
        // Who may not look at the filesystem cannot have exchanged anything on it either.
        let error = recovered.err().filter(|error| !is_denied(error))?;
        Some((
            store.to_owned(),
            format!("finishing an interrupted exchange: {error}"),
        ))
    });
    failed.collect()
}

fn is_denied(error: &Error) -> bool {
    matches!(error, Error::Os { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied)
}

/// Where the table of words for file managers is, below `root_dir`: only the running machine has
/// one that lasts.
fn words_table(root_dir: &Path) -> Option<&'static Path> {
    (root_dir == Path::new("/")).then(|| Path::new(persist::utab::TABLE))
}

/// Puts the entries of `tree` in place, one after the other, parents first; none from the `unfit`
/// stores.
///
/// # Errors
/// The root directory cannot be opened, or the run was interrupted.
pub fn place_all(
    cx: &Context,
    settings: &Settings,
    tree: &PersistTree,
    blank: &Blank<'_>,
    (options, unfit): (Options<'_>, BTreeMap<PathBuf, String>),
) -> Result<Report> {
    // A root that is erased must not hold the stores: the machine would boot empty, look fine,
    // and write into what the next boot throws away.
    let anchors = Anchors::open(&cx.root_dir, tree, settings.root.is_some(), unfit)?;
    let mut placer = Placer {
        cx,
        tree,
        anchors: &anchors,
        blank,
        options,
        applier: Applier::new(&anchors, cx.interrupt, cx.now),
        agreed: Agreed::read(&cx.run_dir(), &cx.boot_id),
        has_agreed: false,
        entries: Vec::new(),
        status: BTreeMap::new(),
    };
    let mut placed = Ok(());
    for entry in tree.entries().filter(|entry| options.concerns(entry)) {
        placed = placer.place(entry);
        if placed.is_err() {
            break;
        }
    }
    let Placer {
        mut applier,
        mut entries,
        agreed,
        has_agreed,
        ..
    } = placer;
    let notes = applier.take_notes();
    let mut trouble = applier.finish().err().map(|error| error.to_string());
    // Also when the run was interrupted: what was copied must not look like what blank brought.
    if has_agreed && !cx.dry_run {
        let written = agreed.write(&cx.run_dir()).err();
        trouble = trouble.or(written.map(|error| error.to_string()));
    }
    placed?;
    if matches!(options.which, Which::All | Which::One(_)) {
        if options.which == Which::All {
            entries.extend(unknown_users(tree));
        }
        if let (Some(table), false) = (words_table(&cx.root_dir), cx.dry_run)
            && let Err(error) = persist::utab::note(table, tree.entries())
        {
            trouble.get_or_insert(error.to_string());
        }
    }
    Ok(Report {
        executed: !cx.dry_run,
        entries,
        notes,
        trouble,
    })
}

struct Placer<'a> {
    cx: &'a Context<'a>,
    tree: &'a PersistTree,
    anchors: &'a Anchors,
    blank: &'a Blank<'a>,
    options: Options<'a>,
    applier: Applier<'a>,
    agreed: Agreed,
    /// Whether that is worth writing down.
    has_agreed: bool,
    entries: Vec<EntryReport>,
    /// Where in `entries` each path is.
    status: BTreeMap<&'a Path, usize>,
}

impl<'a> Placer<'a> {
    fn place(&mut self, entry: &'a Entry) -> Result<()> {
        let status = self.status(entry)?;
        self.status.insert(&entry.path, self.entries.len());
        self.entries.push(EntryReport {
            path: entry.path.clone(),
            source: entry.source(),
            method: entry.method,
            status,
        });
        Ok(())
    }

    fn status(&mut self, entry: &Entry) -> Result<Status> {
        let failed = |error: String, hint: Option<&str>| {
            let hint = hint.map(str::to_owned);
            Ok(Status::Failed { error, hint })
        };
        if let Some(why) = self.anchors.why_missing(&entry.store) {
            let store = paths::Shown(&entry.store);
            let hint = "the store is mounted before its entries are put in place";
            return failed(
                format!("the store {store} cannot be used: {why}"),
                Some(hint),
            );
        }
        // While an entry around this one is only planned, what will be seen here is in its store.
        let mut planned = None;
        if let Some(outer) = self.tree.around(&entry.path)
            && let Some(index) = self.status.get(outer.path.as_path())
        {
            match self.entries[*index].status {
                Status::InPlace | Status::Done { .. } => {}
                Status::Planned { .. } => planned = Some(outer),
                Status::LeftOut { .. } | Status::Failed { .. } => {
                    return failed(format!("{outer}, which it lies in, is not in place"), None);
                }
            }
        }
        let at = |path: &Path| match planned {
            Some(outer) if path.starts_with(&outer.path) => persist::below(&outer.store, path),
            _ => path.to_owned(),
        };
        let mut seen = persist::survey(self.anchors, entry, &at, self.blank, self.cx.interrupt)?;
        if let Some(copies) = &mut seen.copies {
            copies.agreed = self.agreed.of(&entry.path).cloned();
            if let (Some(live), Some(stored)) = (&copies.live, &copies.stored)
                && live.digest == stored.digest
            {
                self.has_agreed |= self.agreed.note(&entry.path, &live.digest);
            }
        }
        let when = match self.options.which {
            Which::All | Which::One(_) => When::Asked,
            Which::Early => When::Early,
            Which::Copied => When::Watching,
        };
        match persist::plan(self.tree, entry, &seen, when) {
            Verdict::LeaveOut(why) => Ok(Status::LeftOut { why: why.into() }),
            Verdict::Refuse(refusal) => failed(refusal.to_string(), refusal.hint().as_deref()),
            Verdict::Do(plan) if plan.is_nothing() => Ok(Status::InPlace),
            Verdict::Do(Plan { steps }) if self.cx.dry_run => Ok(Status::Planned { steps }),
            Verdict::Do(plan) => {
                match execute(&mut self.applier, &plan, self.cx.interrupt, |_| {}) {
                    Ok(_) => {
                        for step in &plan.steps {
                            if let Step::CopyIn { digest, .. } | Step::Save { digest, .. } = step {
                                self.has_agreed |= self.agreed.note(&entry.path, digest);
                            }
                        }
                        Ok(Status::Done { steps: plan.steps })
                    }
                    Err(stopped) => match stopped.error {
                        Error::Interrupted => Err(Error::Interrupted),
                        error => failed(error.to_string(), error.hint().as_deref()),
                    },
                }
            }
        }
    }
}

/// The entries of users whom the machine does not know.
fn unknown_users(tree: &PersistTree) -> impl Iterator<Item = EntryReport> {
    tree.unresolved().iter().flat_map(|unresolved| {
        unresolved.paths.iter().map(|path| {
            let home = format!("~{}", unresolved.user);
            EntryReport {
                path: Path::new(&home).join(path),
                source: unresolved.store.clone(),
                method: Method::Bind,
                status: Status::Failed {
                    error: format!("{} {}", unresolved.user, unresolved.why),
                    hint: Some(
                        "make the user, or take the entries out; the next `state mount` puts them \
                         in place"
                            .into(),
                    ),
                },
            }
        })
    })
}
