//! Whose restored files become, and what there is to say of it.

use super::{Options, place};
use crate::archive::machine::Machine;
use crate::archive::manifest::{Bytes, Record};
use crate::archive::owners::Owners;
use crate::context::Context;
use crate::persist::{self, Users};
use crate::settings::Settings;
use anyhow::Context as _;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Names by number, as an archive has them.
type Names = BTreeMap<u32, Bytes>;

/// The owners of what is to be restored.
#[derive(Debug, Default)]
pub(super) struct Used {
    users: BTreeSet<u32>,
    groups: BTreeSet<u32>,
    /// Whether the system's user table comes along: then the numbers are right as they are.
    has_table: bool,
}

impl Used {
    pub(super) fn see(&mut self, record: &Record) {
        self.users.insert(record.uid);
        self.groups.insert(record.gid);
        let tables: [&[u8]; 2] = [b"etc/passwd", b"var/lib/nixos/uid-map"];
        self.has_table |= tables.contains(&record.path.as_slice());
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.users.extend(&other.users);
        self.groups.extend(&other.groups);
        self.has_table |= other.has_table;
    }

    /// Whose they become, and what there is to say of that. The user table is that of the system that is restored: never that
    /// of a live medium from which something is restored into a directory.
    pub(super) fn owners(
        &self,
        cx: &Context,
        options: &Options,
        settings: &Settings,
        machine: &Machine,
    ) -> anyhow::Result<(Owners, Vec<String>)> {
        let stores = &machine.stores;
        let first = stores.first().map(|store| OsStr::from_bytes(&store.path.0));
        let new = match first.map(|store| place::machine_root(options, Path::new(store))) {
            Some(root) => root?,
            None => None,
        };
        let root = match (&new, &options.into) {
            (Some(root), _) => root,
            (None, Some(_)) if cx.root_dir == Path::new("/") => {
                return Ok((Owners::default(), self.notes(machine, &Owners::default())));
            }
            (None, _) => &cx.root_dir,
        };
        if self.has_table {
            return Ok((Owners::default(), self.notes(machine, &Owners::default())));
        }
        let here = persist::users(root, settings).context("reading the user table")?;
        let owners = Owners::by_name(machine, &here);
        let mut notes = self.notes(machine, &owners);
        notes.extend(self.strangers(machine, &here, new.is_some()));
        Ok((owners, notes))
    }

    /// Whose name nobody has here: a number that stays may become somebody else's.
    pub(super) fn strangers(
        &self,
        machine: &Machine,
        here: &Users,
        is_new: bool,
    ) -> Option<String> {
        if self.has_table {
            return None;
        }
        let named = |kind, used: &BTreeSet<u32>, names: &Names, is_here: &dyn Fn(&str) -> bool| {
            let strange = used.iter().filter_map(|id| {
                let name = shown(names.get(id)?);
                (*id != 0 && !is_here(&name)).then(|| format!("{kind} {name} {id}"))
            });
            strange.collect::<Vec<_>>()
        };
        let mut list = named("user", &self.users, &machine.users, &|name| {
            here.uid(name).is_some()
        });
        list.extend(named("group", &self.groups, &machine.groups, &|name| {
            here.gid(name).is_some()
        }));
        let cure = match is_new {
            true => "; give them these in the new system, before its packages take others",
            false => "",
        };
        (!list.is_empty()).then(|| {
            let list = list.join(", ");
            format!("owners whose names are not here yet stay numbers: {list}{cure}")
        })
    }

    /// What became other numbers, and which numbers have no name.
    pub(super) fn notes(&self, machine: &Machine, owners: &Owners) -> Vec<String> {
        let sides = [
            ("user", &self.users, &machine.users, &owners.users),
            ("group", &self.groups, &machine.groups, &owners.groups),
        ];
        let (mut changed, mut unknown) = (Vec::new(), Vec::new());
        for (kind, used, names, numbers) in sides {
            let name = |id: &u32| names.get(id).map(shown);
            changed.extend(used.iter().filter_map(|id| {
                let (now, name) = (numbers.get(id)?, name(id)?);
                Some(format!("{kind} {name} is {now} here and was {id}"))
            }));
            let nameless = used.iter().filter(|id| **id != 0 && name(id).is_none());
            unknown.extend(nameless.map(|id| format!("{kind} {id}")));
        }
        let note = |what: &str, list: Vec<String>| {
            (!list.is_empty()).then(|| format!("{what}: {}", few(&list)))
        };
        let notes = [
            note("owners go by their names", changed),
            note("owners that had no name stay numbers", unknown),
        ];
        notes.into_iter().flatten().collect()
    }
}

fn shown(name: &Bytes) -> String {
    String::from_utf8_lossy(&name.0).into_owned()
}

/// The first of a list, and how many more there are.
fn few(list: &[String]) -> String {
    const MOST: usize = 6;
    let mut text = list[..list.len().min(MOST)].join(", ");
    if let Some(more) = list.len().checked_sub(MOST).filter(|more| *more > 0) {
        text += &format!(" and {more} more");
    }
    text
}
