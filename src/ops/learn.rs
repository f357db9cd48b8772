//! Learning what every boot makes anew, from the past roots that are still there. Done along with
//! their collection after each boot, and kept in a store: root forgets.

use super::{diff as differences, look};
use crate::anchor::{self, Anchor};
use crate::context::Context;
use crate::diff::learned::{self, Learned, Observation};
use crate::diff::{self, Change};
use crate::machine::Machine;
use crate::settings::{Class, Settings};
use anyhow::Context as _;
use rustix::fs::fsync;
use state_api::{RootBackend, Source, View};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Where it is kept in a store.
const DIRECTORY: &str = ".state";
const FILE: &str = "learned.json";
/// No file of ours is bigger.
const FILE_BYTES: u64 = 16 << 20;

/// What was learned; nothing where nothing can be read.
pub(super) fn load(cx: &Context, settings: &Settings) -> Learned {
    let read = |store: &Path| -> io::Result<Vec<u8>> {
        let store = Anchor::open(&cx.rooted(store))?;
        let file = File::from(store.read(&Path::new(DIRECTORY).join(FILE))?);
        let mut text = Vec::new();
        file.take(FILE_BYTES).read_to_end(&mut text)?;
        Ok(text)
    };
    let mut found = settings.persist.keys().filter_map(|store| read(store).ok());
    found
        .next()
        .map_or_else(Learned::default, |text| Learned::read(&text))
}

/// Which of these changes every boot makes.
pub(super) fn made_anew(learned: &Learned, changes: &[Change], new: &View) -> BTreeSet<PathBuf> {
    let paths = learned.paths();
    let candidates = changes.iter().filter(|c| paths.contains(c.path.as_path()));
    let now = diff::fingerprints(candidates, new).into_iter();
    now.filter(|(path, seen)| learned.is_made_anew(path, seen))
        .map(|(path, _)| path)
        .collect()
}

/// Looks at the newest past roots that nobody has looked at yet, and remembers what was new in
/// them. Only where the engine can tell at once where they differ from blank.
///
/// # Errors
/// A past root cannot be read, or the store not written. Nothing depends on it.
pub(super) fn learn<B: RootBackend>(
    cx: &Context,
    on: &B,
    settings: &Settings,
) -> anyhow::Result<()> {
    let facts = on.facts(&on.survey().context("looking at root")?);
    let newest = facts.past_roots.len().saturating_sub(learned::ROOTS);
    let mut learned = load(cx, settings);
    let mut is_new = false;
    for past in &facts.past_roots[newest..] {
        if learned.knows(&past.name) {
            continue;
        }
        let source = Source::Past(past.name.clone());
        let Some(places) = on.changes(&Source::Blank, Some(&source))? else {
            continue;
        };
        let (old, new) = (on.open(&Source::Blank)?, on.open(&source)?);
        let filter = differences::filter(cx, settings)?;
        let leave_out = |path: &Path| filter.leaves_out(path);
        let mut found = diff::compare_at(&places, &old, &new, &leave_out, cx.interrupt)?;
        filter.judge(&mut found.changes, &BTreeSet::new());
        found.changes.retain(|change| change.quiet.is_none());
        let things = match found.changes.len() <= learned::THINGS {
            true => diff::fingerprints(found.changes.iter(), &new),
            false => BTreeMap::new(), // that was no ordinary boot
        };
        learned.remember(Observation {
            root: past.name.clone(),
            things,
        });
        is_new = true;
    }
    if is_new {
        save(cx, settings, &learned).context("keeping what past roots had in common")?;
    }
    Ok(())
}

fn save(cx: &Context, settings: &Settings, learned: &Learned) -> anyhow::Result<()> {
    let machine = Machine::look(cx).context("looking at the machine")?;
    let stores = look::stores(cx, &machine, settings);
    // A directory of root's own that only bears the store's name is erased like the rest.
    let Some(store) = stores
        .into_iter()
        .find(|store| store.exists && store.is_apart && store.class != Class::Cache)
    else {
        return Ok(());
    };
    let write = || -> io::Result<()> {
        let store = Anchor::open(&cx.rooted(&store.path))?;
        store.make_directory(DIRECTORY.as_ref(), 0, 0, 0o700)?;
        let ours = store.directory(Path::new(DIRECTORY))?;
        ours.replace(FILE.as_ref(), |dir, name| {
            let mut file = File::from(anchor::create_file(dir, name)?);
            file.write_all(&learned.write())?;
            file.sync_all()
        })?;
        Ok(fsync(ours.directory(Path::new(""))?)?)
    };
    write().with_context(|| format!("writing to the store {}", store.path.display()))
}
