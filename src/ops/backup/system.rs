//! What an archive says of the system that it is of.

use crate::archive::manifest::Bytes;
use crate::context::Context;
use crate::program::Program;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Names by number out of passwd(5) or group(5).
type Names = BTreeMap<u32, Bytes>;

/// Names by number, out of passwd(5) or group(5) of the machine. The first of a number counts.
pub(in crate::ops) fn names(cx: &Context, file: &str) -> Names {
    parse_names(&std::fs::read(cx.rooted(file)).unwrap_or_default())
}

fn parse_names(text: &[u8]) -> Names {
    let mut names = Names::new();
    for line in text.split(|b| *b == b'\n') {
        let mut fields = line.split(|b| *b == b':');
        let (name, id) = (fields.next(), fields.nth(1));
        let id = id.and_then(|id| std::str::from_utf8(id).ok()?.parse().ok());
        if let (Some(name), Some(id)) = (name.filter(|name| !name.is_empty()), id) {
            names.entry(id).or_insert_with(|| Bytes(name.to_vec()));
        }
    }
    names
}

/// What the running NixOS says it is.
pub(in crate::ops) fn nixos(cx: &Context) -> Option<serde_json::Value> {
    if cx.root_dir != Path::new("/") || Program::NixosVersion.find().is_none() {
        return None;
    }
    let doing = "asking for the version of NixOS";
    let said = Program::NixosVersion
        .run(doing, ["--json"], Duration::from_secs(20))
        .ok()?;
    serde_json::from_slice(&said).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_of_a_number_counts() {
        let names = parse_names(b"root:x:0:0:::\ntoor:x:0:0\n\n:x:5:\nbad\nann:x:1000:\nx:y:z:\n");
        let found: Vec<_> = names
            .iter()
            .map(|(id, name)| (*id, name.0.as_slice()))
            .collect();
        assert_eq!(found, [(0, &b"root"[..]), (1000, b"ann")]);
    }
}
