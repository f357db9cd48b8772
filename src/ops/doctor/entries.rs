//! The entries: what makes this machine itself is among them, and their directories are closed
//! where they must be.

use super::{Facts, Finding, Severity};
use crate::context::Context;
use crate::ops::look::{Place, Placed};
use crate::paths::{Shown, Typed};
use crate::persist::{self, Method, PersistTree};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Directories that systemd refuses to use unless they are closed.
const PRIVATE: [&str; 3] = ["/var/lib/private", "/var/cache/private", "/var/log/private"];

/// Modes of [`PRIVATE`] directories in the stores.
pub(super) fn modes(cx: &Context, tree: Option<&PersistTree>) -> Vec<(PathBuf, u32)> {
    let Some(tree) = tree else {
        return Vec::new();
    };
    let mut modes = Vec::new();
    for private in PRIVATE.iter().map(Path::new) {
        for (store, _) in tree.stores() {
            let at = persist::below(store, private);
            if let Ok(metadata) = fs::metadata(cx.rooted(&at)) {
                modes.push((at, metadata.permissions().mode() & 0o7777));
            }
        }
    }
    modes
}

/// What makes a machine itself, as far as this one has it.
pub(super) fn precious(cx: &Context) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = ["/etc/machine-id", "/var/lib/nixos"]
        .into_iter()
        .map(PathBuf::from)
        .filter(|path| cx.rooted(path).exists())
        .collect();
    let keys = fs::read_dir(cx.rooted("/etc/ssh"))
        .into_iter()
        .flatten()
        .flatten();
    let mut keys: Vec<PathBuf> = keys
        .map(|entry| Path::new("/etc/ssh").join(entry.file_name()))
        .filter(|path| is_host_key(path) && path.extension().is_none_or(|e| e != "pub"))
        .collect();
    keys.sort();
    found.extend(keys);
    found
}

fn is_host_key(path: &Path) -> bool {
    path.to_str()
        .is_some_and(|path| path.starts_with("/etc/ssh/ssh_host_"))
}

pub(super) fn check(facts: &Facts) -> Option<Vec<Finding>> {
    let tree = facts.tree.as_ref()?;
    let mut findings = Vec::new();
    for (path, mode) in &facts.modes {
        if *mode != 0o700 {
            findings.push(
                Finding::new(
                    "entries",
                    Severity::Bad,
                    format!(
                        "{} has mode {mode:04o}: services with users of their own do not start",
                        Shown(path)
                    ),
                )
                .cure(format!("chmod 0700 {}", Typed(path))),
            );
        }
    }
    let placed = facts.entries.as_deref().unwrap_or_default();
    // A store that is missing is one finding, not one for each of its entries.
    let mut stuck: BTreeMap<(&str, Option<&str>), Vec<&Placed>> = BTreeMap::new();
    for entry in placed {
        if let Place::Stuck { why, hint } = &entry.place {
            stuck.entry((why, hint.as_deref())).or_default().push(entry);
        }
    }
    for ((why, hint), entries) in stuck {
        let first = Shown(&entries[0].path);
        let fact = match entries.len() {
            1 => format!("{first}: {why}"),
            n => format!("{n} entries, {first} first: {why}"),
        };
        findings.push(Finding {
            cure: hint.map(str::to_owned),
            ..Finding::new("entries", Severity::Bad, fact)
        });
    }
    let waiting: Vec<String> = placed
        .iter()
        .filter(|entry| entry.place == Place::NotYet)
        .map(|entry| Shown(&entry.path).to_string())
        .collect();
    if let Some(first) = waiting.first() {
        let fact = match waiting.len() {
            1 => format!("{first} is not in place"),
            n => format!(
                "{n} of {} entries are not in place, {first} first",
                placed.len()
            ),
        };
        findings.push(Finding::new("entries", Severity::Bad, fact).cure("`state mount`"));
    }
    let unresolved = tree.unresolved().iter().filter(|_| placed.is_empty());
    findings.extend(unresolved.map(|of| {
        Finding::new(
            "entries",
            Severity::Warn,
            format!(
                "entries of the user {} cannot be placed: {} {}",
                of.user, of.user, of.why
            ),
        )
        .cure("make the user, or take the entries out")
    }));
    // Of a machine that does not run, and by an ordinary user, none was looked at.
    (facts.entries.is_some() || !findings.is_empty()).then_some(findings)
}

/// Copied files are saved, and files that should be copied are.
pub(super) fn watch(facts: &Facts) -> Option<Vec<Finding>> {
    let tree = facts.tree.as_ref()?;
    let mut findings = Vec::new();
    if facts.unwatched > 0 {
        let fact = match facts.unwatched {
            1 => "the changes of one copied file are not saved: nobody watches it".to_owned(),
            n => format!("the changes of {n} copied files are not saved: nobody watches them"),
        };
        findings.push(Finding::new("watch", Severity::Bad, fact).cure(
            "`systemctl restart state-watch.service`; `state init --install-boot` installs it",
        ));
    }
    for path in persist::REPLACED_BY_PROGRAMS {
        let entry = tree.entry(Path::new(path));
        if entry.is_some_and(|entry| matches!(entry.method, Method::Bind | Method::Symlink)) {
            findings.push(
                Finding::new(
                    "watch",
                    Severity::Warn,
                    format!(
                        "programs replace {path} by a new file, which its method does not let them"
                    ),
                )
                .cure("method = \"copy\" on the entry"),
            );
        }
    }
    Some(findings)
}

/// What would be made anew at each boot, and what depends on its staying the same.
pub(super) fn identity(facts: &Facts) -> Option<Vec<Finding>> {
    let tree = facts.tree.as_ref()?;
    facts.config.as_ref().ok()?.settings.root.as_ref()?;
    let mut findings = Vec::new();
    for path in &facts.precious {
        let (name, kept) = (Shown(path), tree.holder(path));
        let is_nixos_s = path == Path::new("/var/lib/nixos");
        let lost = if is_nixos_s {
            "users may get other numbers, and files other owners"
        } else if is_host_key(path) {
            "the machine becomes a stranger to those who know it"
        } else {
            "logs and leases take it for another machine"
        };
        match kept {
            None => findings.push(
                Finding::new(
                    "identity",
                    Severity::Warn,
                    format!("{name} is not kept: {lost} at each boot"),
                )
                .cure("add it to `files` or `directories` of a store"),
            ),
            Some(entry) if is_host_key(path) && !entry.is_early => findings.push(
                Finding::new(
                    "identity",
                    Severity::Warn,
                    format!("{name} is not early: what decrypts with it at boot comes too soon"),
                )
                .cure(format!("early = true on the entry {entry}")),
            ),
            Some(_) => {}
        }
    }
    Some(findings)
}
