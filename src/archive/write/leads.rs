//! What a look at some places does not come to, and yet has to tell: declared paths that are not
//! there, and paths that nobody declared.
//!
//! Both are known from the directories that lead to what is declared: only these are listed.

use super::notes::Notes;
use super::walk::Stored;
use super::{Input, Since};
use state_linux::stat::Kind;

/// Says so in `since`, as a walk of everything does.
pub(super) fn look(inputs: &[Input<'_>], since: &mut Since) {
    since.absent.clear();
    since.orphans.clear();
    // What cannot be read was known before, or is at one of the places.
    let mut notes = Notes::default();
    for input in inputs {
        let mut stored = Stored::new(input, None);
        let declared = input.selection.declared();
        loop {
            stored.look_ahead(&mut notes);
            let Some(entry) = stored.next.take() else {
                break;
            };
            let mut below = declared.range(entry.path.clone()..);
            let leads =
                |next: &std::path::PathBuf| *next != entry.path && next.starts_with(&entry.path);
            let next = below.find(|next| **next != entry.path);
            if entry.stat.kind == Kind::Directory && !next.is_some_and(leads) {
                stored.walk.prune();
            }
        }
        since.absent.extend(stored.absent);
        since.orphans.append(&mut stored.orphans);
    }
}
