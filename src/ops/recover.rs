//! `state roots recover`: brings something back from a past root.

use super::reset::no_root;
use crate::anchor::{Anchor, Found};
use crate::bring::bring;
use crate::context::Context;
use crate::copy::Copied;
use crate::diff;
use crate::failure::{Class, Failure};
use crate::paths::{self, Shown};
use crate::progress::{Progress, Total, Unit};
use crate::wanted::Wanted;
use crate::{config, engine, view};
use anyhow::Context as _;
use serde::Serialize;
use state_api::{Error, Never, PastRootName, RootBackend, Source, View};
use state_linux::stat::{Kind, Stat};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

/// What is asked of it.
#[derive(Debug, Clone)]
pub struct Options {
    /// The path on the machine as it was then.
    pub path: PathBuf,
    /// From which past root; `None`: the newest that holds the path.
    pub from: Option<Wanted>,
    /// Where to; `None`: where it was.
    pub to: Option<PathBuf>,
}

/// What was brought back.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Whether it was carried out (false: a dry run).
    pub executed: bool,
    /// The past root.
    pub from: PastRootName,
    /// The path in it.
    #[serde(serialize_with = "paths::serialize")]
    pub path: PathBuf,
    /// Where it is now, or would be.
    #[serde(serialize_with = "paths::serialize")]
    pub to: PathBuf,
    /// The directories that had to be made to hold it.
    #[serde(serialize_with = "paths::serialize_all")]
    pub parents: Vec<PathBuf>,
    /// What was copied; `None`: the same was there already, or it was a dry run.
    pub copied: Option<Copied>,
    /// Whether the same was there already.
    pub was_there: bool,
}

/// Brings a file or a tree back, with everything that belongs to it. What stands in its place is
/// never replaced.
///
/// # Errors
/// No past root holds the path; something else stands in its place; the copy failed or was
/// interrupted, and nothing is in its place.
pub fn run(cx: &Context, options: &Options, progress: &dyn Progress) -> anyhow::Result<Report> {
    let settings = config::load(cx)?;
    let root = settings.root.as_ref().ok_or_else(no_root)?;
    let _lock = (!cx.dry_run).then(|| cx.lock()).transpose()?;
    let mut engine = engine::root(cx, root, &settings.persist)?;
    engine::on_root!(&mut engine, on => recover(cx, on, options, progress))
        .with_context(|| format!("recovering {}", Shown(&options.path)))
}

fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

fn recover<B: RootBackend>(
    cx: &Context,
    on: &B,
    options: &Options,
    progress: &dyn Progress,
) -> anyhow::Result<Report> {
    let survey = on.survey().context("looking at root")?;
    let facts = on.facts(&survey);
    let name = |root: &state_api::PastRoot| root.name.clone();
    let candidates: Vec<_> = match &options.from {
        Some(wanted) => {
            let past = &facts.past_roots;
            vec![name(
                wanted.find(past, "past root", |root| root.name.as_str())?,
            )]
        }
        None => facts.past_roots.iter().rev().map(name).collect(),
    };
    let path = relative(&options.path);
    if path.as_os_str().is_empty() {
        return Err(
            Failure::usage("a whole past root cannot be recovered into a running one")
                .hint("boot it with `state.root=past/NAME`, or name a path in it")
                .into(),
        );
    }
    for from in candidates {
        let view = on.open_part(&Source::Past(from.clone()), path);
        let view = view.with_context(|| format!("opening past root {from}"))?;
        match view::find(&view, path).map_err(|error| looking(&options.path, error))? {
            Found::Here(..) => return bring_back(cx, &view, from, options, progress),
            Found::Missing => {}
            Found::Behind(parent, _) => {
                let parent = Path::new("/").join(parent);
                let fact = format!("{} is no directory in {from}", Shown(&parent));
                return Err(Failure::refused(fact)
                    .hint("name the path that it leads to")
                    .into());
            }
        }
    }
    let shown = Shown(&options.path);
    let fact = match &options.from {
        Some(from) => format!("past root {from} does not hold {shown}"),
        None => format!("no past root holds {shown}"),
    };
    let cure = "`state roots list` names the past roots, `state roots diff NAME` tells what was in one and not in blank";
    Err(Failure::new(Class::Failed, fact).hint(cure).into())
}

fn looking(path: &Path, error: io::Error) -> Error {
    Error::os(format!("looking at {}", Shown(path)), error)
}

fn bring_back(
    cx: &Context,
    view: &View,
    from: PastRootName,
    options: &Options,
    progress: &dyn Progress,
) -> anyhow::Result<Report> {
    let to = options.to.as_ref().unwrap_or(&options.path).clone();
    let root = Anchor::open(&cx.root_dir).map_err(|error| looking(&cx.root_dir, error))?;
    let mut report = Report {
        executed: !cx.dry_run,
        from,
        path: options.path.clone(),
        parents: Vec::new(),
        copied: None,
        was_there: false,
        to: to.clone(),
    };
    match root
        .find(relative(&to))
        .map_err(|error| looking(&to, error))?
    {
        Found::Missing => {}
        Found::Here(_, stat) => {
            if is_same(view, relative(&options.path), &root, relative(&to), &stat)? {
                report.was_there = true;
                return Ok(report);
            }
            let fact = format!("something else is at {}", Shown(&to));
            let cure = "nothing is ever replaced: choose another place with --to, or move what is \
                        there away";
            return Err(Failure::refused(fact).hint(cure).into());
        }
        Found::Behind(parent, _) => {
            let parent = Path::new("/").join(parent);
            let fact = format!("{} is no directory", Shown(&parent));
            return Err(Failure::refused(fact)
                .hint("choose another place with --to")
                .into());
        }
    }
    report.parents = missing_parents(&root, &to)?;
    if cx.dry_run {
        return Ok(report);
    }
    for parent in &report.parents {
        make_parent(view, &root, parent)?;
    }
    let (parent, name) = root
        .parent(relative(&to))
        .map_err(|error| looking(&to, error))?;
    let place = (&parent, name);
    let (path, watch) = (relative(&options.path), cx.watch(progress));
    let doing = format!("copying {}", Shown(&options.path));
    let copied = watch.stage(&doing, Unit::Bytes, Total::Unknown, || {
        bring(view, path, place, &parent, watch)
    });
    report.copied = Some(copied?);
    Ok(report)
}

/// The directories above `path` that do not exist, outermost first.
fn missing_parents(root: &Anchor, path: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut missing = Vec::new();
    for above in path.ancestors().skip(1) {
        match root
            .find(relative(above))
            .map_err(|error| looking(above, error))?
        {
            Found::Missing => missing.push(above.to_owned()),
            _ => break,
        }
    }
    missing.reverse();
    Ok(missing)
}

/// Makes a directory with the owner and mode that it had in the past root.
fn make_parent(view: &View, root: &Anchor, path: &Path) -> Result<(), Error> {
    let making = |error: io::Error| Error::os(format!("making {}", Shown(path)), error);
    let then = match view::find(view, relative(path)) {
        Ok(Found::Here(_, stat)) if stat.kind == Kind::Directory => Some(stat),
        _ => None,
    };
    let (parent, name) = root.parent(relative(path)).map_err(making)?;
    let (uid, gid, mode) = then.map_or((0, 0, 0o755), |stat| (stat.uid, stat.gid, stat.mode));
    parent
        .make_directory(name, uid, gid, mode)
        .map_err(making)?;
    Ok(())
}

/// Whether the same, with everything that belongs to it, is there already.
fn is_same(
    view: &View,
    path: &Path,
    root: &Anchor,
    to: &Path,
    there: &Stat,
) -> anyhow::Result<bool> {
    let Found::Here(_, then) = view::find(view, path)? else {
        return Ok(false);
    };
    if then.kind != there.kind {
        return Ok(false);
    }
    if then.kind == Kind::Directory {
        let old = view::subtree(view, path)?;
        let new = View::live(root.directory(to)?.into());
        return Ok(no_difference(diff::compare(
            Some(&old),
            &new,
            &|_| false,
            &Never,
        )?));
    }
    // One thing is compared as the only thing in the directory that holds it.
    let (Some(name), Some(new_name)) = (path.file_name(), to.file_name()) else {
        return Ok(false);
    };
    if name != new_name {
        return Ok(false);
    }
    let above = |path: &'_ Path| path.parent().unwrap_or(Path::new("")).to_owned();
    let old = view::subtree(view, &above(path))?;
    let new = View::live(root.directory(&above(to))?.into());
    let is_other = |path: &Path| {
        path.iter()
            .next()
            .is_some_and(|first: &OsStr| first != name)
    };
    let mut found = diff::compare(Some(&old), &new, &is_other, &Never)?;
    found
        .changes
        .retain(|change| !change.path.as_os_str().is_empty());
    Ok(no_difference(found))
}

fn no_difference(found: diff::Comparison) -> bool {
    found.unreadable.is_empty() && found.changes.is_empty()
}

#[cfg(test)]
mod tests;
