//! What of a machine is worth keeping, with owner and mode. Pure, but for what [`Look`] is asked.

use super::propose::{Look, ProposedEntry, Seen};
use super::wanted::{DIRECTORIES, FILES, Wanted};
use crate::machine::Machine;
use state_linux::mountinfo::Mount;
use std::path::{Path, PathBuf};

pub(super) fn is_host_key(path: &Path) -> bool {
    path.to_str()
        .is_some_and(|path| path.starts_with("/etc/ssh/ssh_host_"))
}

pub(super) fn entries(
    machine: &Machine,
    store: &Path,
    look: &dyn Look,
) -> (Vec<ProposedEntry>, Vec<ProposedEntry>) {
    let owners = Owners {
        passwd: look.text(Path::new("/etc/passwd")),
        group: look.text(Path::new("/etc/group")),
    };
    let is_nixos = machine.distribution.is_nixos;
    let wanted = |list: &'static [Wanted]| {
        list.iter()
            .filter(move |wanted| !(is_nixos && wanted.not_on_nixos))
    };
    let mut directories: Vec<ProposedEntry> = Vec::new();
    for wanted in wanted(DIRECTORIES) {
        let path = Path::new(wanted.path);
        let is_covered = directories
            .iter()
            .any(|entry| path.starts_with(&entry.path));
        let leads_to_store = store.starts_with(path);
        let Some(seen) = look.seen(path).filter(|seen| seen.is_directory) else {
            continue;
        };
        if !is_covered && !leads_to_store && !is_kept_otherwise(machine, path, store) {
            directories.push(owners.entry(path, wanted.why, &seen, 0o755));
        }
    }
    let mut files: Vec<ProposedEntry> = Vec::new();
    let keys = look.names(Path::new("/etc/ssh"));
    let keys = keys
        .iter()
        .filter(|name| name.starts_with("ssh_host_"))
        .map(|name| {
            (
                Path::new("/etc/ssh").join(name),
                "how others know this machine",
            )
        });
    let others = wanted(FILES).map(|wanted| (PathBuf::from(wanted.path), wanted.why));
    for (path, why) in others.chain(keys) {
        let is_covered = directories
            .iter()
            .any(|entry| path.starts_with(&entry.path));
        if let Some(seen) = look.seen(&path).filter(|seen| seen.is_file && !is_covered) {
            files.push(owners.entry(&path, why, &seen, 0o644));
        }
    }
    (directories, files)
}

/// Whether a path has a volume of its own already, which no reset of root touches. A bind mount
/// out of the store is not that: it is how an entry looks when it is in place.
fn is_kept_otherwise(machine: &Machine, path: &Path, store: &Path) -> bool {
    let Some(mount) = machine.mount_at(path) else {
        return false;
    };
    let is_of =
        |other: Option<&Mount>| other.is_some_and(|other| Machine::is_same_volume(other, mount));
    !is_of(machine.root()) && !is_of(machine.mount_of(store))
}

/// Directories people would miss among the entries, and why they are not there.
pub(super) fn volumes_of_their_own(machine: &Machine, store: &Path) -> Option<String> {
    let apart: Vec<&str> = DIRECTORIES
        .iter()
        .map(|wanted| wanted.path)
        .filter(|path| is_kept_otherwise(machine, Path::new(path), store))
        .collect();
    (!apart.is_empty()).then(|| {
        format!(
            "on volumes of their own, which no reset touches and no archive holds: {}",
            apart.join(", ")
        )
    })
}

struct Owners {
    passwd: String,
    group: String,
}

impl Owners {
    fn name(text: &str, id: u32) -> Option<String> {
        text.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
        })
    }

    fn entry(&self, path: &Path, why: &'static str, seen: &Seen, usual: u32) -> ProposedEntry {
        let name = |text: &str, id: u32| {
            (id != 0).then(|| Self::name(text, id).unwrap_or_else(|| id.to_string()))
        };
        ProposedEntry {
            path: path.to_owned(),
            why,
            user: name(&self.passwd, seen.uid),
            group: name(&self.group, seen.gid),
            mode: (seen.mode != usual).then_some(seen.mode),
        }
    }
}
