//! What of a difference nobody needs to be told: what is kept anyway, what the system makes anew,
//! what the configuration says to ignore. Pure.

use super::change::{Change, Quiet, What};
use crate::persist::{Method, PersistTree};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde::Deserialize;
use state_linux::stat::Kind;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Well-known noise, as a data file that people can read and extend.
const NOISE: &str = include_str!("noise.toml");

/// Kernel filesystems and what is always in memory: never compared.
const NEVER: &[&str] = &["/proc", "/sys", "/dev", "/run"];

/// Links to there are made by the system's own configuration.
const MADE_BY_NIX: &[&str] = &["/nix/store", "/etc/static"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Presets {
    noise: Vec<Preset>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Preset {
    glob: String,
    #[serde(default, rename = "only-directory")]
    is_of_directory: bool,
    /// For whoever reads the file.
    #[serde(rename = "why")]
    _why: String,
}

/// Tells what is quiet.
#[derive(Debug)]
pub struct Filter {
    tree: PersistTree,
    mounts: BTreeSet<PathBuf>,
    noise: GlobSet,
    directories: GlobSet,
    ignored: GlobSet,
    kept: BTreeSet<PathBuf>,
}

impl Filter {
    /// A filter for a machine with this persist tree and these mount points, that ignores what
    /// matches these globs.
    ///
    /// # Errors
    /// A glob is none.
    pub fn new(
        tree: PersistTree,
        mut mounts: BTreeSet<PathBuf>,
        ignore: &[String],
    ) -> Result<Self, globset::Error> {
        mounts.remove(Path::new("/"));
        let presets: Presets = toml::from_str(NOISE).expect("a test reads it");
        let (directories, noise): (Vec<_>, Vec<_>) = presets
            .noise
            .into_iter()
            .partition(|preset| preset.is_of_directory);
        let globs_of = |presets: Vec<Preset>| {
            let patterns = presets.into_iter().map(|preset| preset.glob);
            globs(&patterns.collect::<Vec<_>>())
        };
        Ok(Self {
            tree,
            mounts,
            noise: globs_of(noise)?,
            directories: globs_of(directories)?,
            ignored: globs(ignore)?,
            kept: BTreeSet::new(),
        })
    }

    /// The same where these paths were copied into the store at this boot, and what stands at them
    /// below the mounts is what was copied.
    #[must_use]
    pub fn with_kept(self, kept: BTreeSet<PathBuf>) -> Self {
        Self { kept, ..self }
    }

    /// Whether a path, relative to root's top, and everything below it is never compared: kernel
    /// filesystems and the stores.
    pub fn leaves_out(&self, path: &Path) -> bool {
        let path = Path::new("/").join(path);
        NEVER.iter().any(|never| path == Path::new(never))
            || self.tree.stores().any(|(store, _)| path == store)
    }

    /// Marks the quiet among changes, which are in walking order. `made_anew` are those of which
    /// was learned that every boot makes them.
    pub fn judge(&self, changes: &mut [Change], made_anew: &BTreeSet<PathBuf>) {
        for change in changes.iter_mut() {
            let learned = made_anew.contains(&change.path).then_some(Quiet::Learned);
            change.quiet = self.quiet(change).or(learned);
        }
        self.judge_directories(changes);
    }

    fn quiet(&self, change: &Change) -> Option<Quiet> {
        let path = Path::new("/").join(&change.path);
        if self.is_of_an_entry(change, &path) || self.is_kept(&path) {
            Some(Quiet::Entry)
        } else if self.mounts.contains(&path) && is_mere_place(change) {
            Some(Quiet::Mount)
        } else if is_made_by_nix(change) {
            Some(Quiet::Declared)
        } else if matches(&self.ignored, &path) {
            Some(Quiet::Ignored)
        } else if matches(&self.noise, &path)
            || (is_new_directory(change) && self.directories.is_match(&path))
        {
            Some(Quiet::Noise)
        } else {
            None
        }
    }

    /// Whether what is there is what putting an entry in place makes, and nothing more.
    fn is_of_an_entry(&self, change: &Change, path: &Path) -> bool {
        let Some(entry) = self.tree.entry(path) else {
            return false;
        };
        match entry.method {
            // Anything but our link is a file whose content is lost.
            Method::Symlink => change.target.as_deref() == Some(&entry.source()),
            // A copy that is not saved yet is told by `state status`.
            Method::Copy | Method::MachineId => change.kind == Kind::File,
            Method::Bind => is_mere_place(change),
        }
    }

    /// Whether the store holds a copy. Not once the entry is dropped, or its mount is gone and
    /// somebody can write there again.
    fn is_kept(&self, path: &Path) -> bool {
        let kept = path.ancestors().find(|above| self.kept.contains(*above));
        kept.is_some_and(|kept| self.tree.entry(kept).is_some() && self.mounts.contains(kept))
    }

    /// A directory that is new and only leads to what is quiet is quiet.
    fn judge_directories(&self, changes: &mut [Change]) {
        // In walking order everything below a directory follows it: from the end, each path is
        // met before the directories above it.
        let mut loud: BTreeSet<PathBuf> = BTreeSet::new();
        let mut leads: BTreeSet<PathBuf> = BTreeSet::new();
        for change in changes.iter_mut().rev() {
            let path = Path::new("/").join(&change.path);
            let leads_somewhere = leads.contains(&change.path)
                || self.tree.leads_to(&path)
                || self
                    .mounts
                    .iter()
                    .any(|mount| mount != &path && mount.starts_with(&path));
            if change.quiet.is_none()
                && is_new_directory(change)
                && leads_somewhere
                && !loud.contains(&change.path)
            {
                change.quiet = Some(Quiet::Leads);
            }
            let above = change.path.ancestors().skip(1).map(Path::to_owned);
            match change.quiet {
                None => loud.extend(above),
                Some(_) => leads.extend(above),
            }
        }
    }
}

fn is_new_directory(change: &Change) -> bool {
    change.kind == Kind::Directory && change.what == What::Created
}

/// A directory, or an empty file: what a mount needs below it. What it would hide is told by
/// itself.
fn is_mere_place(change: &Change) -> bool {
    let only_dressed = |aspects: &[super::Aspect]| {
        use super::Aspect::{Content, Kind, Target};
        !aspects
            .iter()
            .any(|aspect| matches!(aspect, Content | Kind | Target))
    };
    match (&change.what, change.kind) {
        (What::Created, Kind::Directory) => true,
        (What::Created, Kind::File) => change.size_bytes == 0,
        (What::Changed { aspects }, _) => only_dressed(aspects),
        _ => false,
    }
}

fn is_made_by_nix(change: &Change) -> bool {
    let is_made = |target: &Path| MADE_BY_NIX.iter().any(|made| target.starts_with(made));
    change.what != What::Deleted && change.target.as_deref().is_some_and(is_made)
}

/// Whether a glob matches the path or a directory above it.
fn matches(globs: &GlobSet, path: &Path) -> bool {
    !globs.is_empty() && path.ancestors().any(|above| globs.is_match(above))
}

fn globs(patterns: &[String]) -> Result<GlobSet, globset::Error> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(GlobBuilder::new(pattern).literal_separator(true).build()?);
    }
    set.build()
}

#[cfg(test)]
mod tests;
