//! The proposed configuration as text, with a comment for each choice. Pure.

use super::import::Imported;
use super::propose::{Proposal, ProposedEntry};
use crate::settings::{self, EntryTable, Method, Root};
use std::path::Path;

/// A TOML string.
fn quoted(text: impl Into<String>) -> String {
    toml::Value::String(text.into()).to_string()
}

/// Paths of the proposal come from text and are UTF-8.
fn path(path: &Path) -> String {
    quoted(path.to_string_lossy())
}

pub(super) fn toml(proposal: &Proposal) -> String {
    let mut lines: Vec<String> = vec![
        "# What survives a reset of root, and how root is reset. Written by `state init`;".into(),
        "# every key is described in state.toml(5).".into(),
        String::new(),
    ];
    if let Some(name) = &proposal.name {
        lines.extend([
            "[machine]".into(),
            format!("name = {}", quoted(name.as_str())),
            String::new(),
        ]);
    }
    root(proposal, &mut lines);
    if let Some(imported) = &proposal.imported {
        self::imported(imported, &mut lines);
        return lines.join("\n");
    }
    lines.push(format!("[persist.{}]", path(&proposal.store)));
    for (name, entries) in [
        ("directories", &proposal.directories),
        ("files", &proposal.files),
    ] {
        if entries.is_empty() {
            continue;
        }
        lines.push(format!("{name} = ["));
        let mut why = "";
        for entry in entries {
            if entry.why != why {
                why = entry.why;
                lines.push(format!("  # {why}"));
            }
            lines.push(format!("  {},", self::entry(entry)));
        }
        lines.push("]".into());
    }
    lines.push(String::new());
    lines.join("\n")
}

/// The stores of a list that was brought over, and beside each entry what was not.
fn imported(imported: &Imported, lines: &mut Vec<String>) {
    let name = imported.origin.name();
    lines.push(format!(
        "# What {name} kept; what has no place here is named beside its entry."
    ));
    for (store, content) in &imported.stores {
        lines.push(format!("[persist.{}]", path(store)));
        for (key, is_set) in [
            ("hide-mounts", content.hide_mounts),
            ("allow-trash", content.allow_trash),
        ] {
            if is_set {
                lines.push(format!("{key} = true"));
            }
        }
        listed(
            "directories",
            &content.directories,
            Path::new("/"),
            imported,
            lines,
        );
        listed("files", &content.files, Path::new("/"), imported, lines);
        for (user, of) in &content.users {
            lines.push(String::new());
            lines.push(format!("[persist.{}.users.{}]", path(store), key(user)));
            let home = imported.home(user).unwrap_or(Path::new("/"));
            listed("directories", &of.directories, home, imported, lines);
            listed("files", &of.files, home, imported, lines);
        }
        lines.push(String::new());
    }
}

fn listed(
    name: &str,
    entries: &[settings::Entry],
    below: &Path,
    imported: &Imported,
    lines: &mut Vec<String>,
) {
    if entries.is_empty() {
        return;
    }
    lines.push(format!("{name} = ["));
    for entry in entries {
        for what in imported.left_out_of(&below.join(entry.path())) {
            lines.push(format!("  # not brought over: {what}"));
        }
        let entry = match entry {
            settings::Entry::Path(it) => path(it),
            settings::Entry::Table(table) => self::table(table),
        };
        lines.push(format!("  {entry},"));
    }
    lines.push("]".into());
}

fn word(method: Method) -> String {
    toml::Value::try_from(method)
        .expect("a word is a string")
        .to_string()
}

/// A key, bare where TOML allows it.
fn key(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    match !name.is_empty() && name.chars().all(is_bare) {
        true => name.to_owned(),
        false => quoted(name),
    }
}

fn table(table: &EntryTable) -> String {
    let text = |name: &str, value: &Option<String>| {
        let value = value.as_ref()?;
        Some(format!("{name} = {}", quoted(value.as_str())))
    };
    let pairs: Vec<String> = [
        Some(format!("path = {}", path(&table.path))),
        (table.method != Method::default()).then(|| format!("method = {}", word(table.method))),
        table.early.map(|early| format!("early = {early}")),
        text("user", &table.user),
        text("group", &table.group),
        text("mode", &table.mode),
    ]
    .into_iter()
    .flatten()
    .collect();
    format!("{{ {} }}", pairs.join(", "))
}

fn root(proposal: &Proposal, lines: &mut Vec<String>) {
    match &proposal.root {
        Err(why) => {
            lines.push(format!("# Root is left as it is: {why}."));
            lines.push("# [root]".into());
        }
        Ok(Root::Btrfs {
            device, subvolume, ..
        }) => {
            lines.push("[root]".into());
            lines.push("backend = \"btrfs\"".into());
            lines.push(format!("device = {}", path(device)));
            lines.push(format!("subvolume = {}", path(subvolume)));
            past_roots(lines);
        }
        Ok(Root::Zfs { dataset, blank, .. }) => {
            lines.push("[root]".into());
            lines.push("backend = \"zfs\"".into());
            lines.push(format!("dataset = {}", quoted(dataset.as_str())));
            lines.push(format!("blank = {}", quoted(blank.as_str())));
            past_roots(lines);
        }
        Ok(Root::Overlay {
            device, directory, ..
        }) => {
            lines.push("[root]".into());
            lines.push("backend = \"overlay\"".into());
            lines.push(format!("device = {}", path(device)));
            lines.push(format!("directory = {}", path(directory)));
            past_roots(lines);
        }
        Ok(Root::Tmpfs {
            size,
            device,
            blank,
            ..
        }) => {
            lines.push("[root]".into());
            lines.push("backend = \"tmpfs\"".into());
            if let Some(size) = size {
                lines.push(format!("size = {}", quoted(size.as_str())));
            }
            if let Some(device) = device {
                lines.push(format!("device = {} # where blank is", path(device)));
                lines.push(format!("blank = {}", path(blank)));
            }
            past_roots(lines);
        }
    }
    lines.push(String::new());
}

fn past_roots(lines: &mut Vec<String>) {
    lines.push(
        "past-roots = { last = 5, days = 30 } # what a reset threw away stays so long".into(),
    );
}

fn entry(entry: &ProposedEntry) -> String {
    let options: Vec<String> = [
        entry
            .user
            .as_ref()
            .map(|user| format!("user = {}", quoted(user.as_str()))),
        entry
            .group
            .as_ref()
            .map(|group| format!("group = {}", quoted(group.as_str()))),
        entry.mode.map(|mode| format!("mode = \"{mode:04o}\"")),
    ]
    .into_iter()
    .flatten()
    .collect();
    if options.is_empty() {
        path(&entry.path)
    } else {
        format!("{{ path = {}, {} }}", path(&entry.path), options.join(", "))
    }
}
