//! Comparing what was restored with the snapshot it came from: every byte and every attribute.

use crate::archive::manifest::Bytes;
use crate::archive::read::Archive;
use crate::archive::select::{Choice, Selection};
use crate::diff::{Aspect, Change, What, compare};
use crate::ops::backup::Frozen;
use crate::ops::restore::Lost;
use crate::progress::Watch;
use state_api::View;
use state_linux::stat::Kind;
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Everything in which they differ, but for the `losses`, which are known. Times were compared with
/// the manifest.
pub(super) fn differences(
    archive: &Archive<'_>,
    frozen: &Frozen<'_>,
    restored: &OwnedFd,
    losses: &[Lost],
    watch: Watch<'_>,
) -> anyhow::Result<Vec<Lost>> {
    let restored = restored.try_clone().map(View::frozen);
    let restored = restored.map_err(|e| state_api::Error::os("opening it again", e))?;
    let leave_out = |path: &Path| {
        let choice = frozen.selection.choose(path);
        !matches!(choice, Choice::Take | Choice::Lead)
    };
    let found = compare(Some(&frozen.view), &restored, &leave_out, watch)?;
    let told = left_out(archive);
    let lost: BTreeSet<&[u8]> = losses.iter().map(|lost| &lost.path.0[1..]).collect();
    let changes = found.changes.iter().filter(|change| {
        let path = change.path.as_os_str().as_bytes();
        let is_known = told.contains(path) || (is_of_metadata(change) && lost.contains(path));
        !is_known && !is_expected(change, frozen.selection)
    });
    let unread = found.unreadable.iter().map(|unreadable| Lost {
        path: absolute(&unreadable.path),
        what: unreadable.to_string(),
    });
    Ok(changes.map(told_of).chain(unread).collect())
}

/// Whether only what a filesystem may be unable to hold differs.
fn is_of_metadata(change: &Change) -> bool {
    let is_content =
        |aspect: &Aspect| matches!(aspect, Aspect::Kind | Aspect::Content | Aspect::Target);
    matches!(&change.what, What::Changed { aspects } if !aspects.iter().any(is_content))
}

/// What the archive says itself that it does not hold, relative to the store.
fn left_out(archive: &Archive<'_>) -> BTreeSet<Vec<u8>> {
    let index = archive.index();
    let all = index.left_out.iter().chain(&index.incomplete);
    let relative = |path: &[u8]| path.strip_prefix(b"./").unwrap_or(path).to_vec();
    all.map(|missing| relative(&missing.path.0)).collect()
}

/// What no archive holds: sockets, devices, and what lies in the way to something that is declared
/// without being a directory.
fn is_expected(change: &Change, selection: &Selection) -> bool {
    let is_held = matches!(
        change.kind,
        Kind::File | Kind::Directory | Kind::Symlink | Kind::Fifo
    );
    change.what == What::Deleted && (!is_held || selection.choose(&change.path) == Choice::Lead)
}

fn told_of(change: &Change) -> Lost {
    let what = match &change.what {
        What::Created => "the snapshot does not have it".to_owned(),
        What::Deleted => "it was not restored".to_owned(),
        What::Renamed { from } => format!("the snapshot has it as {}", from.display()),
        What::Changed { aspects } => {
            let words: Vec<&str> = aspects.iter().map(|aspect| aspect.word()).collect();
            format!("the snapshot has another {}", words.join(", "))
        }
    };
    Lost {
        path: absolute(&change.path),
        what,
    }
}

fn absolute(path: &Path) -> Bytes {
    Bytes([b"/", path.as_os_str().as_bytes()].concat())
}
