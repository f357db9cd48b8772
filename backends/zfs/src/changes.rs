//! Which datasets of two snapshots differ, and by how much.

use crate::layout::split;
use crate::live::State;
use std::collections::{BTreeMap, BTreeSet};

/// The datasets that have a snapshot of one short name, each with what tells its content.
pub(crate) type Held<'a> = BTreeMap<&'a str, u64>;

/// What the snapshots with the short name `short` hold.
pub(crate) fn held<'a>(states: &'a [State], short: &str) -> Held<'a> {
    let named = states.iter().map(|state| (split(&state.name), state));
    named
        .filter(|((_, own), state)| *own == short && state.name.contains('@'))
        .map(|((dataset, _), state)| (dataset, state.unchanged_since))
        .collect()
}

/// The datasets that may differ; those that only one side has among them.
pub(crate) fn differing<'a>(old: &Held<'a>, new: &Held<'a>) -> BTreeSet<&'a str> {
    let all = old.keys().chain(new.keys()).copied();
    all.filter(|dataset| old.get(dataset) != new.get(dataset))
        .collect()
}

/// About how many bytes were written to a dataset between two of its snapshots, given by their short names.
pub(crate) fn written(states: &[State], dataset: &str, old: &str, new: &str) -> u64 {
    let own = || states.iter().filter(|s| split(&s.name).0 == dataset);
    let made = |short| {
        own()
            .find(|s| split(&s.name).1 == short)
            .map(|s| s.createtxg)
    };
    let between = |s: &&State| Some(s.createtxg) > made(old) && Some(s.createtxg) <= made(new);
    own().filter(between).map(|s| s.written).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datasets_differ_by_what_was_written_and_by_who_has_them() {
        let states = [
            ("p/s@a", 1),
            ("p/s@b", 1),
            ("p/s@c", 9),
            ("p/s/x@a", 2),
            ("p/s/x@b", 3),
            ("p/s/x@c", 3),
            ("p/s/only a@a", 4),
            ("p/s/only b@b", 4), // equal numbers of different datasets say nothing
        ]
        .map(|(name, unchanged_since)| State {
            name: name.into(),
            createtxg: 0,
            creation_seconds: 0,
            written: 0,
            unchanged_since,
        });
        let differing = |old, new| -> Vec<&str> {
            let (old, new) = (held(&states, old), held(&states, new));
            differing(&old, &new).into_iter().collect()
        };
        assert_eq!(held(&states, "c"), Held::from([("p/s", 9), ("p/s/x", 3)]));
        assert_eq!(differing("a", "a"), [""; 0]);
        assert_eq!(differing("a", "b"), ["p/s/only a", "p/s/only b", "p/s/x"]);
        assert_eq!(differing("c", "b"), ["p/s", "p/s/only b"]);
        assert_eq!(held(&states, "none"), Held::new());
    }

    #[test]
    fn what_was_written_between_two_snapshots_counts() {
        let states = [
            ("p@a", 1, 7),
            ("p@b", 2, 20),
            ("p@c", 3, 300),
            ("p/x@b", 2, 4000),
        ];
        let states = states.map(|(name, createtxg, written)| State {
            name: name.into(),
            createtxg,
            creation_seconds: 0,
            written,
            unchanged_since: 0,
        });
        assert_eq!(written(&states, "p", "a", "c"), 320);
        assert_eq!(written(&states, "p", "a", "b"), 20);
        assert_eq!(written(&states, "p", "b", "b"), 0);
    }
}
