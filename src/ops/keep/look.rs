//! Looking at what is to be kept: whether it can be copied whole, and would hide nothing.

use super::copy::Size;
use super::declare::Declaration;
use super::step::MakeDirectory;
use crate::anchor::{Found, mount_id};
use crate::context::Context;
use crate::failure::Failure;
use crate::paths::Shown;
use crate::persist::{Anchors, EntryKind, Ownership, below};
use state_api::{Error, Result, View};
use state_linux::stat::{Kind, Stat};
use state_linux::tree::Walk;
use state_linux::users::{self, User};
use std::io;
use std::path::{Path, PathBuf};

/// What is at a path of the machine.
pub(super) struct Look {
    pub(super) path: PathBuf,
    pub(super) kind: EntryKind,
    pub(super) size: Size,
    stat: Stat,
}

fn failed(path: &Path) -> impl Fn(io::Error) -> Error {
    move |error| Error::os(format!("looking at {}", Shown(path)), error)
}

impl Look {
    /// Looks, and refuses what cannot be kept.
    pub(super) fn at(cx: &Context, anchors: &Anchors, path: &Path) -> anyhow::Result<Self> {
        let (anchor, rest) = anchors.locate(path)?;
        if anchors.is_in_store(path) {
            let fact = "it lies in a store, which no reset touches";
            return Err(Failure::usage(fact).into());
        }
        let (fd, stat) = match anchor.find(rest).map_err(failed(path))? {
            Found::Here(fd, stat) => (fd, stat),
            Found::Missing => {
                let what = Shown(path).to_string();
                return Err(Error::Missing { what }.into());
            }
            Found::Behind(parent, kind) => {
                let parent = Path::new("/").join(parent);
                let is = match kind {
                    Kind::Symlink => "a symlink",
                    _ => "no directory",
                };
                let fact = format!("{} is {is}", Shown(&parent));
                return Err(Failure::refused(fact)
                    .hint("keep the path that it leads to")
                    .into());
            }
        };
        let kind = match stat.kind {
            Kind::File => EntryKind::File,
            Kind::Directory => EntryKind::Directory,
            Kind::Symlink => {
                let target = anchor.link_target(rest).map_err(failed(path))?;
                let fact = format!("it is a symlink to {}", Shown(&target));
                return Err(Failure::refused(fact)
                    .hint("keep what it leads to; what makes the link makes it again")
                    .into());
            }
            _ => {
                let fact = "it is neither a file nor a directory";
                return Err(Failure::refused(fact)
                    .hint("its program makes it again; keep the directory around it if not")
                    .into());
            }
        };
        let root = anchor.directory(Path::new("")).map_err(failed(path))?;
        let is_of_root =
            mount_id(&fd).map_err(failed(path))? == mount_id(&root).map_err(failed(path))?;
        if !is_of_root {
            let fact = "it lies on another filesystem than root, which no reset touches";
            return Err(Failure::refused(fact)
                .hint("nothing need be done to keep it")
                .into());
        }
        let mut size = Size::default();
        size.add(&stat);
        if kind == EntryKind::Directory {
            let view = View::live(anchor.directory(rest).map_err(failed(path))?.into());
            for entry in Walk::new(&view) {
                if cx.interrupt.is_set() {
                    return Err(Error::Interrupted.into());
                }
                let entry = entry.map_err(|error| {
                    Error::os(
                        format!("reading {}", path.join(&error.path).display()),
                        error.source,
                    )
                })?;
                if entry.boundary.is_some() {
                    let inside = path.join(&entry.path);
                    let fact = format!("{} is a filesystem or volume of its own", Shown(&inside));
                    return Err(Failure::refused(fact)
                        .hint("it would be left behind: keep what lies beside it by its own path, or unmount it first")
                        .into());
                }
                if !entry.path.as_os_str().is_empty() {
                    size.add(&entry.stat);
                }
            }
        }
        Ok(Self {
            path: path.to_owned(),
            kind,
            size,
            stat,
        })
    }

    /// Names who is writing there: what is copied meanwhile may be half of something.
    pub(super) fn refuse_writers(&self, cx: &Context) -> anyhow::Result<()> {
        let writers = match self.kind {
            EntryKind::File => users::writers(self.stat.id),
            EntryKind::Directory => users::writers_in(&cx.rooted(&self.path)),
        };
        let writers = writers.map_err(failed(&self.path))?;
        if writers.is_empty() {
            return Ok(());
        }
        Err(
            Failure::refused(format!("{} writing to it", named(&writers)))
                .hint("stop them, keep it, and start them again")
                .into(),
        )
    }

    /// What somebody should know once it is kept.
    pub(super) fn notes(&self, cx: &Context, declaration: &Declaration) -> Vec<String> {
        let mut notes = Vec::new();
        // Who has it open goes on with the one below the mount.
        let users = users::of(&cx.rooted(&self.path)).unwrap_or_default();
        let users: Vec<User> = users
            .into_iter()
            .filter(|user| matches!(user, User::Process { .. }))
            .collect();
        if !users.is_empty() {
            let users = named(&users);
            notes.push(format!("{users} using the old one until started again"));
        }
        notes.extend(declaration.note.clone());
        notes
    }
}

/// So many are named.
const NAMED: usize = 3;

/// `nginx (process 12) and 2 more are`
fn named(users: &[User]) -> String {
    let names: Vec<String> = users.iter().take(NAMED).map(ToString::to_string).collect();
    let names = names.join(", ");
    match users.len() {
        1 => format!("{names} is"),
        n if n <= NAMED => format!("{names} are"),
        n => format!("{names} and {} more are", n - NAMED),
    }
}

/// What the store holds at a path.
pub(super) struct Stored {
    pub(super) kind: EntryKind,
    /// A directory without anything in it.
    pub(super) is_empty: bool,
}

pub(super) fn stored(anchors: &Anchors, source: &Path) -> anyhow::Result<Option<Stored>> {
    let (anchor, rest) = anchors.locate(source)?;
    let kind = match anchor.find(rest).map_err(failed(source))? {
        Found::Missing => return Ok(None),
        Found::Here(_, stat) => stat.kind,
        Found::Behind(parent, kind) => {
            let fact = format!(
                "{} in the store is {kind:?}, not a directory",
                Shown(&parent)
            );
            return Err(Failure::refused(fact.to_lowercase())
                .hint("move it away")
                .into());
        }
    };
    Ok(Some(match kind {
        Kind::Directory => Stored {
            kind: EntryKind::Directory,
            is_empty: {
                let dir = anchor.directory(rest).map_err(failed(source))?;
                state_linux::tree::names(dir)
                    .map_err(failed(source))?
                    .is_empty()
            },
        },
        _ => Stored {
            kind: EntryKind::File,
            is_empty: false,
        },
    }))
}

/// Refuses what only the store holds: an entry that was dropped, and is in place still or no
/// longer. There is nothing to copy.
pub(super) fn dropped(
    anchors: &Anchors,
    store: &Path,
    path: &Path,
) -> anyhow::Result<Option<Failure>> {
    let source = below(store, path);
    if anchors.why_missing(store).is_some() {
        return Ok(None);
    }
    let (held, in_store) = anchors.locate(&source)?;
    let Found::Here(_, stored) = held.find(in_store).map_err(failed(&source))? else {
        return Ok(None);
    };
    let (anchor, rest) = anchors.locate(path)?;
    let shown = Shown(path);
    let entry = match anchor.find(rest).map_err(failed(path))? {
        Found::Missing => format!("\"{shown}\""),
        Found::Here(_, live) if live.id == stored.id => format!("\"{shown}\""),
        Found::Here(_, live)
            if live.kind == Kind::Symlink
                && anchor.link_target(rest).map_err(failed(path))? == source =>
        {
            format!("{{ path = \"{shown}\", method = \"symlink\" }}")
        }
        Found::Here(..) | Found::Behind(..) => return Ok(None),
    };
    let list = match stored.kind {
        Kind::Directory => "directories",
        _ => "files",
    };
    let fact = format!("the store holds it already: {}", Shown(&source));
    Ok(Some(Failure::refused(fact).hint(format!(
        "declare it again: add {entry} to `{list}` of [persist.\"{}\"], then `state mount`",
        Shown(store)
    ))))
}

/// The directories above `source` that the store does not have, outermost first, as they are on
/// the machine.
pub(super) fn missing_parents(
    anchors: &Anchors,
    path: &Path,
    source: &Path,
) -> Result<Vec<MakeDirectory>> {
    let store = source
        .ancestors()
        .nth(path.iter().count() - 1)
        .unwrap_or(source);
    let mut missing = Vec::new();
    for parent in path.ancestors().skip(1).filter(|at| *at != Path::new("/")) {
        let stored = below(store, parent);
        let (anchor, rest) = anchors.locate(&stored)?;
        if !matches!(anchor.find(rest).map_err(failed(&stored))?, Found::Missing) {
            break;
        }
        let (anchor, rest) = anchors.locate(parent)?;
        let Found::Here(_, stat) = anchor.find(rest).map_err(failed(parent))? else {
            break;
        };
        missing.push(MakeDirectory {
            path: stored,
            ownership: Ownership {
                uid: stat.uid,
                gid: stat.gid,
                mode: stat.mode,
            },
        });
    }
    missing.reverse();
    Ok(missing)
}
