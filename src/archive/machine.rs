//! `.state/machine.json`, the first member: what machine and what moment an archive is of.
//!
//! Reading the first frame is enough to know it.

use super::manifest::Bytes;
use super::{Bad, Error, FORMAT, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Its path.
pub const PATH: &[u8] = b".state/machine.json";
/// The largest that is read.
pub const MOST_BYTES: u64 = 1 << 20;

/// What machine and what moment an archive is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Machine {
    /// [`FORMAT`].
    pub format: u64,
    /// The program and its version.
    pub tool: String,
    /// The archive's id.
    pub id: String,
    /// The archive it builds on, for an incremental one.
    pub parent: Option<String>,
    /// The machine's name.
    pub machine: String,
    /// When it was made, RFC 3339, by the machine's clock.
    pub time: String,
    /// The root engine.
    pub root: Option<String>,
    /// The stores, in the manifest's order.
    pub stores: Vec<Store>,
    /// The repository that holds the machine's configuration.
    pub config: Option<Config>,
    /// What `nixos-version --json` said, on NixOS.
    pub nixos: Option<serde_json::Value>,
    /// The machine's users by number: owners' names in the tar's headers come from here.
    pub users: BTreeMap<u32, Bytes>,
    /// Its groups by number.
    pub groups: BTreeMap<u32, Bytes>,
}

/// A store as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Store {
    /// The directory it was mounted at.
    pub path: Bytes,
    /// The engine: `btrfs`, `zfs`, `plain`.
    pub engine: String,
    /// The filesystem: `btrfs`, `zfs`, `ext4` …
    pub filesystem: String,
    /// How big the filesystem was, in bytes: a hint for a new disk.
    pub total_bytes: u64,
    /// Whether it was read from a snapshot, where nothing changes meanwhile.
    pub is_frozen: bool,
    /// The identity of what was read; equal identities mean equal content.
    pub identity: Option<String>,
    /// The declared paths that it holds.
    pub entries: Vec<Bytes>,
}

/// The machine's other half: the commit of its configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    /// The work tree on the machine.
    pub repo: Bytes,
    /// Where it can be cloned from, passwords removed.
    pub url: Option<String>,
    /// The commit that was checked out.
    pub commit: String,
    /// Whether the work tree differed from it.
    pub is_dirty: bool,
}

impl Machine {
    /// What the user `id` is called; empty if nothing.
    pub fn user(&self, id: u32) -> &[u8] {
        self.users.get(&id).map_or(&[], |name| &name.0)
    }

    /// The same of a group.
    pub fn group(&self, id: u32) -> &[u8] {
        self.groups.get(&id).map_or(&[], |name| &name.0)
    }

    /// Leaves out names until it is no longer than what is read; says of how many users and groups.
    /// Owners' numbers are in every member.
    pub fn shorten(&mut self) -> usize {
        let mut left_out = 0;
        // What is added to it later, ids and a version, is short.
        while self.to_text().len() as u64 > MOST_BYTES - (64 << 10) {
            let longer = match self.users.len() < self.groups.len() {
                true => &mut self.groups,
                false => &mut self.users,
            };
            let Some(middle) = longer.keys().nth(longer.len() / 2).copied() else {
                break; // it is not the names
            };
            // The lower numbers are the system's own.
            left_out += longer.split_off(&middle).len();
        }
        left_out
    }

    /// As text, one value a line.
    pub fn to_text(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).expect("a machine is JSON");
        text.push(b'\n');
        text
    }

    /// Reads it back.
    ///
    /// # Errors
    /// A newer format, or not what [`Machine::to_text`] writes.
    pub fn from_text(text: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Versioned {
            format: u64,
        }
        let what = "./.state/machine.json";
        let versioned: Versioned =
            serde_json::from_slice(text).map_err(|e| Error::damaged(what, e))?;
        if versioned.format > FORMAT {
            return Err(Error::Newer {
                what: "the archive".into(),
                found: versioned.format,
                known: FORMAT,
            });
        }
        let machine: Self = serde_json::from_slice(text).map_err(|e| Error::damaged(what, e))?;
        if machine.to_text() == text {
            Ok(machine)
        } else {
            Err(Error::damaged(
                what,
                Bad::from("not in the form of this format"),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_names_as_can_be_read_are_in_it() {
        let names = |count| -> BTreeMap<u32, Bytes> {
            let name = |n: u32| (n, Bytes(format!("a-rather-long-name-{n}").into_bytes()));
            (0..count).map(name).collect()
        };
        let mut machine = Machine {
            format: FORMAT,
            tool: String::new(),
            id: String::new(),
            parent: None,
            machine: "blitzar".into(),
            time: String::new(),
            root: None,
            stores: Vec::new(),
            config: None,
            nixos: None,
            users: names(40_000),
            groups: names(100),
        };
        let all = machine.clone();
        assert_eq!(machine.shorten(), 20_000);
        assert_eq!(machine.users, names(20_000));
        assert_eq!(machine.groups, all.groups);
        assert!(machine.to_text().len() as u64 <= MOST_BYTES);
        assert_eq!(machine.clone().shorten(), 0);
    }
}
