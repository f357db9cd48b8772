//! Comparing a tree with a manifest, metadata included: what a destination silently changed.

use super::crew::{Crew, cores_for};
use super::extract::{Aspect, Job, Loss};
use super::manifest::{Record, What, order};
use super::owners::Owners;
use super::read::Scope;
use super::{Error, Progress, Result};
use state_api::View;
use state_linux::acl::{Acl, BadAcl};
use state_linux::stat::{FileId, Kind, Stat};
use state_linux::tree::{Entry, Unreadable, Walk};
use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

/// What a worker compares at once.
const TOGETHER: usize = 64;
/// So many directories are kept open for it at most.
const DIRECTORIES: usize = 8;
/// More gain nothing, and each keeps directories open.
const WORKERS: usize = 16;

type Pair = (Record, Entry);

/// Everything in which the tree differs from what `job` had to make of it. Contents are not read
/// again: their digests were compared when they were written.
///
/// # Errors
/// The archive or the tree cannot be read, or a path is missing or too many.
pub fn compare(
    job: &Job<'_>,
    tree: &View,
    watch: &mut dyn FnMut(Progress<'_>),
) -> Result<Vec<Loss>> {
    let owners = job.owners;
    let differences = Mutex::new(Vec::new());
    let work = || {
        |pairs: Vec<Pair>| {
            let mut found = Vec::new();
            for (record, entry) in &pairs {
                let mut differ = |aspect, what| found.push(loss(record, aspect, what));
                stat(owners, record, &entry.stat, &mut differ)?;
                attributes(owners, record, entry, &mut differ)?;
            }
            let mut all = differences.lock().unwrap_or_else(PoisonError::into_inner);
            all.append(&mut found);
            Ok(())
        }
    };
    let scope = job.archive.scope(job.under)?;
    let workers = cores_for(&scope).min(WORKERS);
    let links = Crew::run(workers, &AtomicBool::new(false), work, |crew| {
        pair(job, &scope, tree, crew, watch)
    })?;
    let all = differences.into_inner();
    let mut all = all.unwrap_or_else(PoisonError::into_inner);
    all.extend(links);
    all.sort_by(|a, b| order(&a.path, &b.path));
    Ok(all)
}

/// Goes through records and tree side by side, and gives out what is at one path in both. Says
/// which names are no longer of one inode.
fn pair(
    job: &Job<'_>,
    scope: &Scope,
    tree: &View,
    crew: &Crew<Vec<Pair>>,
    watch: &mut dyn FnMut(Progress<'_>),
) -> Result<Vec<Loss>> {
    let mut differences = Vec::new();
    let mut entries = 0;
    let mut walk = Walk::new(tree);
    let mut ids: HashMap<Vec<u8>, FileId> = HashMap::new();
    let mut pairs: Vec<Pair> = Vec::new();
    let mut directories = 0;
    let mut go_on = || match job.interrupt.is_set() {
        true => Err(state_api::Error::Interrupted.into()),
        false => Ok(()),
    };
    for record in job.archive.records_of(scope) {
        let (record, _) = record?;
        go_on()?;
        if !job.wants(&record) {
            continue;
        }
        entries += 1;
        watch(Progress {
            entries,
            bytes: 0,
            path: &record.path,
        });
        let entry = next(&mut walk)?;
        let entry = entry.ok_or_else(|| Error::member(&record.path, "it was not restored"))?;
        let path = entry.path.as_os_str().as_bytes();
        match order(path, &record.path) {
            std::cmp::Ordering::Equal => {}
            std::cmp::Ordering::Less => {
                return Err(Error::member(
                    path,
                    "it is not in the archive, and is there",
                ));
            }
            std::cmp::Ordering::Greater => {
                return Err(Error::member(&record.path, "it was not restored"));
            }
        }
        if let What::Link { target } = &record.what {
            // Its first name may not have been wanted; then it is the first itself.
            let first = ids.entry(target.clone()).or_insert(entry.stat.id);
            if *first != entry.stat.id {
                let what = "it is no longer the same file as its other names";
                differences.push(loss(&record, Aspect::Links, what.into()));
            }
            continue;
        }
        if record.has_links {
            ids.insert(record.path.clone(), entry.stat.id);
        }
        let last = pairs.last().map(|(_, last)| last.path.parent());
        directories += usize::from(last != Some(entry.path.parent()));
        pairs.push((record, entry));
        if pairs.len() == TOGETHER || directories == DIRECTORIES {
            crew.give(std::mem::take(&mut pairs), &mut go_on)?;
            directories = 0;
        }
    }
    crew.give(pairs, &mut go_on)?;
    match next(&mut walk)? {
        None => crew.finish(&mut go_on).map(|()| differences),
        Some(entry) => Err(Error::member(
            entry.path.as_os_str().as_bytes(),
            "it is not in the archive, and is there",
        )),
    }
}

fn loss(record: &Record, aspect: Aspect, what: String) -> Loss {
    Loss {
        path: record.path.clone(),
        aspect,
        what,
    }
}

fn next(walk: &mut Walk<'_>) -> Result<Option<Entry>> {
    loop {
        let entry = match walk.next() {
            None => return Ok(None),
            Some(entry) => entry.map_err(unread)?,
        };
        if entry.path.as_os_str() != ".state" {
            return Ok(Some(entry));
        }
        walk.prune();
    }
}

fn unread(unreadable: Unreadable) -> Error {
    let path = unreadable.path.display();
    Error::os(format!("{} {path}", unreadable.doing), unreadable.source)
}

fn stat(
    owners: &Owners,
    record: &Record,
    stat: &Stat,
    differ: &mut dyn FnMut(Aspect, String),
) -> Result<()> {
    let kind = match record.what {
        What::Directory => Kind::Directory,
        What::File { .. } => Kind::File,
        What::Symlink { .. } => Kind::Symlink,
        What::Fifo => Kind::Fifo,
        What::Link { .. } => return Ok(()),
    };
    if kind != stat.kind {
        return Err(Error::member(&record.path, "it became something else"));
    }
    if let What::File { size, .. } = record.what
        && size != stat.size
    {
        return Err(Error::member(&record.path, "it has another size"));
    }
    let owner = (owners.user(record.uid), owners.group(record.gid));
    let found = (stat.uid, stat.gid);
    if owner != found {
        differ(
            Aspect::Owner,
            format!(
                "owner {}:{} instead of {}:{}",
                found.0, found.1, owner.0, owner.1
            ),
        );
    }
    // A symlink has no mode of its own on Linux.
    if kind != Kind::Symlink && record.mode != stat.mode {
        differ(
            Aspect::Mode,
            format!("mode {:04o} instead of {:04o}", stat.mode, record.mode),
        );
    }
    let time = super::pax::Time {
        seconds: stat.modified.seconds,
        nanoseconds: stat.modified.nanoseconds,
    };
    if time != record.modified {
        differ(
            Aspect::Time,
            format!("time {time} instead of {}", record.modified),
        );
    }
    Ok(())
}

fn attributes(
    owners: &Owners,
    record: &Record,
    entry: &Entry,
    differ: &mut dyn FnMut(Aspect, String),
) -> Result<()> {
    let found = entry.metadata().map_err(unread)?;
    if let What::Symlink { target } = &record.what
        && entry.link_target().map_err(unread)?.as_bytes() != target
    {
        return Err(Error::member(&record.path, "it points somewhere else"));
    }
    let shown = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    let aspect = |name: &[u8]| Aspect::Attribute(name.to_vec());
    for (name, value) in &record.extra.xattrs {
        match found.xattrs.get(std::ffi::OsStr::from_bytes(name)) {
            Some(there) if there == value => {}
            Some(_) => differ(
                aspect(name),
                format!("attribute {} has another value", shown(name)),
            ),
            None => differ(aspect(name), format!("no attribute {}", shown(name))),
        }
    }
    for name in found.xattrs.keys() {
        let name = name.as_bytes();
        // Labels are given to every file where SELinux is at work.
        if !record.extra.xattrs.contains_key(name) && name != b"security.selinux" {
            differ(aspect(name), format!("attribute {} on top", shown(name)));
        }
    }
    let acl = |text: &Option<String>| -> Result<Option<String>> {
        let Some(text) = text else { return Ok(None) };
        let acl: Acl = (text.parse()).map_err(|bad: BadAcl| Error::member(&record.path, bad))?;
        Ok(Some(owners.acl(&acl).to_string()))
    };
    for (aspect, what, wanted, there) in [
        (
            Aspect::Acl,
            "ACL",
            acl(&record.extra.access_acl)?,
            found.access_acl.map(|acl| acl.to_string()),
        ),
        (
            Aspect::DefaultAcl,
            "default ACL",
            acl(&record.extra.default_acl)?,
            found.default_acl.map(|acl| acl.to_string()),
        ),
        (
            Aspect::Flags,
            "flags",
            record.extra.flags.clone(),
            Some(found.flags.to_string()).filter(|flags| !flags.is_empty()),
        ),
    ] {
        if wanted != there {
            let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".into());
            differ(
                aspect,
                format!("{what} {} instead of {}", text(&there), text(&wanted)),
            );
        }
    }
    Ok(())
}
