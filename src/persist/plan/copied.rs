//! The rule of copied files: which of the two, the machine's or the store's, takes the place of
//! the other. Pure.

use super::{Out, When, make_parents, make_source_parents, obstacles, refused, stored};
use crate::paths::{Shown, Typed};
use crate::persist::entry::{Entry, EntryKind};
use crate::persist::seen::{Copies, Hidden, Live, Print, Seen};
use crate::persist::step::{Replaces, Step};
use crate::persist::tree::PersistTree;
use crate::settings::IfMissing;

/// At a boot the store's file takes the place of what blank brought. From then on the machine's
/// is the one that programs change, and what it becomes is saved: the last save wins.
pub(super) fn copied(
    tree: &PersistTree,
    entry: &Entry,
    seen: &Seen,
    copies: &Copies,
    when: When,
) -> Result<Vec<Step>, Out> {
    let steps = both_ways(tree, entry, seen, copies)?;
    match steps.last() {
        Some(Step::CopyIn { .. }) if when == When::Watching => Err(Out::Left(match copies.live {
            // Perhaps only for a moment: some programs replace a file by deleting it first.
            None => "it was deleted; `state mount` brings the store's back",
            Some(_) => "the store's is newer; `state mount` puts it in place",
        })),
        _ => Ok(steps),
    }
}

fn both_ways(
    tree: &PersistTree,
    entry: &Entry,
    seen: &Seen,
    copies: &Copies,
) -> Result<Vec<Step>, Out> {
    stored(entry, seen)?;
    let replaces = match &seen.live {
        Live::InPlace => return Err(Out::Left("it is mounted still, until the next boot")),
        // Judged below, by more than what would be hidden.
        Live::Full(EntryKind::File, ..) | Live::Empty(EntryKind::File, ..) => Replaces::Nothing,
        _ => obstacles(tree, entry, seen)?,
    };
    match (&copies.live, &copies.stored) {
        (None, None) if entry.if_missing == IfMissing::Fail => {
            let source = entry.source();
            refused(
                format!("{} does not exist", Shown(&source)),
                "put it there; the declaration says that it must not be missing",
            )
        }
        // An empty one would be worse than none: for /etc/passwd it is no machine at all.
        (None, None) => Err(Out::Left("there is nothing to copy yet")),
        (None, Some(stored)) => Ok(copy_in(entry, seen, stored, replaces)),
        (Some(live), None) => Ok(save(entry, seen, live, Replaces::Nothing)),
        (Some(live), Some(stored)) if live.digest == stored.digest => Ok(Vec::new()),
        (Some(live), Some(stored)) => decide(entry, seen, copies, live, stored),
    }
}

/// Two files that differ.
fn decide(
    entry: &Entry,
    seen: &Seen,
    copies: &Copies,
    live: &Print,
    stored: &Print,
) -> Result<Vec<Step>, Out> {
    let source = entry.source();
    let (here, there) = (Typed(&entry.path), Shown(&source));
    let over = |print: &Print| Replaces::File(print.stamp);
    let has_changed = |print: &Print| copies.agreed.as_ref() != Some(&print.digest);
    let is_emptied = live.stamp.size == 0 && stored.stamp.size > 0;
    match &copies.agreed {
        // It was not yet put in place at this boot.
        None if matches!(
            seen.live,
            Live::Empty(..) | Live::Full(_, Hidden::InBlank, _)
        ) =>
        {
            Ok(copy_in(entry, seen, stored, over(live)))
        }
        None => refused(
            "it differs from the store's, and its content exists nowhere else",
            format!(
                "keep this one with `state keep {here}`, or the store's with `rm {here}` and \
                 `state mount`"
            ),
        ),
        Some(_) if !has_changed(live) => Ok(copy_in(entry, seen, stored, over(live))),
        Some(_) if is_emptied => refused(
            format!("it is empty, and {there} is not: a program may have stopped halfway"),
            format!(
                "keep it empty with `state keep {here}`, or have the store's back with `rm {here}` \
                 and `state mount`"
            ),
        ),
        Some(_) if !has_changed(stored) => Ok(save(entry, seen, live, over(stored))),
        // Both changed. The machine's is in use; the other is not thrown away.
        Some(_) => {
            let mut steps = vec![Step::SetAside {
                source: source.clone(),
                stamp: stored.stamp,
            }];
            steps.extend(save(entry, seen, live, over(stored)));
            Ok(steps)
        }
    }
}

fn copy_in(entry: &Entry, seen: &Seen, stored: &Print, replaces: Replaces) -> Vec<Step> {
    let mut steps = Vec::new();
    make_parents(entry, seen, &mut steps);
    steps.push(Step::CopyIn {
        path: entry.path.clone(),
        source: entry.source(),
        replaces,
        digest: stored.digest.clone(),
    });
    steps
}

fn save(entry: &Entry, seen: &Seen, live: &Print, replaces: Replaces) -> Vec<Step> {
    let mut steps = Vec::new();
    make_source_parents(entry, seen, &mut steps);
    steps.push(Step::Save {
        path: entry.path.clone(),
        source: entry.source(),
        replaces,
        digest: live.digest.clone(),
    });
    steps
}

#[cfg(test)]
mod tests;
