//! Changing `[root]`: where a machine lives now, with everything else as it was. Pure.

use super::{Error, parse};
use crate::settings::Root;
use std::path::Path;
use toml_edit::{DocumentMut, Item, Table, Value};

/// What says where root is, of each engine. How long past roots are kept and what a failed reset does
/// is policy, and stays.
fn places(root: &Root) -> Vec<(&'static str, Option<String>)> {
    let text = |path: &Path| Some(path.to_string_lossy().into_owned());
    match root {
        Root::Btrfs {
            device,
            subvolume,
            blank,
            ..
        } => vec![
            ("backend", Some("btrfs".into())),
            ("device", text(device)),
            ("subvolume", text(subvolume)),
            ("blank", blank.as_deref().and_then(text)),
        ],
        Root::Zfs { dataset, blank, .. } => vec![
            ("backend", Some("zfs".into())),
            ("dataset", Some(dataset.clone())),
            ("blank", Some(blank.clone())),
        ],
        Root::Tmpfs {
            size,
            device,
            blank,
            ..
        } => vec![
            ("backend", Some("tmpfs".into())),
            ("size", size.clone()),
            ("device", device.as_deref().and_then(text)),
            ("blank", device.as_deref().and_then(|_| text(blank))),
        ],
        Root::Overlay {
            device, directory, ..
        } => vec![
            ("backend", Some("overlay".into())),
            ("device", text(device)),
            ("directory", text(directory)),
        ],
    }
}

/// The keys that say where root is, of any engine.
const PLACES: [&str; 7] = [
    "backend",
    "device",
    "subvolume",
    "blank",
    "dataset",
    "size",
    "directory",
];

/// `text` with a `[root]` that names another place. Of the old one stays what is policy.
///
/// # Errors
/// The text is no TOML, or `root` is no table.
pub fn set_root(text: &str, root: &Root) -> Result<String, Error> {
    let mut document = parse(text)?;
    let table = document
        .entry("root")
        .or_insert_with(|| Item::Table(Table::new()));
    let Some(table) = table.as_table_like_mut() else {
        return Err(Error::one("`root` is not what it should be", None));
    };
    // Policy that only the others have.
    let idle = match root {
        Root::Tmpfs { .. } => "on-failure",
        _ => "capture",
    };
    let places = places(root);
    for key in PLACES {
        if !places
            .iter()
            .any(|(place, value)| *place == key && value.is_some())
        {
            table.remove(key);
        }
    }
    table.remove(idle);
    for (key, value) in places {
        let Some(value) = value else { continue };
        match table.get_mut(key).and_then(Item::as_value_mut) {
            // A comment beside it stays.
            Some(old) => {
                let decor = old.decor().clone();
                *old = Value::from(value);
                *old.decor_mut() = decor;
            }
            None => drop(table.insert(key, value.into())),
        }
    }
    Ok(document.to_string())
}

/// `[root]` alone, to be shown.
pub fn root_table(root: &Root) -> String {
    let mut document = DocumentMut::new();
    let mut table = Table::new();
    for (key, value) in places(root) {
        if let Some(value) = value {
            table.insert(key, value.into());
        }
    }
    document.insert("root", Item::Table(table));
    document.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{OnFailure, PastRoots};

    const OLD: &str = "\
# the machine
[machine]
name = \"lab\"

# what is erased
[root]
backend = \"zfs\" # the engine
dataset = \"rpool/local/root\"
past-roots = { last = 2, days = 3 } # a few

[persist.\"/persist\"]
files = [\"/etc/machine-id\"] # kept
";

    #[test]
    fn a_root_moves_and_everything_else_stays() {
        let (past_roots, on_failure) = (PastRoots::default(), OnFailure::default());
        let btrfs = Root::Btrfs {
            device: "/dev/disk/by-uuid/1b2c".into(),
            subvolume: "root".into(),
            blank: None,
            past_roots,
            on_failure,
        };
        let expected = OLD
            .replace("\"zfs\"", "\"btrfs\"")
            .replace("dataset = \"rpool/local/root\"\n", "")
            .replace(
                "# a few\n",
                "# a few\ndevice = \"/dev/disk/by-uuid/1b2c\"\nsubvolume = \"root\"\n",
            );
        assert_eq!(set_root(OLD, &btrfs).unwrap(), expected);
        // Back again, and nothing is left over.
        let zfs = Root::Zfs {
            dataset: "tank/root".into(),
            blank: "blank".into(),
            past_roots,
            on_failure,
        };
        let back = set_root(&expected, &zfs).unwrap();
        assert!(
            back.contains("# a few\ndataset = \"tank/root\"\nblank = \"blank\"\n\n[persist"),
            "{back}"
        );
        let memory = Root::in_memory(Some("50%".into()));
        let there = set_root(OLD, &memory).unwrap();
        assert!(
            there.contains(
                "[root]\nbackend = \"tmpfs\" # the engine\npast-roots = { last = 2, days = 3 } # a few\nsize = \"50%\"\n\n[persist"
            ),
            "{there}"
        );
        let made = set_root("", &memory).unwrap();
        assert_eq!(made, "[root]\nbackend = \"tmpfs\"\nsize = \"50%\"\n");
        assert_eq!(root_table(&memory), made);
        assert!(set_root("root = 1", &memory).is_err());
    }
}
