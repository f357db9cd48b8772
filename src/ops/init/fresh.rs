//! The first configuration of a machine that is not there yet. Pure.

use super::draft;
use super::propose::{Proposal, ProposedEntry};
use super::wanted::{DIRECTORIES, FILES, Wanted};
use crate::settings::Root;
use std::path::{Path, PathBuf};

/// What every machine has, of what machines want to keep.
const EVERYWHERE: [&str; 4] = ["/home", "/root", "/var/log", "/var/lib/systemd"];
/// What NixOS has as well.
const ON_NIXOS: [&str; 2] = ["/var/lib/nixos", "/etc/nixos"];

/// The configuration of a machine with this root, whose store is at `store`. What is a volume of
/// its own is no entry.
pub(in crate::ops) fn fresh(
    name: Option<String>,
    root: Root,
    store: PathBuf,
    is_nixos: bool,
    volumes: &[&Path],
) -> String {
    let is_wanted = |wanted: &&Wanted| {
        let everywhere = EVERYWHERE.contains(&wanted.path);
        let is_apart = volumes
            .iter()
            .any(|at| Path::new(wanted.path).starts_with(at));
        (everywhere || is_nixos && ON_NIXOS.contains(&wanted.path)) && !is_apart
    };
    let entry = |wanted: &Wanted| ProposedEntry {
        path: wanted.path.into(),
        why: wanted.why,
        user: None,
        group: None,
        mode: (wanted.path == "/root").then_some(0o700),
    };
    let text = draft::toml(&Proposal {
        name,
        root: Ok(root),
        store,
        store_is_mounted: true,
        directories: DIRECTORIES.iter().filter(is_wanted).map(entry).collect(),
        files: FILES.iter().map(entry).collect(),
        imported: None,
        found: Vec::new(),
        todo: Vec::new(),
    });
    text.replacen("`state init`", "`state provision`", 1)
}
