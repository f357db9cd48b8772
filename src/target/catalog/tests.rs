use super::*;
use crate::archive::manifest::{Digest, Totals};
use crate::target::FileTarget;
use std::fs;
use std::path::Path;

/// What can be the matter with an archive.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Whole,
    Incomplete,
    Broken,
    Unreadable,
}

const KINDS: [Kind; 4] = [
    Kind::Whole,
    Kind::Incomplete,
    Kind::Broken,
    Kind::Unreadable,
];

fn id(n: usize) -> Id {
    format!("20270101T00000{n}Z-00000000").parse().unwrap()
}

/// Publishes the archive `n`, which builds on `parent`.
fn publish(dir: &Path, n: usize, kind: Kind, parent: Option<usize>) {
    let label = Label {
        machine: "m".into(),
        id: id(n),
        parent: parent.map(id),
        position: u64::from(parent.is_some()),
        time: chrono::DateTime::UNIX_EPOCH,
        is_complete: kind != Kind::Incomplete,
        commit: None,
        is_dirty: false,
        totals: Totals::default(),
        suffix: DATA.into(),
        recipients: Vec::new(),
        data_bytes: 3,
        data_sha256: Digest([0; 32]),
        manifest_sha256: Digest([0; 32]),
        index_sha256: Digest([0; 32]),
    };
    let (text, data) = match kind {
        Kind::Unreadable => ("nothing".to_owned(), "abc"),
        Kind::Broken => (label.to_text(), "ab"),
        Kind::Whole | Kind::Incomplete => (label.to_text(), "abc"),
    };
    fs::write(dir.join(label.name()), text).unwrap();
    fs::write(dir.join(label.data_name()), data).unwrap();
}

/// Which archive is the latest, or why there is none, and the newest of all.
fn latest(catalog: &Catalog) -> (Result<String, String>, Option<Id>) {
    let found = catalog.find("latest").map(|label| label.id.to_string());
    (
        found.map_err(|error| error.to_string()),
        catalog.ids().max(),
    )
}

/// Three archives of every kind, each of them full or building on any one before it.
#[test]
fn a_few_labels_tell_the_latest_as_all_do() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("m")).unwrap();
    let target = FileTarget::open("file:///", dir.path().to_owned()).unwrap();
    let mut spared = 0;
    for kinds in 0..4_usize.pow(3) {
        for parents in 0..6_usize {
            let of = [0, parents % 2, parents / 2];
            for (n, parent) in of.into_iter().enumerate() {
                let kind = KINDS[kinds / 4_usize.pow(n as u32) % 4];
                publish(dir.path(), n, kind, parent.checked_sub(1));
            }
            let all = Catalog::read(&target, "m").unwrap();
            let few = Catalog::read_newest(&target, "m").unwrap();
            assert_eq!(latest(&few), latest(&all), "{kinds} {parents}");
            if let Ok(label) = few.find("latest") {
                let parent = label.parent.as_ref();
                let is_there = |id: &Id| few.labels.iter().any(|label| label.id == *id);
                assert!(parent.is_none_or(is_there), "{kinds} {parents}");
            }
            spared += all.labels.len() - few.labels.len();
        }
    }
    assert!(spared > 50, "{spared}");
}
