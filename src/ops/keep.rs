//! `state keep PATH`: moves data into the store, declares it, and puts it in place, now.
//!
//! What was there stays where it was, below the mount, until the next reset: no step takes it
//! away. Each step is whole or not at all, and a run after an interrupted one does what is left.

mod copy;
mod declare;
mod look;
mod step;

pub(super) use declare::{plan_ignoring, plan_removal};
pub use step::Step;

use super::mount::{self, Status};
use crate::config::{self, Config};
use crate::context::Context;
use crate::failure::{Class, Failure};
use crate::kept;
use crate::paths::{self, Shown};
use crate::persist::{self, Anchors, Entry, EntryKind, PersistTree};
use crate::progress::Progress;
use crate::settings::{self, Method};
use anyhow::Context as _;
use declare::Declaration;
use look::Look;
use serde::Serialize;
use state_api::Error;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What is to be kept.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where it is on the machine: absolute and normalised.
    pub path: PathBuf,
    /// Which store is to hold it; by default the first that is archived.
    pub store: Option<PathBuf>,
    /// How it is to be put in place; by default as is right for what it is.
    pub method: Option<Method>,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Whether anything was done, or only planned.
    pub executed: bool,
    /// Where it is on the machine.
    #[serde(serialize_with = "paths::serialize")]
    pub path: PathBuf,
    /// Where it is in its store.
    #[serde(serialize_with = "paths::serialize")]
    pub source: PathBuf,
    /// Whether nothing was to be done: an entry keeps it already.
    pub was_kept: bool,
    /// What was done, or would be.
    pub steps: Vec<Step>,
    /// What was copied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copied: Option<crate::copy::Copied>,
    /// What somebody should know.
    pub notes: Vec<String>,
}

/// Keeps it.
///
/// # Errors
/// It was refused, or a step failed. What is at the path is as it was.
pub fn run(cx: &Context, options: &Options, progress: &dyn Progress) -> anyhow::Result<Report> {
    let doing = || format!("keeping {}", Shown(&options.path));
    let _lock = (!cx.dry_run).then(|| cx.lock()).transpose()?;
    let machine = Machine::look(cx, progress)?;
    let plan = machine.plan(cx, options).with_context(doing)?;
    machine.carry_out(cx, plan).with_context(doing)
}

/// The machine, as it is declared.
struct Machine<'a> {
    config: Config,
    tree: PersistTree,
    anchors: Anchors,
    progress: &'a dyn Progress,
}

/// What is to be done about one path.
struct Plan {
    path: PathBuf,
    source: PathBuf,
    steps: Vec<Step>,
    /// How much there is to be copied.
    size: copy::Size,
    /// The configuration as it will be.
    declared: Declared,
    notes: Vec<String>,
}

/// Whether the entry is declared.
enum Declared {
    Already,
    With(Box<Declaration>),
}

impl<'a> Machine<'a> {
    fn look(cx: &Context, progress: &'a dyn Progress) -> anyhow::Result<Self> {
        let config = config::read(cx)?;
        let tree = mount::tree(cx, &config.settings)?;
        let erases = config.settings.root.is_some();
        let anchors = Anchors::open(&cx.root_dir, &tree, erases, BTreeMap::new())?;
        Ok(Self {
            config,
            tree,
            anchors,
            progress,
        })
    }

    fn plan(&self, cx: &Context, options: &Options) -> anyhow::Result<Plan> {
        match (
            self.tree.entry(&options.path),
            self.tree.around(&options.path),
        ) {
            (Some(entry), _) => self.plan_declared(cx, entry),
            (None, Some(outer)) if options.store.as_ref().is_none_or(|s| *s == outer.store) => {
                Ok(Plan {
                    path: options.path.clone(),
                    source: persist::below(&outer.store, &options.path),
                    steps: Vec::new(),
                    size: copy::Size::default(),
                    declared: Declared::Already,
                    notes: vec![format!("{outer} is kept, and it lies inside")],
                })
            }
            (None, _) => self.plan_new(cx, options),
        }
    }

    /// An entry that is not in place, or whose file a program has replaced: what stands at its
    /// path is what somebody wants to keep.
    fn plan_declared(&self, cx: &Context, entry: &Entry) -> anyhow::Result<Plan> {
        let source = entry.source();
        let mut plan = Plan {
            path: entry.path.clone(),
            source: source.clone(),
            steps: Vec::new(),
            size: copy::Size::default(),
            declared: Declared::Already,
            notes: Vec::new(),
        };
        let dry = cx.planning();
        let place = Step::Place {
            path: entry.path.clone(),
            source: source.clone(),
            method: entry.method,
        };
        match self.place(&dry, &self.config.settings, &self.tree, &entry.path)? {
            Status::InPlace | Status::Done { .. } => {}
            Status::Planned { .. } => plan.steps.push(place),
            Status::LeftOut { why } => return Err(Failure::refused(why).into()),
            Status::Failed { error, hint } => {
                let refused = || match &hint {
                    Some(hint) => Failure::refused(&error).hint(hint),
                    None => Failure::refused(&error),
                };
                let looked = Look::at(cx, &self.anchors, &entry.path).map_err(|_| refused())?;
                let is_file = looked.kind == EntryKind::File;
                if looked.kind != entry.kind || !self.can_take(&source, is_file)? {
                    return Err(refused().into());
                }
                looked.refuse_writers(cx)?;
                self.plan_copy(cx, &mut plan, &looked)?;
                plan.steps.push(place);
            }
        }
        Ok(plan)
    }

    /// Whether what is at `source` may make room: one file, or nothing.
    fn can_take(&self, source: &Path, is_file: bool) -> anyhow::Result<bool> {
        Ok(match look::stored(&self.anchors, source)? {
            None => true,
            Some(stored) if is_file => stored.kind == EntryKind::File,
            Some(stored) => stored.is_empty,
        })
    }

    fn plan_new(&self, cx: &Context, options: &Options) -> anyhow::Result<Plan> {
        let path = &options.path;
        let inside = (self.tree.entries()).filter(|entry| entry.path.starts_with(path));
        let inside: Vec<String> = inside.map(ToString::to_string).collect();
        if let Some(first) = inside.first() {
            // The configuration is an entry that nobody declares.
            let declared = |at: &&String| Path::new(at) != Path::new(persist::CONFIGURATION);
            let droppable: Vec<&str> = (inside.iter().filter(declared))
                .map(String::as_str)
                .collect();
            let rest = "keep what else there is by its own path";
            return Err(
                Failure::refused(format!("{first} lies inside it and is kept by itself"))
                    .hint(match droppable.join(" ") {
                        none if none.is_empty() => rest.to_owned(),
                        these => format!("{rest}, or first `state drop {these}` and restart"),
                    })
                    .into(),
            );
        }
        let stores = self.tree.stores().map(|(store, _)| store);
        for store in stores.filter(|store| options.store.as_deref().is_none_or(|of| of == *store)) {
            if let Some(refused) = look::dropped(&self.anchors, store, path)? {
                return Err(refused.into());
            }
        }
        let looked = Look::at(cx, &self.anchors, path)?;
        let store = self.store(options.store.as_deref())?;
        let usual = match persist::is_replaced_by_programs(path) {
            true => Method::Copy,
            false => Method::Bind,
        };
        let method = options.method.unwrap_or(usual);
        if looked.kind == EntryKind::Directory && method != Method::Bind {
            return Err(Failure::usage("a directory is kept by a mount")
                .hint("leave `--method` out; it is for files")
                .into());
        }
        // What is merged lies in the store that holds the configuration itself.
        let home = self.tree.holder(Path::new(persist::CONFIGURATION));
        let home = home.map_or(store.as_path(), |entry| entry.store.as_path());
        let declaration = declare::plan(cx, &self.config, (&store, home), (&looked, method))?;
        looked.refuse_writers(cx)?;
        let source = persist::below(&store, path);
        let mut plan = Plan {
            path: path.clone(),
            source: source.clone(),
            steps: Vec::new(),
            size: copy::Size::default(),
            notes: looked.notes(cx, &declaration),
            declared: Declared::Already,
        };
        self.plan_copy(cx, &mut plan, &looked)?;
        plan.steps.push(Step::Declare {
            path: path.clone(),
            file: declaration.file.clone(),
        });
        let tree = mount::tree(cx, &declaration.config.settings)?;
        let entry = tree.entry(path).ok_or_else(|| Error::Missing {
            what: format!("the entry {}", Shown(path)),
        })?;
        plan.steps.push(Step::Place {
            path: path.clone(),
            source,
            method: entry.method,
        });
        plan.declared = Declared::With(Box::new(declaration));
        Ok(plan)
    }

    /// The store that is meant, which must be there.
    fn store(&self, named: Option<&Path>) -> anyhow::Result<PathBuf> {
        let mut stores = self.tree.stores();
        let found = match named {
            Some(named) => stores.find(|(store, _)| *store == named),
            None => (stores.find(|(_, class)| *class == settings::Class::Backup))
                .or_else(|| self.tree.stores().next()),
        };
        let Some((store, _)) = found else {
            let known: Vec<String> = self
                .tree
                .stores()
                .map(|(store, _)| Shown(store).to_string())
                .collect();
            let fact = match named {
                Some(named) => format!("{} is not a store", Shown(named)),
                None => "the configuration has no store".to_owned(),
            };
            let hint = match known.is_empty() {
                true => "declare one: [persist.\"/persist\"]".to_owned(),
                false => format!("the stores are {}", known.join(", ")),
            };
            return Err(Failure::usage(fact).hint(hint).into());
        };
        if let Some(why) = self.anchors.why_missing(store) {
            let fact = format!("the store {} cannot be used: {why}", Shown(store));
            return Err(Failure::refused(fact).hint("mount it first").into());
        }
        Ok(store.to_owned())
    }

    /// Plans the bringing of what is at the path into the store, unless the very same is there.
    fn plan_copy(&self, cx: &Context, plan: &mut Plan, looked: &Look) -> anyhow::Result<()> {
        let (path, source) = (plan.path.clone(), plan.source.clone());
        plan.size = looked.size;
        let is_same = || {
            let watch = cx.watch(self.progress);
            copy::is_same(&self.anchors, (&path, &source), looked.size, watch)
        };
        match look::stored(&self.anchors, &source)? {
            None => {}
            Some(_) if is_same()? => return Ok(()),
            Some(stored) if stored.kind == EntryKind::File && looked.kind == EntryKind::File => {
                plan.steps.push(Step::Replace { path, source });
                return Ok(());
            }
            Some(_) => plan.steps.push(Step::Quarantine {
                source: source.clone(),
            }),
        }
        for parent in look::missing_parents(&self.anchors, &path, &source)? {
            plan.steps.push(Step::MakeDirectory(parent));
        }
        plan.steps.push(Step::Copy { path, source });
        Ok(())
    }

    /// Puts the one entry in place, or says what that would be.
    fn place(
        &self,
        cx: &Context,
        settings: &settings::Settings,
        tree: &PersistTree,
        path: &Path,
    ) -> anyhow::Result<Status> {
        let mut report = mount::place_one(cx, settings, tree, path)?;
        match (report.entries.pop(), report.trouble) {
            (_, Some(trouble)) => anyhow::bail!(trouble),
            (Some(entry), None) => Ok(entry.status),
            (None, None) => anyhow::bail!("{} is not declared", Shown(path)),
        }
    }

    fn carry_out(&self, cx: &Context, plan: Plan) -> anyhow::Result<Report> {
        let mut report = Report {
            executed: !cx.dry_run,
            was_kept: plan.steps.is_empty(),
            path: plan.path,
            source: plan.source,
            steps: plan.steps,
            copied: None,
            notes: plan.notes,
        };
        if cx.dry_run {
            return Ok(report);
        }
        let watch = cx.watch(self.progress);
        for step in &report.steps {
            if cx.interrupt.is_set() {
                return Err(Error::Interrupted.into());
            }
            match step {
                Step::Quarantine { source } => {
                    report
                        .notes
                        .push(copy::quarantine(cx, &self.anchors, source)?);
                }
                Step::MakeDirectory(made) => copy::make_directory(&self.anchors, made)?,
                Step::Copy { path, source } => {
                    report.copied = Some(copy::bring_in(
                        &self.anchors,
                        (path, source),
                        plan.size,
                        watch,
                    )?);
                }
                Step::Replace { path, source } => {
                    let both = (path.as_path(), source.as_path());
                    let (copied, note) = copy::replace(cx, &self.anchors, both, plan.size, watch)?;
                    report.copied = Some(copied);
                    report.notes.push(note);
                }
                Step::Declare { .. } => {
                    if let Declared::With(declaration) = &plan.declared {
                        declaration.write()?;
                    }
                }
                Step::Place { path, .. } => self.put(cx, &plan.declared, path)?,
            }
        }
        // Without the note `state diff` tells more than there is to lose, and nothing else is wrong.
        if report.copied.is_some()
            && let Err(error) = kept::note(cx, &report.path)
        {
            report.notes.push(error.to_string());
        }
        Ok(report)
    }

    fn put(&self, cx: &Context, declared: &Declared, path: &Path) -> anyhow::Result<()> {
        let (settings, tree) = match declared {
            Declared::Already => (&self.config.settings, None),
            Declared::With(declaration) => {
                let settings = &declaration.config.settings;
                (settings, Some(mount::tree(cx, settings)?))
            }
        };
        let tree = tree.as_ref().unwrap_or(&self.tree);
        match self.place(cx, settings, tree, path)? {
            Status::Failed { error, hint } => {
                let fact = format!("it is in the store and declared, but not in place: {error}");
                let hint = hint.unwrap_or_else(|| "`state mount` tries again".into());
                Err(Failure::new(Class::Partial, fact).hint(hint).into())
            }
            _ => Ok(()),
        }
    }
}
