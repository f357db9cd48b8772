//! What there is before anything is done, and whether anything may be.

use super::device::{Device, Use};
use super::journal::{self, Note};
use super::layout::{Backend, Layout, Place};
use super::plan::{Encrypt, Seen, below};
use super::probe::Content;
use super::{Options, inside, pool};
use crate::context::Context;
use crate::failure::Failure;
use crate::paths::Shown;
use anyhow::Context as _;
use state_linux::mountinfo::{self, Mount};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What is asked for.
pub(super) struct Asked<'a> {
    pub(super) cx: &'a Context<'a>,
    pub(super) options: &'a Options,
    pub(super) layout: &'a Layout,
    pub(super) into: &'a Path,
}

/// What was found.
pub(super) struct Found {
    pub(super) seen: Seen,
    pub(super) device: Option<Device>,
    pub(super) note: Note,
    pub(super) is_resumed: bool,
}

impl Asked<'_> {
    /// Looks. Refuses what holds anything that was not given up, and what anybody uses.
    pub(super) fn look(&self) -> anyhow::Result<Found> {
        let mut found = match self.options.on.is_absolute() {
            true => self.device()?,
            false => self.pool()?,
        };
        self.mounted(&mut found.seen)?;
        Ok(found)
    }

    /// Looks which of the files are there.
    pub(super) fn look_at_files(&self, seen: &mut Seen, files: &[(PathBuf, String)]) {
        let store = self
            .layout
            .volumes
            .iter()
            .find(|volume| volume.at == self.layout.store);
        let is_there = |file: &PathBuf| fs::symlink_metadata(file).is_ok();
        if store.is_some_and(|store| seen.mounted.contains(&store.place)) {
            // With a configuration in it the store is beyond its beginnings: it was restored.
            let is_begun = files.first().is_some_and(|(first, _)| !is_there(first));
            let names = files.iter().map(|(file, _)| file);
            seen.written = names
                .filter(|file| !is_begun || is_there(file))
                .cloned()
                .collect();
        }
    }

    fn note(&self, device: Option<&Device>) -> anyhow::Result<(Note, bool)> {
        if let Some(device) = device
            && let Some(note) = journal::read(self.cx, device)
        {
            return Ok((note, true));
        }
        let new = || {
            let id = fs::read_to_string("/proc/sys/kernel/random/uuid");
            id.map(|id| id.trim().to_owned()).context("making a UUID")
        };
        let uuid = match &self.options.uuid {
            Some(uuid) => uuid.clone(),
            None => new()?,
        };
        let bytes = device.map_or(0, |device| device.bytes);
        Ok((
            Note {
                bytes,
                uuid,
                luks: new()?,
            },
            false,
        ))
    }

    /// A pool that is there.
    fn pool(&self) -> anyhow::Result<Found> {
        let shown = Shown(&self.options.on);
        if self.layout.backend != Backend::Zfs {
            return Err(Failure::usage(format!("{shown} is not an absolute path"))
                .hint("name the device: /dev/…; a pool goes with --backend zfs")
                .into());
        }
        let name = self.layout.pool.split('/').next().unwrap_or_default();
        let there = pool::look(name)?.ok_or_else(|| {
            Failure::refused(format!("no pool called {name} is imported")).hint(format!(
                "`zpool import -N {name}`; or name a device, and the pool is made on it"
            ))
        })?;
        let (note, is_resumed) = self.note(None)?;
        let mut seen = Seen {
            is_formatted: true,
            ..Seen::default()
        };
        self.datasets(&there, &mut seen)?;
        Ok(Found {
            seen,
            device: None,
            note,
            is_resumed,
        })
    }

    /// Which datasets are there, and that they are ours.
    fn datasets(&self, there: &pool::Pool, seen: &mut Seen) -> anyhow::Result<()> {
        let mounts = mountinfo::read().context("reading the mounts")?;
        let mut foreign = BTreeSet::new();
        for volume in &self.layout.volumes {
            let Place::Dataset(name) = &volume.place else {
                continue;
            };
            if !there.names.contains(name) {
                continue;
            }
            seen.present.push(volume.place.clone());
            if !self.is_in_place(volume, &mounts, None) {
                foreign.extend(inside::of_dataset(name, volume, self.layout)?);
            }
            seen.has_blank |=
                volume.at == Path::new("/") && there.names.contains(&format!("{name}@blank"));
        }
        self.refuse_foreign(&format!("the pool {}", self.layout.pool), &foreign)
    }

    fn refuse_foreign(&self, what: &str, foreign: &BTreeSet<PathBuf>) -> anyhow::Result<()> {
        if foreign.is_empty() {
            return Ok(());
        }
        const MOST: usize = 5;
        let names: Vec<_> = foreign
            .iter()
            .take(MOST)
            .map(|path| Shown(path).to_string())
            .collect();
        let more = match foreign.len().checked_sub(MOST) {
            Some(more) if more > 0 => format!(" and {more} more"),
            _ => String::new(),
        };
        Err(Failure::refused(format!(
            "{what} holds something: {}{more}",
            names.join(", ")
        ))
        .hint("it is not touched: move it away, or use another one")
        .into())
    }

    /// A device, or a file as one.
    fn device(&self) -> anyhow::Result<Found> {
        let named = &self.options.on;
        let device = Device::open(named)?;
        let (note, is_resumed) = self.note(Some(&device))?;
        if self.layout.filesystem.is_none()
            && let Some(there) = pool::look(&self.layout.pool)?
        {
            if !there.is_on(&device.path) {
                return Err(Failure::refused(format!(
                    "a pool called {} is imported, and is elsewhere",
                    self.layout.pool
                ))
                .hint("choose another name with --pool, or name the pool in place of the device")
                .into());
            }
            let mut seen = Seen {
                device: device.path.clone(),
                is_formatted: true,
                ..Seen::default()
            };
            self.datasets(&there, &mut seen)?;
            return Ok(Found {
                seen,
                device: Some(device),
                note,
                is_resumed,
            });
        }
        let mut found = Found {
            seen: Seen {
                device: device.path.clone(),
                ..Seen::default()
            },
            device: None,
            note,
            is_resumed,
        };
        match &self.options.encrypt {
            None => self.plain(&device, &mut found)?,
            Some(mapper) => self.encrypted(&device, mapper, &mut found)?,
        }
        found.device = Some(device);
        Ok(found)
    }

    /// A device that carries the filesystem itself.
    fn plain(&self, device: &Device, found: &mut Found) -> anyhow::Result<()> {
        let content = device.content()?;
        let kind = self
            .layout
            .filesystem
            .map_or("zfs", |filesystem| filesystem.name());
        let there = content
            .filesystem(kind)
            .map(|signature| signature.id.clone());
        match device.used()? {
            Use::Free => {}
            Use::Mounted(mounts) => return self.resume(device, there, &mounts, found),
            Use::Taken(by) => return Err(in_use(device, &by)),
        }
        if let Some(uuid) = &there
            && self.layout.filesystem.is_some()
        {
            let is_ours = found.is_resumed && *uuid == found.note.uuid;
            match inside::of_device(&device.path, self.layout) {
                Ok(inside) if inside.foreign.is_empty() => {
                    found.note.uuid.clone_from(uuid);
                    found.seen.is_formatted = true;
                    found.seen.present = inside.present;
                    found.seen.has_blank = inside.has_blank;
                    return Ok(());
                }
                // Somebody's data: only if it is given up.
                Ok(inside) if self.options.erase.is_none() => {
                    return self.refuse_content(device, &content, &inside.foreign);
                }
                // The program that made it was killed.
                Err(_) if is_ours => return Ok(()),
                Ok(_) | Err(_) => {}
            }
        }
        self.give_up(device, content, found)
    }

    /// Plans to give up what a device holds, if it was said; refuses otherwise.
    fn give_up(&self, device: &Device, content: Content, found: &mut Found) -> anyhow::Result<()> {
        let is_ours = found.is_resumed
            && match &content {
                Content::Empty | Content::Unknown { .. } => true,
                Content::Known(signatures) => {
                    let ours = [&found.note.uuid, &found.note.luks];
                    signatures
                        .iter()
                        .all(|signature| ours.contains(&&signature.id))
                }
            };
        match (content.word(), &self.options.erase) {
            (None, _) => Ok(()),
            _ if is_ours => Ok(()),
            (Some(word), Some(given)) if word == *given => {
                let what = in_words(&content, device.partitions());
                found.seen.gives_up = Some((device.path.clone(), word, what));
                Ok(())
            }
            _ => self.refuse_content(device, &content, &BTreeSet::new()),
        }
    }

    fn refuse_content(
        &self,
        device: &Device,
        content: &Content,
        inside: &BTreeSet<PathBuf>,
    ) -> anyhow::Result<()> {
        let word = content.word().unwrap_or_default();
        let names = inside.iter().map(|path| Shown(path).to_string());
        let what = in_words(content, names.chain(device.partitions()).collect());
        let (named, given) = (Shown(&device.named), &self.options.erase);
        let open = match content.filesystem("luks") {
            Some(_) => format!(
                "to use it as it is, `cryptsetup open {named} NAME` and name /dev/mapper/NAME; "
            ),
            None => String::new(),
        };
        let other = match given {
            Some(given) => format!(", not {given}"),
            None => String::new(),
        };
        Err(Failure::refused(format!("{named} holds {what}{other}"))
            .hint(format!(
                "{open}if that may be lost for ever, say so: --erase {word}"
            ))
            .into())
    }

    /// A device that is mounted: by an earlier run, where this one would mount it.
    fn resume(
        &self,
        device: &Device,
        there: Option<String>,
        mounts: &[Mount],
        found: &mut Found,
    ) -> anyhow::Result<()> {
        let here = mountinfo::read().context("reading the mounts")?;
        let in_place = |mount: &Mount| {
            let mut volumes = self.layout.volumes.iter();
            volumes.any(|volume| {
                below(self.into, &volume.at) == mount.at
                    && self.is_in_place(volume, &here, Some(&device.path))
            })
        };
        let elsewhere = mounts.iter().find(|mount| !in_place(mount));
        let (Some(uuid), None) = (there, elsewhere) else {
            let at = elsewhere
                .or(mounts.first())
                .map_or("/".into(), |mount| mount.at.clone());
            return Err(in_use(device, &format!("a mount at {}", Shown(&at))));
        };
        found.note.uuid = uuid;
        found.seen.is_formatted = true;
        // A volume that is not mounted yet is made if it is missing; making finds it there.
        let volumes = self.layout.volumes.iter();
        let mounted = volumes.filter(|volume| self.is_in_place(volume, &here, Some(&device.path)));
        found.seen.present = mounted.map(|volume| volume.place.clone()).collect();
        // With root in use blank is no longer that of an empty one; it came before.
        found.seen.has_blank = found
            .seen
            .present
            .iter()
            .any(|place| *place == self.layout.volumes[0].place);
        Ok(())
    }

    /// A device that is, or becomes, a LUKS device.
    fn encrypted(&self, device: &Device, mapper: &str, found: &mut Found) -> anyhow::Result<()> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if mapper.is_empty() || mapper == "control" || !mapper.chars().all(is_plain) {
            return Err(Failure::usage(format!(
                "{mapper:?} cannot be the name of an opened device"
            ))
            .into());
        }
        let open = Path::new("/dev/mapper").join(mapper);
        let content = device.content()?;
        let is_ours = content
            .filesystem("luks")
            .is_some_and(|luks| found.is_resumed && luks.id == found.note.luks);
        let is_open = is_ours && open.exists();
        if open.exists() && !is_open {
            return Err(
                Failure::refused(format!("{} is there already", Shown(&open)))
                    .hint(format!(
                        "to lay that out, name it in place of {}, without --encrypt",
                        Shown(&device.named)
                    ))
                    .into(),
            );
        }
        match device.used()? {
            Use::Free => {}
            Use::Taken(_) if is_open => {}
            Use::Mounted(mounts) => {
                let at = mounts.first().map_or(Path::new("/"), |mount| &mount.at);
                return Err(in_use(device, &format!("a mount at {}", Shown(at))));
            }
            Use::Taken(by) => return Err(in_use(device, &by)),
        }
        if is_open {
            let inner = Device::open(&open)?;
            self.plain(&inner, found)?;
            found.seen.gives_up = None; // fresh ciphertext reads as anything
        } else if !is_ours {
            self.give_up(device, content, found)?;
        }
        found.seen.device = open;
        found.seen.encrypt = Some(Encrypt {
            device: device.path.clone(),
            mapper: mapper.to_owned(),
            is_made: is_ours,
            is_open,
        });
        Ok(())
    }
}

/// What a device holds, with the first names of what lies in it.
fn in_words(content: &Content, names: Vec<String>) -> String {
    const MOST: usize = 5;
    let more = if names.len() > MOST { " …" } else { "" };
    match &names[..names.len().min(MOST)] {
        [] => content.to_string(),
        names => format!("{content}, with {}{more}", names.join(", ")),
    }
}

fn in_use(device: &Device, by: &str) -> anyhow::Error {
    Failure::refused(format!("{} is in use by {by}", Shown(&device.named)))
        .hint("nothing that is in use is laid out: unmount it, switch it off, or take another one")
        .into()
}
