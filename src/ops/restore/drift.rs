//! What is not as it was when the archive was made: the configuration, the machine's name, the disk.

use super::Task;
use crate::archive::machine::Machine;
use crate::context::Context;
use crate::ops::archives;
use crate::settings::Settings;

/// The first digits of a commit.
fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

/// What there is to say. `is_new` is a machine that is being rebuilt: its configuration is looked at
/// when it is there.
pub(super) fn notes(
    cx: &Context,
    settings: &Settings,
    archived: &Machine,
    is_new: bool,
) -> Vec<String> {
    let mut notes = Vec::new();
    match &archived.config {
        None if !is_new => {}
        None => notes.push(
            "it names no configuration: nothing says which system it belongs to ([config] repo)"
                .to_owned(),
        ),
        Some(theirs) => {
            if theirs.is_dirty {
                notes.push(format!(
                    "its configuration differed from the commit it names, {}: what was not committed is in no repository",
                    short(&theirs.commit)
                ));
            }
            if let Some(repo) = settings.config.as_ref().filter(|_| !is_new) {
                notes.extend(checked_out(cx, &repo.repo, &theirs.commit));
            }
        }
    }
    if !is_new
        && let Ok(here) = archives::machine_name(cx, settings)
        && here != archived.machine
        && !settings.persist.is_empty()
    {
        notes.push(format!(
            "this machine is called {here}: it becomes {} in all that is kept, and two machines with one identity (machine-id, host keys) disturb each other",
            archived.machine
        ));
    }
    notes
}

/// Whether the commit that belongs to the archive is checked out here.
fn checked_out(cx: &Context, repo: &std::path::Path, commit: &str) -> Option<String> {
    let belongs = format!("it belongs to the configuration {}", short(commit));
    match crate::ops::backup::commit(&cx.rooted(repo), repo) {
        Ok(here) if here.commit == commit => None,
        Ok(here) => Some(format!(
            "{belongs}; checked out is {}: `git -C {} checkout {}`, and rebuild, before its services start",
            short(&here.commit),
            repo.display(),
            short(commit)
        )),
        Err(error) => Some(format!(
            "{belongs}; what is checked out here is not known: {}",
            crate::failure::plain_errnos(&error.to_string())
        )),
    }
}

/// A disk that is smaller than the one the store was on.
pub(super) fn smaller(archived: &Machine, tasks: &[Task]) -> Vec<String> {
    let mut notes = Vec::new();
    for task in tasks {
        let was = archived.stores[task.store].total_bytes;
        let Ok(now) = rustix::fs::statvfs(&task.into) else {
            continue; // told of where it is used
        };
        let now = now.f_blocks.saturating_mul(now.f_frsize);
        // A few percent are the filesystem's own.
        if was > 0 && now < was / 20 * 19 {
            let mib = |bytes: u64| bytes >> 20;
            notes.push(format!(
                "{} is on a filesystem of {} MiB; it was on one of {} MiB",
                task.into.display(),
                mib(now),
                mib(was)
            ));
        }
    }
    notes
}
