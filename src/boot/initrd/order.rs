//! The order in which an initrd's systemd starts things, as far as its units say so themselves. Pure.

use super::{Entry, Tree};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Where units are; what an earlier one has hides what a later one has.
const DIRS: [&str; 5] = [
    "etc/systemd/system/",
    "run/systemd/system/",
    "usr/local/lib/systemd/system/",
    "usr/lib/systemd/system/",
    "lib/systemd/system/",
];

/// Whether a file says something about the order: a unit, or what is added to one.
pub(super) fn reads(path: &str) -> bool {
    unit(path).is_some()
}

/// The name of the unit that a file is about, and which directory and kind of file it is.
fn unit(path: &str) -> Option<(&str, usize, bool)> {
    let (rank, rest) = DIRS
        .iter()
        .enumerate()
        .find_map(|(rank, dir)| Some((rank, path.strip_prefix(dir)?)))?;
    match rest.split_once('/') {
        None => Some((rest, rank, false)),
        Some((dir, file)) => {
            let is_addition = file.ends_with(".conf") && !file.contains('/');
            is_addition.then_some((dir.strip_suffix(".d")?, rank, true))
        }
    }
}

/// Units that wait for each other with `of` among them, in their order: systemd breaks such a ring
/// by leaving one of them out.
pub(super) fn ring(tree: &Tree, of: &str) -> Option<Vec<String>> {
    let next = followers(tree);
    let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = VecDeque::from([of]);
    while let Some(at) = queue.pop_front() {
        for follower in next.get(at).into_iter().flatten() {
            if *follower == of {
                let mut ring = vec![at];
                while let Some(before) = ring.last().and_then(|last| came_from.get(last)) {
                    ring.push(before);
                }
                return Some(ring.into_iter().rev().map(str::to_owned).collect());
            }
            if !came_from.contains_key(follower) {
                came_from.insert(follower, at);
                queue.push_back(follower);
            }
        }
    }
    None
}

/// What starts after each unit.
fn followers(tree: &Tree) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut ranks: BTreeMap<&str, usize> = BTreeMap::new();
    for path in tree.entries.keys() {
        if let Some((name, rank, false)) = unit(path) {
            let best = ranks.entry(name).or_insert(rank);
            *best = rank.min(*best);
        }
    }
    let mut next: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (path, entry) in &tree.entries {
        let (Some((name, rank, is_addition)), Entry::File(Some(text))) = (unit(path), entry) else {
            continue;
        };
        if !is_addition && ranks.get(name) != Some(&rank) {
            continue;
        }
        let Ok(text) = std::str::from_utf8(text) else {
            continue;
        };
        let mut key = None;
        for line in text.lines().map(str::trim) {
            // A line may go on in the next one.
            let (begun, words) = match (key.take(), line.split_once('=')) {
                (Some(key), _) => (key, line),
                (None, Some((key, words))) => (key.trim_end(), words),
                (None, None) => continue,
            };
            for other in words.split_whitespace().filter(|word| *word != "\\") {
                match begun {
                    "Before" => next.entry(name).or_default().insert(other),
                    "After" => next.entry(other).or_default().insert(name),
                    _ => continue,
                };
            }
            key = line.ends_with('\\').then_some(begun);
        }
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> String {
        let ours = (
            "etc/systemd/system/state-reset.service",
            "[Unit]\nAfter=local-fs-pre.target\nBefore=sysroot.mount\n",
        );
        let mut tree = Tree::default();
        for (path, text) in files.iter().chain([&ours]) {
            let entry = Entry::File(Some(text.as_bytes().to_owned()));
            tree.entries.insert((*path).to_owned(), entry);
        }
        let ring = ring(&tree, "state-reset.service");
        ring.unwrap_or_default().join(" ")
    }

    #[test]
    fn units_that_wait_for_each_other_are_found() {
        let after =
            "[Unit]\nAfter=sysroot.mount\nBefore = \\\n  other.target \\\n  local-fs-pre.target\n";
        let lib = "usr/lib/systemd/system/bad.service";
        let ring = "state-reset.service sysroot.mount bad.service local-fs-pre.target";
        let table: [(&[(&str, &str)], &str); 6] = [
            (&[], ""),
            (&[(lib, after)], ring),
            (&[(lib, "[Unit]\nAfter=sysroot.mount\n")], ""),
            // Hidden by one that says nothing; then changed from beside.
            (&[(lib, after), ("etc/systemd/system/bad.service", "")], ""),
            (
                &[("run/systemd/system/bad.service.d/order.conf", after)],
                ring,
            ),
            // Links that start units are no units.
            (
                &[("etc/systemd/system/a.target.wants/bad.service", after)],
                "",
            ),
        ];
        for (files, expected) in table {
            assert_eq!(found(files), expected, "{files:?}");
        }
    }
}
