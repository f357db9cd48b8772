//! What a new archive holds: everything, or what changed since the one that it builds on.

use super::before::{Choice, has_commit};
use super::publish::{Made, store};
use super::sources::Sources;
use crate::archive::label::Label;
use crate::archive::machine::Machine;
use crate::archive::manifest::{Bytes, Digest, Missing};
use crate::archive::older::Older;
use crate::archive::write::{Before, Draft, Input, Since, Weighing};
use crate::context::Context;
use crate::ops::encryption::Encryption;
use crate::persist::PersistTree;
use crate::progress::{Progress, Total, Unit};
use crate::settings::Settings;
use crate::target::Target;
use state_api::Interrupt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Writes the data object to all targets; nothing if nothing changed since the archive that it
/// would build on. `about` is how much a full archive will hold.
#[allow(clippy::too_many_arguments)] // each is named where it is called
pub(super) fn make(
    cx: &Context,
    settings: &Settings,
    encryption: Encryption,
    tree: &PersistTree,
    sources: &mut Sources,
    mut head: Machine,
    choice: Option<&Choice<'_>>,
    about: Total,
    targets: &[&dyn Target],
    progress: &dyn Progress,
) -> anyhow::Result<Option<Made>> {
    let opened = sources.open()?;
    head.stores = opened.iter().map(|open| open.store.clone()).collect();
    let inputs: Vec<_> = (opened.iter())
        .map(|open| Input {
            view: &open.view,
            selection: &open.selection,
        })
        .collect();
    let mut incomplete: Vec<Missing> = opened.iter().flat_map(|o| o.incomplete.clone()).collect();
    for unresolved in tree.unresolved() {
        for path in &unresolved.paths {
            let user = &unresolved.user;
            incomplete.push(Missing {
                path: Bytes(path.as_os_str().as_encoded_bytes().to_vec()),
                why: format!("it is in the home of {user}, who {}", unresolved.why),
            });
        }
    }
    let unseen = |_, _: &[u8]| {};
    let older = || choice.map_or_else(|| Ok(Older::none()), |choice| choice.older(&unseen));
    let before = choice.map(|choice| Before {
        parents: choice.parents(),
        begun: choice.label.time.timestamp(),
        older: &older,
    });
    let since = choice.map(|choice| {
        let total = choice.label.totals.entries;
        progress.begin("looking for changes", Unit::Items, Total::About(total));
        // What the archive before has is passed by as the tree is.
        let watch = |more, path: &[u8]| {
            progress.advance(more);
            progress.see(0, path);
        };
        let passing = || choice.older(&watch);
        let before = Before {
            parents: choice.parents(),
            begun: choice.label.time.timestamp(),
            older: &passing,
        };
        let since = choice
            .places(sources, &inputs, &unseen, cx.interrupt)
            .and_then(|places| Since::look(&inputs, &before, places.as_deref(), cx.interrupt));
        progress.end();
        since
    });
    let since = since.transpose()?;
    let commit = head.config.as_ref().map(|config| config.commit.clone());
    let is_dirty = head.config.as_ref().is_some_and(|config| config.is_dirty);
    if let (Some(choice), Some(since)) = (choice, &since)
        && !since.has_changed()
        && incomplete.is_empty()
        && has_commit(&choice.label, head.config.as_ref())
    {
        return Ok(None);
    }
    head.parent = choice.map(|choice| choice.label.id.to_string());
    let label = Label {
        machine: head.machine.clone(),
        id: head.id.parse().map_err(anyhow::Error::msg)?,
        parent: choice.map(|choice| choice.label.id.clone()),
        position: choice.map_or(0, |choice| choice.label.position + 1),
        time: cx.now,
        is_complete: false,
        commit,
        is_dirty,
        totals: Default::default(),
        suffix: encryption.suffix().into(),
        recipients: encryption.recipients().to_vec(),
        data_bytes: 0,
        data_sha256: Digest([0; 32]),
        manifest_sha256: Digest([0; 32]),
        index_sha256: Digest([0; 32]),
    };
    let total = match &since {
        Some(since) => Total::About(since.bytes()),
        None => about,
    };
    progress.begin("archiving", Unit::Bytes, total);
    let mut seen = 0;
    let count = match total {
        Total::Unknown if progress.is_heard() => Some(Weighing::of(&inputs)),
        _ => None,
    };
    let made = counting(cx, count, progress, || {
        store(cx, targets, label, encryption, &mut |out| {
            let draft = Draft {
                level: settings.archive.level,
                workers: 0,
                machine: &head,
                inputs: &inputs,
                incomplete: incomplete.clone(),
                since: before.as_ref().zip(since.as_ref()),
            };
            draft.write(out, cx.interrupt, &mut |now| {
                progress.advance(now.bytes - seen);
                progress.see(now.entries, now.path);
                seen = now.bytes;
            })
        })
    });
    progress.end();
    made.map(Some)
}

/// Does `work`, and meanwhile, for whoever wants to know when it will be done, counts how much there is.
fn counting<T>(
    cx: &Context,
    count: Option<Weighing<'_>>,
    progress: &dyn Progress,
    work: impl FnOnce() -> T,
) -> T {
    let Some(count) = count else {
        return work();
    };
    let until = Until {
        interrupt: cx.interrupt,
        is_over: AtomicBool::new(false),
    };
    thread::scope(|scope| {
        let until = &until;
        scope.spawn(move || {
            if let Some(bytes) = count.run(until) {
                progress.expect(Total::About(bytes));
            }
        });
        let done = work();
        until.is_over.store(true, Ordering::Relaxed);
        done
    })
}

/// Counting ends with what it is for.
struct Until<'i> {
    interrupt: &'i dyn Interrupt,
    is_over: AtomicBool,
}

impl Interrupt for Until<'_> {
    fn is_set(&self) -> bool {
        self.is_over.load(Ordering::Relaxed) || self.interrupt.is_set()
    }
}
