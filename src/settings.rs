//! The content of `state.toml` as types, with a strict reader and the reference of every key.
//!
//! Pure: finding and reading files is `config`'s. A type, its reader and its documentation are
//! made of one list (see [`table`]), so no key is accepted that is not documented.

mod archive;
mod drill;
pub mod node;
mod persist;
pub mod read;
pub mod reference;
mod root;
mod size;
mod table;

pub use archive::{Archive, Hooks};
pub use drill::{Age, Drill};
pub use persist::{Class, Entry, EntryTable, IfMissing, Method, Store, UserEntries};
pub use root::{Capture, OnFailure, PastRoots, Root};
pub use size::{Rate, Size};
pub use table::{Key, Keys};

use node::{Node, Problem, Value};
use read::{Read, Reader};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use table::{defaults, table};

/// The version of the file's form that this program writes, and the newest that it reads.
pub const VERSION: u32 = 1;

table! {
    /// Everything `state.toml` can say.
    pub struct Settings {
        /// The version of this file's form. A file of a newer one is refused.
        version: u32 = (VERSION), example "1";
        /// The machine itself.
        machine: Machine = (Machine::default()), example "";
        /// The volume that is erased. Without it only the persist tree is managed.
        root: Option<Root> = (None) "nothing is erased", example "";
        /// The stores of the persist tree, by the directory each is mounted at.
        persist: BTreeMap<PathBuf, Store> = (BTreeMap::new()), example "";
        /// The repository that holds the machine's configuration.
        config: Option<ConfigRepo> = (None) "none is recorded", example "";
        /// What `state diff` leaves out.
        diff: Diff = (Diff::default()), example "";
        /// How long snapshots of the persist tree are kept.
        snapshots: Snapshots = (Snapshots::default()), example "";
        /// How archives are made.
        archive: Archive = (Archive::default()), example "";
        /// Proofs that a restore works.
        drill: Drill = (Drill::default()), example "";
        /// What is told to monitoring.
        metrics: Metrics = (Metrics::default()), example "";
        /// Where archives are published, by name.
        target: BTreeMap<String, Target> = (BTreeMap::new()), example "";
    }
    later []
}

table! {
    /// `[machine]`
    pub struct Machine {
        /// The machine's name in archives: letters, digits and `- _ .`, at most 64 of them.
        name: Option<String> = (None) "the host name", example "\"blitzar\"";
    }
    later []
}

table! {
    /// `[config]`: the other half of the machine.
    pub struct ConfigRepo {
        /// The git work tree of the machine's configuration; its commit is recorded in archives.
        repo: PathBuf = required, example "\"/persist/etc/nixos\"";
        /// Refuse a backup while the work tree differs from its commit.
        require_clean: bool = (false), example "true";
    }
    later []
}

table! {
    /// `[diff]`
    pub struct Diff {
        /// Patterns of absolute paths that may be lost without a word.
        ignore: Vec<String> = (Vec::new()), example "[\"/var/tmp/**\"]";
    }
    later []
}

table! {
    /// `[snapshots]`
    pub struct Snapshots {
        /// What is kept. Without any rule nothing is pruned.
        keep: Keep = (Keep::default()) "every snapshot is kept", example "{ last = 5, hourly = 24, daily = 7 }";
    }
    later []
}

table! {
    /// `keep`: an object is kept while any rule holds it.
    pub struct Keep {
        /// So many of the newest.
        last: u32 = (0), example "5";
        /// The newest of each of so many hours.
        hourly: u32 = (0), example "24";
        /// The newest of each of so many days.
        daily: u32 = (0), example "7";
        /// The newest of each of so many weeks.
        weekly: u32 = (0), example "4";
        /// The newest of each of so many months.
        monthly: u32 = (0), example "12";
        /// The newest of each of so many years.
        yearly: u32 = (0), example "10";
    }
    later []
}

table! {
    /// `[metrics]`
    pub struct Metrics {
        /// A file for the textfile collector of Prometheus' node exporter; its name ends in `.prom`.
        textfile: Option<PathBuf> = (None) "none is written", example "\"/var/lib/prometheus/node-exporter/state.prom\"";
    }
    later []
}

table! {
    /// `[target.NAME]`: a place where archives are published.
    pub struct Target {
        /// The place: `file://` and an absolute directory, `sftp://USER@HOST:PORT/DIRECTORY`, or
        /// `s3://BUCKET/PREFIX?endpoint=URL&region=NAME`. It holds no secret.
        url: String = required, example "\"file:///mnt/usb/state\"";
        /// A file with `aws_access_key_id` and `aws_secret_access_key`, which only its
        /// owner may read.
        credentials: Option<PathBuf> = (None) "systemd's credential `state-NAME`, else `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` in the environment", example "\"/persist/secrets/b2\"";
        /// The private key file.
        key: Option<PathBuf> = (None) "those that `ssh` uses by itself", example "\"/etc/ssh/ssh_host_ed25519_key\"";
        /// The file with the server's host key. A server that is not in it is
        /// refused.
        known_hosts: Option<PathBuf> = (None) "those that `ssh` uses by itself", example "\"/persist/etc/ssh/known_hosts\"";
        /// The most that is sent to it.
        bandwidth: Option<Rate> = (None) "no limit", example "\"5 MiB/s\"";
        /// What `state archives prune` keeps there. Without any rule nothing is pruned.
        keep: Keep = (Keep::default()) "every archive is kept", example "{ last = 3, daily = 7, weekly = 4, monthly = 12 }";
    }
    later []
}

defaults! { Settings, Machine, Diff, Snapshots, Keep, Metrics }

impl Copy for Keep {}
impl Eq for Keep {}

/// All that is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts: Vec<&str> = self.0.iter().map(|problem| problem.fact.as_str()).collect();
        f.write_str(&facts.join("; "))
    }
}

impl std::error::Error for Problems {}

/// Reads the settings out of a merged tree.
///
/// # Errors
/// Everything that is wrong with its form, in the order of the text. What the settings *mean* is
/// checked by `config`.
pub fn read(table: node::Table, mut reader: Reader) -> Result<(Settings, Reader), Problems> {
    let at = node::Span {
        file: 0,
        start: 0,
        end: 0,
    };
    // A newer form is told as that, not as a heap of keys that nobody knows.
    if let Some(pair) = table.get("version")
        && let Value::Number(Some(n)) = pair.node.value
        && n != i64::from(VERSION)
    {
        let fact = format!("version {n} of this file's form is not known");
        reader.problems = vec![Problem::new(Some(pair.node.at), fact).hint(format!(
            "this program reads version {VERSION}; a newer `state` wrote it, or it is a mistake"
        ))];
        return Err(Problems(reader.problems));
    }
    let node = Node {
        at,
        value: Value::Table(table),
    };
    let settings = Settings::read(&node, &mut reader);
    match settings {
        Some(settings) if reader.problems.is_empty() => Ok((settings, reader)),
        _ => {
            reader.problems.sort_by_key(|problem| problem.at);
            Err(Problems(reader.problems))
        }
    }
}

impl Settings {
    /// The first store that is archived: what archives need beside them is kept in it.
    pub(crate) fn first_archived(&self) -> Option<&PathBuf> {
        let mut stores = self.persist.iter();
        let (store, _) = stores.find(|(_, store)| store.class == Class::Backup)?;
        Some(store)
    }
}

impl FromStr for Settings {
    type Err = Problems;
    fn from_str(text: &str) -> Result<Self, Problems> {
        let (table, problems) = node::parse(0, text);
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        read(table, Reader::default()).map(|(settings, _)| settings)
    }
}
