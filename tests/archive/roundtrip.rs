//! What goes in comes out: equal trees, by an inventory that knows nothing of archives.

use super::common::*;
use super::hostile;
use state::archive::compare;
use state::archive::extract::{Job, Loss};
use state::archive::read::Archive;
use state::inventory::{self, Inventory};
use state_api::{Never, View};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub(crate) fn note(dir: &Path) -> Inventory {
    inventory::take(&view(dir), &|_| false, &Never).unwrap()
}

/// The same without what an archive adds of its own.
pub(crate) fn note_without_ours(dir: &Path) -> Inventory {
    inventory::take(&view(dir), &|path| path == Path::new(".state"), &Never).unwrap()
}

/// Extracts one store of an archive into an empty directory; the losses, by either account.
pub(crate) fn extract(made: &Made, store: usize, into: &Path) -> Vec<Loss> {
    let archive = Archive::open(&made.data, &made.label).unwrap();
    archive.verify(&Never, &mut |_| {}).unwrap();
    extract_from(&archive, store, None, into)
}

/// The same of an archive that is open: of everything, or of one path.
pub(crate) fn extract_from(
    archive: &Archive<'_>,
    store: usize,
    under: Option<&[u8]>,
    into: &Path,
) -> Vec<Loss> {
    let job = Job {
        store,
        under,
        ..job(archive, &Never)
    };
    let stage = File::open(into).unwrap();
    let mut losses = job.extract(stage.as_fd(), &mut |_| {}).unwrap();
    losses.extend(compare(&job, &View::live(stage.into()), &mut |_| {}).unwrap());
    losses
}

#[test]
fn hostile_trees_come_back_equal() {
    for seed in 0..12 {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::create_dir(&from).unwrap();
        std::fs::create_dir(&to).unwrap();
        hostile::grow(&from, seed, 120);
        let made = archive(&[("/persist", &from)]);
        assert_eq!(made.written.incomplete, [], "seed {seed}");
        let losses = extract(&made, 0, &to);
        assert_eq!(losses, [], "seed {seed}");
        let (wanted, found) = (note(&from), note(&to));
        assert_eq!(
            wanted.differences(&found),
            Vec::<String>::new(),
            "seed {seed}"
        );
        let (top, top_found) = (from.metadata().unwrap(), to.metadata().unwrap());
        assert_eq!(
            (top.mode(), top.uid(), top.mtime(), top.mtime_nsec()),
            (
                top_found.mode(),
                top_found.uid(),
                top_found.mtime(),
                top_found.mtime_nsec()
            ),
        );
        // Holes stay holes.
        assert!(
            allocated(&to) <= allocated(&from) + (1 << 20),
            "seed {seed}"
        );
    }
}

fn allocated(dir: &Path) -> u64 {
    let view = view(dir);
    let walk = state_linux::tree::Walk::new(&view);
    walk.map(|entry| entry.unwrap().stat.allocated_bytes).sum()
}

#[test]
fn equal_trees_give_equal_bytes() {
    let dir = tempfile::tempdir().unwrap();
    hostile::grow(dir.path(), 7, 100);
    let first = archive(&[("/persist", dir.path())]);
    let second = archive(&[("/persist", dir.path())]);
    assert!(first.data == second.data);
    assert_eq!(first.label, second.label);
}
