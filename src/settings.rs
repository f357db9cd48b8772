//! The content of `state.toml` as types, with a strict reader and the reference of every key.
//!
//! Pure: finding and reading files is `config`'s. A type, its reader and its documentation are
//! made of one list (see [`table`]), so no key is accepted that is not documented.

pub mod node;
mod rate;
pub mod read;
pub mod reference;
mod table;

pub use rate::Rate;
pub use table::{Key, Keys};

use node::{Node, Problem, Value};
use read::{Read, Reader};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use table::{defaults, table, tagged, words};

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
        /// What is told to monitoring.
        metrics: Metrics = (Metrics::default()), example "";
        /// Where archives are published, by name.
        target: BTreeMap<String, Target> = (BTreeMap::new()), example "";
    }
    later ["drill"]
}

table! {
    /// `[machine]`
    pub struct Machine {
        /// The machine's name in archives: letters, digits and `- _ .`, at most 64 of them.
        name: Option<String> = (None) "the host name", example "\"blitzar\"";
    }
    later []
}

tagged! {
    /// `[root]`: the volume that is erased, on one of four engines.
    pub enum Root by "backend" {
        /// A subvolume of a btrfs filesystem, beside its blank.
        Btrfs "btrfs" {
            /// The device, by a name that does not change.
            device: PathBuf = required, example "\"/dev/disk/by-uuid/1b2c4d5e-0f3a-4b6c-8d9e-a1b2c3d4e5f6\"";
            /// The root subvolume's path from the filesystem's top level.
            subvolume: PathBuf = required, example "\"root\"";
            /// The blank's path from the filesystem's top level.
            blank: Option<PathBuf> = (None) "the subvolume's path with `-blank`", example "\"root-blank\"";
            /// How long past roots are kept.
            past_roots: PastRoots = (PastRoots::default()), example "{ last = 10, days = 90 }";
            /// What happens to the boot when a reset fails.
            on_failure: OnFailure = (OnFailure::default()), example "\"emergency\"";
        }
        later []
        /// A ZFS dataset with its blank snapshot on it.
        Zfs "zfs" {
            /// The root dataset.
            dataset: String = required, example "\"rpool/local/root\"";
            /// The short name of the blank snapshot.
            blank: String = ("blank".into()), example "\"blank\"";
            /// How long past roots are kept.
            past_roots: PastRoots = (PastRoots::default()), example "{ last = 0, days = 0 }";
            /// What happens to the boot when a reset fails.
            on_failure: OnFailure = (OnFailure::default()), example "\"emergency\"";
        }
        later []
        /// Memory, fresh at every boot: there is nothing to erase.
        Tmpfs "tmpfs" {
            /// Its size limit as tmpfs(5) writes it: a share of the memory, or a number of bytes
            /// with k, m or g.
            size: Option<String> = (None) "the kernel's: half of the memory", example "\"25%\"";
        }
        later ["capture", "past-roots"]
        /// An installed system that is never written, below a layer that is erased.
        Overlay "overlay" {
            /// The device of the filesystem that holds what is written: not the installed system's.
            device: PathBuf = required, example "\"/dev/disk/by-uuid/8f1d2c3b-4a59-4c6d-9e7f-0a1b2c3d4e5f\"";
            /// The directory on it that holds the layers, from the filesystem's top.
            directory: PathBuf = ("state/layers".into()), example "\"layers\"";
            /// How long past roots are kept.
            past_roots: PastRoots = (PastRoots::default()), example "{ last = 10, days = 90 }";
            /// What happens to the boot when a reset fails.
            on_failure: OnFailure = (OnFailure::default()), example "\"emergency\"";
        }
        later []
    }
    later []
}

table! {
    /// `past-roots`: a past root is kept while either rule holds it.
    pub struct PastRoots {
        /// So many of the newest are kept at least. 0: none is kept at all, a reset gives the
        /// outgoing root up at once.
        last: u32 = (5), example "10";
        /// Those younger than so many days are kept.
        days: u32 = (30), example "90";
    }
    later []
}

words! {
    /// What a failed reset does to the boot.
    pub enum OnFailure {
        /// Boot on with the root as it is, loudly.
        BootUnwiped "boot-unwiped",
        /// Stop in the emergency shell.
        Emergency "emergency",
    }
    later []
}

words! {
    /// What becomes of a store's content.
    pub enum Class {
        /// It goes into archives.
        Backup "backup",
        /// It is kept, and never archived.
        Local "local",
        /// It may be lost.
        Cache "cache",
    }
    later []
}

table! {
    /// `[persist."/persist"]`: one store.
    pub struct Store {
        /// What becomes of its content.
        class: Class = (Class::default()), example "\"local\"";
        /// Hide the bind mounts from file managers (`x-gvfs-hide`).
        hide_mounts: bool = (false), example "true";
        /// Let file managers make a trash in the bind mounts (`x-gvfs-trash`).
        allow_trash: bool = (false), example "true";
        /// The directories it holds.
        directories: Vec<Entry> = (Vec::new()), example "[\"/var/log\", { path = \"/var/lib/nixos\", early = true }]";
        /// The files it holds.
        files: Vec<Entry> = (Vec::new()), example "[\"/etc/machine-id\"]";
        /// Entries relative to users' homes, by user name.
        users: BTreeMap<String, UserEntries> = (BTreeMap::new()), example "";
    }
    later []
}

table! {
    /// `[persist."/persist".users.NAME]`: entries relative to a user's home.
    pub struct UserEntries {
        /// Directories relative to the home.
        directories: Vec<Entry> = (Vec::new()), example "[\"Documents\", { path = \".ssh\", mode = \"0700\" }]";
        /// Files relative to the home.
        files: Vec<Entry> = (Vec::new()), example "[\".screenrc\"]";
    }
    later []
}

table! {
    /// An entry with options.
    pub struct EntryTable {
        /// Where it is on the machine: absolute, or relative to the home for a user's entry.
        path: PathBuf = required, example "\"/var/lib/colord\"";
        /// How it is put in place.
        method: Method = (Method::default()), example "\"symlink\"";
        /// Whether it is put in place in the initrd, before the system starts.
        early: Option<bool> = (None) "`true` for what the start of the system depends on: the machine id, ssh host keys, NixOS's user ids", example "true";
        /// The owner, by name or number, for when it must be made.
        user: Option<String> = (None) "`root`, or whose home it is in", example "\"colord\"";
        /// The group, by name or number, for when it must be made.
        group: Option<String> = (None) "the user's own", example "\"colord\"";
        /// The mode for when it must be made, as an octal number in quotes.
        mode: Option<String> = (None) "`0755` for directories, `0644` for files", example "\"0750\"";
        /// What to do when a file does not exist in the store. Directories are always made.
        if_missing: Option<IfMissing> = (None) "`\"create\"`", example "\"skip\"";
    }
    later []
}

words! {
    /// How an entry is put in place.
    pub enum Method {
        /// A kernel bind mount.
        Bind "bind",
        /// A symlink into the store.
        Symlink "symlink",
        /// A copy, saved back when it changes: for files that their programs replace.
        Copy "copy",
    }
    later []
}

words! {
    /// What to do when a file entry's source does not exist.
    pub enum IfMissing {
        /// Make an empty one.
        Create "create",
        /// Leave it out.
        Skip "skip",
        /// Report a failure.
        Fail "fail",
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
    /// `[archive]`
    pub struct Archive {
        /// The zstd level, 1 to 19.
        level: i32 = (3), example "9";
        /// How many archives build on each other at most, the full one counted: an archive holds
        /// what changed since the last one, and restoring it needs them all. 1: every archive is
        /// a full one.
        full_every: u32 = (30), example "7";
        /// Patterns of paths that are not archived.
        exclude: Vec<String> = (Vec::new()), example "[\"**/.cache\"]";
        /// Who can read archives: age recipients, or absolute paths of files that list some, one a
        /// line. Without any, archives are not encrypted. The keys that open them are not needed
        /// to make archives, and are better kept elsewhere.
        encrypt_to: Vec<String> = (Vec::new()), example "[\"age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj\", \"/etc/state/recipients\"]";
        /// The age keys that open encrypted archives here, as age-keygen(1) writes them. Better
        /// left out, and named with `--identity` when an archive is to be read.
        identity_file: Option<PathBuf> = (None), example "\"/run/keys/state.age\"";
        /// The private key that signs archives: an OpenSSH key of type ed25519 without a
        /// passphrase. Without it archives are unsigned.
        sign_with: Option<PathBuf> = (None), example "\"/etc/ssh/ssh_host_ed25519_key\"";
        /// The keys that are believed when archives are read: an `allowed_signers` file, see
        /// ssh-keygen(1). An archive signed by another key is refused.
        trusted_signers: Option<PathBuf> = (None), example "\"/etc/state/allowed_signers\"";
        /// What runs before and after `state backup`.
        hooks: Hooks = (Hooks::default()), example "";
    }
    later []
}

table! {
    /// `[archive.hooks]`
    pub struct Hooks {
        /// Runs before the stores are looked at: a program and its arguments, without a shell. If it
        /// fails, there is no backup.
        before: Vec<String> = (Vec::new()), example "[\"systemctl\", \"stop\", \"forgejo\"]";
        /// Runs after it, also after a failure: the reverse of `before`.
        after: Vec<String> = (Vec::new()), example "[\"systemctl\", \"start\", \"forgejo\"]";
        /// Runs last if anything was not done.
        on_failure: Vec<String> = (Vec::new()), example "[\"sh\", \"-c\", \"echo $STATE_ERROR | mail root\"]";
        /// So many seconds each of them may take; then it is killed and counts as failed.
        time_limit: u32 = (600), example "60";
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

/// One entry: a path alone, or a table.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(untagged)]
pub enum Entry {
    /// Everything by default.
    Path(PathBuf),
    /// With options.
    Table(EntryTable),
}

impl Entry {
    /// The path as declared.
    pub fn path(&self) -> &Path {
        match self {
            Self::Path(path) => path,
            Self::Table(table) => &table.path,
        }
    }
}

impl Read for Entry {
    fn kind() -> String {
        "a path, or a table with the keys of an entry".into()
    }
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Text(path) => Some(Self::Path(path.into())),
            Value::Table(_) => EntryTable::read(node, reader).map(Self::Table),
            _ => {
                reader.mismatch(node, "a path or a table");
                None
            }
        }
    }
}

impl From<&str> for Entry {
    fn from(path: &str) -> Self {
        Self::Path(path.into())
    }
}

defaults! { Settings, Machine, PastRoots, Store, UserEntries, Diff, Snapshots, Keep, Archive, Hooks, Metrics }

impl Copy for PastRoots {}
impl Eq for PastRoots {}
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
