//! The proposed configuration as text, with a comment for each choice. Pure.

use super::propose::{Proposal, ProposedEntry};
use crate::settings::Root;
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
        Ok(Root::Tmpfs { size }) => {
            lines.push("[root]".into());
            lines.push("backend = \"tmpfs\"".into());
            if let Some(size) = size {
                lines.push(format!("size = {}", quoted(size.as_str())));
            }
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
