//! The content of `state.toml` as types. Pure: parsing text and finding files is `config`'s.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Everything `state.toml` can say.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// The machine itself.
    pub machine: Machine,
    /// The volume that is erased. Without it only the persist tree is managed.
    pub root: Option<Root>,
    /// The stores of the persist tree, by the directory each is mounted at.
    pub persist: BTreeMap<PathBuf, Store>,
    /// The repository that holds the machine's configuration.
    pub config: Option<ConfigRepo>,
    /// What `state diff` leaves out.
    pub diff: Diff,
    /// How long snapshots of the persist tree are kept.
    pub snapshots: Snapshots,
    /// How archives are made.
    pub archive: Archive,
    /// Proving restores.
    pub drill: Drill,
    /// Where archives are published, by name.
    pub target: BTreeMap<String, Target>,
}

/// `[machine]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Machine {
    /// The machine's name in archives; by default its host name.
    pub name: Option<String>,
}

/// `[root]`: one of four engines.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(tag = "backend", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Root {
    /// A subvolume beside its blank.
    #[serde(rename_all = "kebab-case")]
    Btrfs {
        /// The device, by a name that does not change.
        device: PathBuf,
        /// The root subvolume's path from the top level.
        subvolume: PathBuf,
        /// The blank's path from the top level; by default the subvolume's with `-blank`.
        blank: Option<PathBuf>,
        /// How long past roots are kept.
        #[serde(default)]
        past_roots: PastRoots,
        /// What happens when a reset fails.
        #[serde(default)]
        on_failure: OnFailure,
    },
    /// A dataset with `@blank` on it.
    #[serde(rename_all = "kebab-case")]
    Zfs {
        /// The root dataset.
        dataset: String,
        /// The blank snapshot's short name.
        #[serde(default = "blank")]
        blank: String,
        /// How long past roots are kept.
        #[serde(default)]
        past_roots: PastRoots,
        /// What happens when a reset fails.
        #[serde(default)]
        on_failure: OnFailure,
    },
    /// Memory: fresh at every boot.
    #[serde(rename_all = "kebab-case")]
    Tmpfs {
        /// Its size limit, as tmpfs(5) writes it.
        size: Option<String>,
    },
}

fn blank() -> String {
    "blank".into()
}

/// `past-roots = { last = 5, days = 30 }`: kept while either rule holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct PastRoots {
    /// So many of the newest are kept at least; 0: none is kept at all.
    pub last: u32,
    /// Those younger than so many days are kept.
    pub days: u32,
}

impl Default for PastRoots {
    fn default() -> Self {
        Self { last: 5, days: 30 }
    }
}

/// What a failed reset does to the boot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// Boot on with the root as it is, loudly.
    #[default]
    BootUnwiped,
    /// Stop in the emergency shell.
    Emergency,
}

/// What becomes of a store's content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// It goes into archives.
    #[default]
    Backup,
    /// It is kept, and never archived.
    Local,
    /// It may be lost.
    Cache,
}

/// `[persist."/persist"]`: one store.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Store {
    /// What becomes of its content.
    pub class: Class,
    /// Hide the bind mounts from file managers (`x-gvfs-hide`).
    pub hide_mounts: bool,
    /// Let file managers make a trash in the bind mounts (`x-gvfs-trash`).
    pub allow_trash: bool,
    /// The directories it holds.
    pub directories: Vec<Entry>,
    /// The files it holds.
    pub files: Vec<Entry>,
    /// Entries relative to users' homes.
    pub users: BTreeMap<String, UserEntries>,
}

/// `[persist."/persist".users.NAME]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct UserEntries {
    /// Directories relative to the home.
    pub directories: Vec<Entry>,
    /// Files relative to the home.
    pub files: Vec<Entry>,
}

/// One entry: a path alone, or a table.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Entry {
    /// Everything by default.
    Path(PathBuf),
    /// With options.
    Table(EntryTable),
}

/// An entry with options.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct EntryTable {
    /// Where it is on the machine.
    pub path: PathBuf,
    /// How it is put in place.
    #[serde(default)]
    pub method: Method,
    /// Put in place in the initrd.
    pub early: Option<bool>,
    /// The owner, by name or number, when it must be made.
    pub user: Option<String>,
    /// The group, by name or number, when it must be made.
    pub group: Option<String>,
    /// The mode when it must be made, octal.
    pub mode: Option<String>,
    /// What to do when a file's source does not exist.
    pub if_missing: Option<IfMissing>,
}

/// How an entry is put in place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// A kernel bind mount.
    #[default]
    Bind,
    /// A symlink into the store.
    Symlink,
}

/// What to do when a file entry's source does not exist.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum IfMissing {
    /// Make an empty one.
    #[default]
    Create,
    /// Leave it out.
    Skip,
    /// Report a failure.
    Fail,
}

/// `[config]`: the other half of the machine.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ConfigRepo {
    /// The git work tree.
    pub repo: PathBuf,
    /// Refuse a backup while the work tree differs from its commit.
    #[serde(default)]
    pub require_clean: bool,
}

/// `[diff]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Diff {
    /// Globs of paths that may be lost without a word.
    pub ignore: Vec<String>,
}

/// `[snapshots]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Snapshots {
    /// What is kept.
    pub keep: Keep,
}

/// A retention policy: an object is kept while any rule holds it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Keep {
    /// So many of the newest.
    pub last: u32,
    /// The newest of each of so many hours.
    pub hourly: u32,
    /// The newest of each of so many days.
    pub daily: u32,
    /// The newest of each of so many weeks.
    pub weekly: u32,
    /// The newest of each of so many months.
    pub monthly: u32,
    /// The newest of each of so many years.
    pub yearly: u32,
}

/// `[archive]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Archive {
    /// The zstd level, 1 to 19.
    pub level: i32,
    /// Globs of paths that are not archived.
    pub exclude: Vec<String>,
}

impl Default for Archive {
    fn default() -> Self {
        Self {
            level: 3,
            exclude: Vec::new(),
        }
    }
}

/// `[drill]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Drill {
    /// `status` wants attention when the last proven restore is older: `14 d`.
    pub max_age: Option<String>,
}

/// `[target.NAME]`
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Target {
    /// `file:///directory`.
    pub url: String,
    /// What is kept there.
    #[serde(default)]
    pub keep: Keep,
}
