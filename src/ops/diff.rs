//! `state diff`: what the next reset will throw away; `state roots diff`: what one threw away.

use super::reset::no_root;
use super::{learn, mount};
use crate::context::Context;
use crate::diff::learned::Learned;
use crate::diff::{self, Aspect, Change, Comparison, Filter, What};
use crate::failure::Failure;
use crate::progress::{Progress, Total, Unit, Watch};
use crate::settings::Settings;
use crate::wanted::Wanted;
use crate::{config, engine, kept, paths, view};
use anyhow::Context as _;
use serde::Serialize;
use state_api::{Changes, Error, PastRootName, Refusal, RootBackend, RootFacts, Source, View};
use state_linux::mountinfo;
use state_linux::stat::Kind;
use std::collections::BTreeSet;
use std::iter;
use std::path::{Path, PathBuf};

/// What is asked of it.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only this path on the machine and what is below it.
    pub path: Option<PathBuf>,
    /// What is quiet too.
    pub all: bool,
}

/// What differs from blank.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The past root that was looked at; `None`: the present root.
    pub past_root: Option<PastRootName>,
    /// The blank that it was compared with; `None`: root is in memory, and all that is in it is
    /// new.
    pub blank: Option<String>,
    /// The differences, in component-wise byte order of their paths.
    pub changes: Vec<Change>,
    /// What they amount to.
    pub totals: Totals,
    /// What could not be compared.
    pub unreadable: Vec<String>,
}

/// What differences amount to, those that are quiet not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Things that are new.
    pub created: usize,
    /// Things that are not what they were.
    pub changed: usize,
    /// Things that are gone.
    pub deleted: usize,
    /// Things that had another path.
    pub renamed: usize,
    /// The sizes of new and rewritten files.
    pub bytes: u64,
    /// Differences that are quiet.
    pub quiet: usize,
}

/// Compares the present root with blank.
///
/// # Errors
/// There is no root or no blank, or it cannot be read; nothing is at the path that was asked for;
/// the run was interrupted.
pub fn run(cx: &Context, options: &Options, progress: &dyn Progress) -> anyhow::Result<Report> {
    let settings = config::load(cx)?;
    let mut root = open(cx, &settings)?;
    engine::on_root!(&mut root, on => report(cx, on, &settings, None, options, progress))
}

/// Compares a past root with blank.
///
/// # Errors
/// As [`run`]; there is no such past root.
pub fn run_past(
    cx: &Context,
    wanted: &Wanted,
    options: &Options,
    progress: &dyn Progress,
) -> anyhow::Result<Report> {
    let settings = config::load(cx)?;
    let mut root = open(cx, &settings)?;
    engine::on_root!(&mut root, on => report(cx, on, &settings, Some(wanted), options, progress))
}

fn open(cx: &Context, settings: &Settings) -> anyhow::Result<engine::Root> {
    let root = settings.root.as_ref().ok_or_else(no_root)?;
    Ok(engine::root(cx, root, &settings.persist)?)
}

fn report<B: RootBackend>(
    cx: &Context,
    on: &B,
    settings: &Settings,
    past: Option<&Wanted>,
    options: &Options,
    progress: &dyn Progress,
) -> anyhow::Result<Report> {
    let survey = on.survey().context("looking at root")?;
    let facts = on.facts(&survey);
    let name = |root: &state_api::PastRoot| root.name.clone();
    let past_root = past
        .map(|wanted| {
            wanted
                .find(&facts.past_roots, "past root", |root| root.name.as_str())
                .map(name)
        })
        .transpose()?;
    let new = match &past_root {
        Some(name) => on.open(&Source::Past(name.clone())),
        None if !facts.exists => {
            return Err(Failure::refused("root does not exist")
                .hint("`state reset` makes it from blank")
                .into());
        }
        None => on.open_root(),
    }
    .context("opening root")?;
    let old = match on.capabilities().blank {
        true => Some(blank(on, &facts)?),
        false => None,
    };
    let mut filter = filter(cx, settings)?;
    if past.is_none() {
        filter = filter.with_kept(kept::read(cx));
    }
    let places = match &old {
        // Whatever keeps the engine from telling, a walk finds out.
        Some(_) => {
            let new = past_root.clone().map(Source::Past);
            on.changes(&Source::Blank, new.as_ref()).unwrap_or_default()
        }
        None => None,
    };
    let trees = Trees {
        old: old.as_ref(),
        new: &new,
        places,
        learned: learn::load(cx, settings),
    };
    // What a past root does not hold may have been as in blank.
    let is_part = past.is_some() && !on.capabilities().whole_past_roots;
    let watch = cx.watch(progress);
    let mut report = compare(watch, &trees, &filter, is_part, options)?;
    report.past_root = past_root;
    report.blank = facts.blank.map(|blank| blank.name);
    Ok(report)
}

/// What is quiet on this machine.
pub(super) fn filter(cx: &Context, settings: &Settings) -> anyhow::Result<Filter> {
    let tree = mount::tree(cx, settings)?;
    Filter::new(tree, mount_points(&cx.root_dir)?, &settings.diff.ignore)
        .context("reading [diff] ignore")
}

fn blank<B: RootBackend>(on: &B, facts: &RootFacts) -> anyhow::Result<View> {
    let opened = on.open(&Source::Blank);
    let opened = opened.map_err(|error| match error {
        Error::Missing { what } => Error::Refused(Refusal::NoBlank {
            blank: what,
            root_exists: facts.exists,
        }),
        other => other,
    });
    opened.context("opening blank")
}

/// How many inodes the filesystems of a tree hold, where they count them.
fn inodes_in_use(view: &View) -> Option<u64> {
    let volumes = iter::once(&view.dir).chain(view.grafts.iter().map(|graft| &graft.dir));
    let held = volumes.map(|dir| {
        let told = rustix::fs::fstatvfs(dir).ok()?;
        (told.f_files > 0).then(|| told.f_files.saturating_sub(told.f_ffree))
    });
    held.sum()
}

/// Where anything is mounted below the root directory, as paths on the machine.
fn mount_points(root_dir: &Path) -> anyhow::Result<BTreeSet<PathBuf>> {
    let mounts = mountinfo::read().context("reading the list of mounts")?;
    let below = |at: PathBuf| Some(Path::new("/").join(at.strip_prefix(root_dir).ok()?));
    Ok(mounts
        .into_iter()
        .filter_map(|mount| below(mount.at))
        .collect())
}

/// What is compared.
struct Trees<'v> {
    /// Blank; `None`: everything is new.
    old: Option<&'v View>,
    new: &'v View,
    /// Where they may differ, if the engine can tell.
    places: Option<Changes>,
    /// What every boot makes anew.
    learned: Learned,
}

impl Trees<'_> {
    /// About how many paths are looked at. Where not all are, that is soon done.
    fn total(&self) -> Total {
        if self.places.is_some() {
            return Total::Unknown;
        }
        let held = |view: &View| inodes_in_use(view).unwrap_or_default();
        match held(self.new).max(self.old.map_or(0, held)) {
            0 => Total::Unknown,
            most => Total::About(most),
        }
    }

    fn compare(
        &self,
        watch: Watch<'_>,
        leave_out: &dyn Fn(&Path) -> bool,
    ) -> state_api::Result<Comparison> {
        let doing = match self.old {
            Some(_) => "comparing with blank",
            None => "looking at root",
        };
        let new = self.new;
        watch.stage(doing, Unit::Items, self.total(), || {
            match (&self.places, self.old) {
                (Some(places), Some(old)) => diff::compare_at(places, old, new, leave_out, watch),
                _ => diff::compare(self.old, new, leave_out, watch),
            }
        })
    }
}

fn compare(
    watch: Watch<'_>,
    trees: &Trees<'_>,
    filter: &Filter,
    is_part: bool,
    options: &Options,
) -> anyhow::Result<Report> {
    let wanted = match &options.path {
        None => PathBuf::new(),
        Some(path) if path == Path::new("/") => PathBuf::new(),
        Some(path) => path.strip_prefix("/").unwrap_or(path).to_owned(),
    };
    let is_apart = |path: &Path| !path.starts_with(&wanted) && !wanted.starts_with(path);
    let leave_out = |path: &Path| is_apart(path) || filter.leaves_out(path);
    let mut found = trees.compare(watch, &leave_out).context("comparing")?;
    let made_anew = learn::made_anew(&trees.learned, &found.changes, trees.new);
    filter.judge(&mut found.changes, &made_anew);
    found
        .changes
        .retain(|change| change.path.starts_with(&wanted));
    if is_part {
        found.changes.retain(|change| change.what != What::Deleted);
    }
    if found.changes.is_empty() {
        there_must_be_something(&wanted, trees)?;
    }
    let totals = totals(&found.changes);
    if !options.all {
        found.changes.retain(|change| change.quiet.is_none());
    }
    Ok(Report {
        past_root: None,
        blank: None,
        changes: found.changes,
        totals,
        unreadable: found.unreadable.iter().map(ToString::to_string).collect(),
    })
}

/// A misspelt path must not look like one that did not change.
fn there_must_be_something(path: &Path, trees: &Trees<'_>) -> Result<(), Error> {
    use crate::anchor::Found;
    let is_there = |tree: &View| matches!(view::find(tree, path), Ok(Found::Here(..)));
    if is_there(trees.new) || trees.old.is_some_and(is_there) {
        return Ok(());
    }
    let what = paths::Shown(&Path::new("/").join(path)).to_string();
    Err(Error::Missing { what })
}

fn totals(changes: &[Change]) -> Totals {
    let mut totals = Totals::default();
    for change in changes {
        if change.quiet.is_some() {
            totals.quiet += 1;
            continue;
        }
        let is_new_content = match &change.what {
            What::Created => {
                totals.created += 1;
                true
            }
            What::Changed { aspects } => {
                totals.changed += 1;
                aspects
                    .iter()
                    .any(|aspect| matches!(aspect, Aspect::Content | Aspect::Kind))
            }
            What::Deleted => {
                totals.deleted += 1;
                false
            }
            What::Renamed { .. } => {
                totals.renamed += 1;
                false
            }
        };
        if is_new_content && change.kind == Kind::File {
            totals.bytes += change.size_bytes;
        }
    }
    totals
}
