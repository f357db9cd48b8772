//! From what was seen at an entry's path and in its store to the steps that put it in place, or
//! to the reason why it stays out. Pure.

use super::entry::{Entry, EntryKind, Method, Ownership};
use super::seen::{Hidden, Live, MachineId, MachineIds, Obstacle, Seen, Source};
use super::step::{Replaces, Step};
use super::tree::PersistTree;
use crate::paths::{Shown, Typed};
use crate::settings::IfMissing;
use state_api::{Plan, Refusal};
use std::path::Path;

mod copied;

/// What is to be done about one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Carrying this out puts it in place. Empty: it is.
    Do(Plan<Step>),
    /// It stays out, as declared or for now: why.
    LeaveOut(&'static str),
    /// It stays out, because putting it in place could lose something.
    Refuse(Refusal),
}

/// When entries are put in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// In the initrd: PID 1 of the machine has not begun yet.
    Early,
    /// By `state mount`, at a boot or whenever somebody asks.
    Asked,
    /// Again and again while the machine runs: what is there is saved, and nothing replaced.
    Watching,
}

/// Decides about one entry of `tree`.
pub fn plan(tree: &PersistTree, entry: &Entry, seen: &Seen, when: When) -> Verdict {
    let planned = match (&seen.machine_ids, &seen.copies) {
        (Some(ids), _) => machine_id(entry, seen, ids, when == When::Early),
        (None, Some(copies)) => copied::copied(tree, entry, seen, copies, when),
        (None, None) => place(tree, entry, seen),
    };
    match planned {
        Ok(steps) => Verdict::Do(steps.into_iter().collect()),
        Err(Out::Left(why)) => Verdict::LeaveOut(why),
        Err(Out::Refused { fact, cure }) => Verdict::Refuse(Refusal::Unsafe { fact, cure }),
    }
}

/// Why an entry stays out.
enum Out {
    Left(&'static str),
    Refused { fact: String, cure: String },
}

fn refused<T>(fact: impl Into<String>, cure: impl Into<String>) -> Result<T, Out> {
    let (fact, cure) = (fact.into(), cure.into());
    Err(Out::Refused { fact, cure })
}

fn place(tree: &PersistTree, entry: &Entry, seen: &Seen) -> Result<Vec<Step>, Out> {
    let (path, source) = (&entry.path, entry.source());
    let replaces = obstacles(tree, entry, seen)?;
    let mut steps = Vec::new();
    let source_ownership = match stored(entry, seen)? {
        Some(ownership) => ownership,
        None => make_source(entry, seen, &source, &mut steps)?,
    };
    if seen.live != Live::InPlace {
        make_parents(entry, seen, &mut steps);
        match entry.method {
            Method::Symlink => steps.push(Step::Link {
                path: path.clone(),
                source: source.clone(),
                replaces: replaces.clone(),
            }),
            Method::Bind | Method::Copy | Method::MachineId => {
                if seen.live == Live::Missing {
                    let (path, ownership) = (path.clone(), source_ownership);
                    steps.push(match entry.kind {
                        EntryKind::Directory => Step::MakeDirectory { path, ownership },
                        EntryKind::File => Step::MakeFile { path, ownership },
                    });
                }
                let hides = match &seen.live {
                    Live::Full(_, _, stamp) => Some(*stamp),
                    _ => None,
                };
                steps.push(Step::Bind {
                    path: path.clone(),
                    source: source.clone(),
                    hides,
                });
            }
        }
    }
    Ok(steps)
}

/// The owner and mode of what is in the store, if the right kind of thing is, or nothing at all.
fn stored(entry: &Entry, seen: &Seen) -> Result<Option<Ownership>, Out> {
    let source = entry.source();
    let there = Shown(&source);
    match &seen.source {
        Source::Present(kind, ownership) if *kind == entry.kind => Ok(Some(*ownership)),
        Source::Present(kind, _) => refused(
            format!("{there} is a {kind} where a {} is declared", entry.kind),
            "correct the declaration, or move it out of the way",
        ),
        Source::Missing => Ok(None),
        Source::Other(is) => refused(
            format!("{there} is {is} where a {} is declared", entry.kind),
            "put the thing itself there",
        ),
        Source::Behind(obstacle) => refused(behind(obstacle), "make it a directory"),
        Source::Unreadable(why) => {
            refused(format!("{there} cannot be looked at: {why}"), "see `dmesg`")
        }
    }
}

/// What a link would replace, if nothing at the entry's path speaks against it.
fn obstacles(tree: &PersistTree, entry: &Entry, seen: &Seen) -> Result<Replaces, Out> {
    let (path, source) = (&entry.path, entry.source());
    let (here, there) = (Typed(path), Shown(&source));
    match &seen.live {
        Live::Missing | Live::InPlace => Ok(Replaces::Nothing),
        Live::Empty(kind, ..) | Live::Full(kind, ..) if *kind != entry.kind => refused(
            format!("it is a {kind} where a {} is declared", entry.kind),
            format!("correct the declaration, or move {here} out of the way"),
        ),
        Live::Empty(EntryKind::Directory, ..) => Ok(Replaces::EmptyDirectory),
        Live::Empty(EntryKind::File, _, stamp) => Ok(Replaces::File(*stamp)),
        Live::Full(kind, Hidden::Nowhere { example, count }, _) => {
            let fact = match (kind, entry.method) {
                (EntryKind::File, Method::Symlink) => {
                    "detached: a file stands in place of the link, with content that exists nowhere else"
                        .to_owned()
                }
                (EntryKind::File, _) => "its content exists nowhere else".to_owned(),
                (EntryKind::Directory, _) => format!(
                    "it holds {count} {} that {} nowhere else, {} first",
                    if *count == 1 { "thing" } else { "things" },
                    if *count == 1 { "exists" } else { "exist" },
                    Shown(example)
                ),
            };
            let cure = match kind {
                EntryKind::File => format!(
                    "keep this one with `state keep {here}`, or the store's with `rm {here}` and \
                     `state mount`"
                ),
                EntryKind::Directory => format!(
                    "merge it into the store with `cp -anT {here} {}`, then run `state mount`: \
                     what it still names is not the same in both, and one of them must go",
                    Typed(&source)
                ),
            };
            refused(fact, cure)
        }
        Live::Full(EntryKind::Directory, ..) if entry.method == Method::Symlink => refused(
            "a directory with content stands where a link is declared",
            format!("empty {here}: all of it exists elsewhere; or use method = \"bind\""),
        ),
        Live::Full(EntryKind::Directory, ..) => Ok(Replaces::EmptyDirectory),
        Live::Full(EntryKind::File, _, stamp) => Ok(Replaces::File(*stamp)),
        Live::Outdated => refused(
            format!("it shows what {there} was before it was replaced"),
            "restart the machine; the store's copy was replaced while it was in use",
        ),
        Live::Mounted => refused(
            "something else is mounted there",
            format!("unmount {here}, or take it out of the declaration"),
        ),
        Live::Link(target) => {
            let is_ours = tree.stores().any(|(store, _)| target.starts_with(store));
            if matches!(entry.method, Method::Symlink | Method::Copy) && is_ours {
                return Ok(Replaces::Link(target.clone()));
            }
            let wanted = match entry.method {
                Method::Symlink => format!("a link to {there}"),
                Method::Bind | Method::Copy | Method::MachineId => format!("a {}", entry.kind),
            };
            refused(
                format!(
                    "it is a symlink to {} where {wanted} is declared",
                    Shown(target)
                ),
                format!("declare what it points to instead, or remove {here}"),
            )
        }
        Live::Other(is) => refused(
            format!("it is {is} where a {} is declared", entry.kind),
            format!("move {here} out of the way"),
        ),
        Live::Behind(obstacle) => refused(
            behind(obstacle),
            match obstacle.is {
                "a symlink" => "declare the path that it leads to",
                _ => "move it out of the way",
            },
        ),
        Live::Unreadable(why) => refused(format!("it cannot be looked at: {why}"), "see `dmesg`"),
    }
}

fn behind(obstacle: &Obstacle) -> String {
    format!(
        "{} is {}, not a directory",
        Shown(&obstacle.at),
        obstacle.is
    )
}

/// Plans the making of what the store does not hold yet.
fn make_source(
    entry: &Entry,
    seen: &Seen,
    source: &Path,
    steps: &mut Vec<Step>,
) -> Result<Ownership, Out> {
    if entry.kind == EntryKind::File {
        match entry.if_missing {
            IfMissing::Create => {}
            IfMissing::Skip => return Err(Out::Left("it is not in the store yet")),
            IfMissing::Fail => {
                return refused(
                    format!("{} does not exist", Shown(source)),
                    "put it there; the declaration says that it must not be missing",
                );
            }
        }
    }
    let default = match &seen.live {
        Live::Empty(_, ownership, _) => *ownership,
        _ => entry.default_ownership(),
    };
    let ownership = owned(entry, default)?;
    make_source_parents(entry, seen, steps);
    let path = source.to_owned();
    steps.push(match (&seen.live, entry.kind) {
        (Live::Full(..), _) => Step::Seed {
            path: entry.path.clone(),
            source: path,
        },
        (_, EntryKind::Directory) => Step::MakeDirectory { path, ownership },
        (_, EntryKind::File) => Step::MakeFile { path, ownership },
    });
    Ok(ownership)
}

/// Plans the making of missing parents in the store, as they are on the machine.
fn make_source_parents(entry: &Entry, seen: &Seen, steps: &mut Vec<Step>) {
    for parent in &seen.parents {
        if parent.stored.is_none() {
            let default = || entry.parent_ownership(&parent.path);
            steps.push(Step::MakeDirectory {
                path: super::below(&entry.store, &parent.path),
                ownership: parent.live.unwrap_or_else(default),
            });
        }
    }
}

/// Plans the making of missing parents on the machine, as they are in the store.
fn make_parents(entry: &Entry, seen: &Seen, steps: &mut Vec<Step>) {
    for parent in &seen.parents {
        if parent.live.is_none() {
            let default = || entry.parent_ownership(&parent.path);
            steps.push(Step::MakeDirectory {
                path: parent.path.clone(),
                ownership: parent.stored.unwrap_or_else(default),
            });
        }
    }
}

fn owned(entry: &Entry, default: Ownership) -> Result<Ownership, Out> {
    entry.declared.or(default).or_else(|name| {
        refused(
            format!("nobody is called {name:?} on this machine, so it cannot be made"),
            "declare a number, or make it in the store with the right owner",
        )
    })
}

/// The rule of `/etc/machine-id`.
fn machine_id(
    entry: &Entry,
    seen: &Seen,
    ids: &MachineIds,
    is_early: bool,
) -> Result<Vec<Step>, Out> {
    let source = entry.source();
    let write = |path: &Path, id: &str| Step::WriteMachineId {
        path: path.to_owned(),
        id: id.to_owned(),
    };
    if let Live::Behind(_) | Live::Link(_) | Live::Other(_) | Live::Unreadable(_) = seen.live {
        obstacles(&PersistTree::default(), entry, seen)?;
    }
    let mut steps = Vec::new();
    match (&ids.stored, &ids.live) {
        (MachineId::Strange, _) => {
            return refused(
                format!("{} holds no machine id", Shown(&source)),
                "empty it: the next boot makes a new id",
            );
        }
        (MachineId::Is(stored), MachineId::Is(live)) if stored == live => {}
        (MachineId::Is(stored), MachineId::Is(live)) => {
            let is_installed = matches!(seen.live, Live::Full(_, Hidden::InBlank, _));
            if !is_early || !is_installed {
                return refused(
                    format!("the machine runs as {live}, and the store says {stored}"),
                    format!(
                        "remove {} to keep the store's, and restart",
                        Shown(&entry.path)
                    ),
                );
            }
            steps.push(write(&entry.path, stored));
        }
        (MachineId::Is(_), MachineId::Strange) => {
            return refused(
                "it holds no machine id",
                format!(
                    "remove {} to have the store's, and restart",
                    Shown(&entry.path)
                ),
            );
        }
        (MachineId::Is(stored), MachineId::None) => {
            make_parents(entry, seen, &mut steps);
            steps.push(write(&entry.path, stored));
        }
        (MachineId::None, MachineId::Is(live)) => {
            make_source_parents(entry, seen, &mut steps);
            steps.push(write(&source, live));
        }
        (MachineId::None, _) if !is_early => {
            return Err(Out::Left("the machine has no id yet"));
        }
        (MachineId::None, _) => match entry.if_missing {
            IfMissing::Skip => return Err(Out::Left("it is not in the store yet")),
            IfMissing::Fail => {
                return refused(
                    format!("{} does not exist", Shown(&source)),
                    "put it there; the declaration says that it must not be missing",
                );
            }
            IfMissing::Create if seen.live == Live::Missing => {
                make_parents(entry, seen, &mut steps);
                steps.push(write(&entry.path, "uninitialized"));
            }
            IfMissing::Create => {}
        },
    }
    Ok(steps)
}
