//! Finding what no entry declares.

use crate::anchor::Anchor;
use crate::archive::select::{Choice, Selection};
use crate::context::Context;
use crate::paths::{self, Shown};
use crate::persist::PersistTree;
use crate::progress::Watch;
use chrono::{DateTime, Utc};
use globset::GlobSet;
use serde::Serialize;
use state_api::{Error, View};
use state_linux::stat::{Kind, Stat};
use state_linux::tree::Walk;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// What lies in a store and no entry declares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Orphan {
    /// The store.
    #[serde(serialize_with = "paths::serialize")]
    pub store: PathBuf,
    /// Where it is, in the store.
    #[serde(serialize_with = "paths::serialize")]
    pub source: PathBuf,
    /// Whether it is a directory.
    pub is_directory: bool,
    /// How many things it is: itself, and everything in it.
    pub entries: u64,
    /// The sizes of its files.
    pub bytes: u64,
    /// The last change of anything of it.
    pub changed: Option<DateTime<Utc>>,
}

/// What fsck(8) finds on ext4. The directory itself is the filesystem's.
const LOST_AND_FOUND: &str = "lost+found";

/// The orphans of one store, outermost only; what cannot be read is noted.
pub(super) fn orphans(
    watch: Watch<'_>,
    tree: &PersistTree,
    (store, anchor): (&Path, &Anchor),
    found: &mut Vec<Orphan>,
    notes: &mut Vec<String>,
) -> anyhow::Result<()> {
    let opening = |error| Error::os(format!("opening {}", Shown(store)), error);
    let view = View::live(anchor.directory(Path::new("")).map_err(opening)?.into());
    let selection = Selection::of(tree, store, GlobSet::empty());
    let mut walk = Walk::new(&view);
    let first = found.len();
    while let Some(entry) = walk.next() {
        if watch.interrupt.is_set() {
            return Err(Error::Interrupted.into());
        }
        watch.progress.advance(1);
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                notes.push(format!("{} in {}", error, Shown(store)));
                continue;
            }
        };
        // Of one that was found, the rest belongs to it.
        if let Some(last) = found[first..].last_mut()
            && let Ok(path) = last.source.strip_prefix(store)
            && entry.path.starts_with(path)
        {
            last.add(&entry.stat);
            continue;
        }
        let choice = match entry.path.starts_with(LOST_AND_FOUND) {
            true if entry.path.iter().count() == 1 => Choice::Lead,
            true => Choice::Orphan,
            false => selection.choose(&entry.path),
        };
        match choice {
            Choice::Lead if entry.stat.kind == Kind::Directory => {}
            Choice::Lead | Choice::Take | Choice::Leave => walk.prune(),
            Choice::Orphan => {
                let mut orphan = Orphan {
                    store: store.to_owned(),
                    source: store.join(&entry.path),
                    is_directory: entry.stat.kind == Kind::Directory,
                    entries: 0,
                    bytes: 0,
                    changed: None,
                };
                orphan.add(&entry.stat);
                found.push(orphan);
            }
        }
    }
    Ok(())
}

/// The link on the machine that leads to an orphan or into it, as a dropped entry leaves one until
/// the next boot: without the orphan its content would be gone at once.
pub(super) fn link_into(cx: &Context, orphan: &Orphan) -> Option<String> {
    let leads = |source: &Path| {
        let live = Path::new("/").join(source.strip_prefix(&orphan.store).ok()?);
        let target = fs::read_link(cx.rooted(&live)).ok()?;
        (target == source).then(|| format!("a link at {}", Shown(&live)))
    };
    if !orphan.is_directory {
        return leads(&orphan.source);
    }
    let view = View::live(File::open(cx.rooted(&orphan.source)).ok()?.into());
    let mut within = Walk::new(&view).flatten();
    within.find_map(|entry| leads(&orphan.source.join(&entry.path)))
}

impl Orphan {
    fn add(&mut self, stat: &Stat) {
        self.entries += 1;
        if stat.kind == Kind::File {
            self.bytes += stat.size;
        }
        let modified = stat.modified;
        let modified = DateTime::from_timestamp(modified.seconds, modified.nanoseconds);
        self.changed = self.changed.max(modified);
    }
}
