use super::*;
use state_api::Extent;

/// The tree of these settings, and the selection of its store, with a pattern excluded.
fn selected(text: &str) -> (PersistTree, Selection, [String; 1]) {
    let tree = PersistTree::resolve(&text.parse().unwrap(), &Default::default()).unwrap();
    let patterns = ["**/cache".to_owned()];
    let excluded = exclude(&patterns).unwrap();
    let selection = Selection::of(&tree, Path::new("/persist"), excluded);
    (tree, selection, patterns)
}

#[test]
fn only_places_that_a_walk_comes_to_count() {
    let (_, selection, _) = selected("[persist.\"/persist\"]\ndirectories = [\"/srv/a\"]\n");
    for (place, is_touched) in [
        ("", true),
        ("srv", true),
        ("srv/a", true),
        ("srv/a/x/y", true),
        ("srv/a/cached", true),
        ("srv/a/cache", false),
        ("srv/a/cache/x", false),
        ("srv/b", false),
        ("srv/b/a", false),
        ("etc/state", true),
        ("etc/other", false),
        ("etc/state/state.d/x.toml", true),
        (".state", false),
        (".state/ledger.json", false),
    ] {
        for extent in [Extent::Alone, Extent::Whole] {
            let mut changes = Changes::none();
            changes.add(place.into(), extent);
            let reached = reached(&selection, &changes);
            assert_eq!(!reached.is_empty(), is_touched, "{place}");
        }
    }
    let everything = Changes::everything();
    assert_eq!(reached(&selection, &everything), everything);
}

#[test]
fn another_selection_has_other_terms() {
    let text = "[persist.\"/persist\"]\ndirectories = [\"/srv/a\"]\n";
    let (tree, _, patterns) = selected(text);
    let store = Path::new("/persist");
    let mut all = vec![
        terms(&tree, store, &patterns, ""),
        terms(&tree, store, &[], ""),
        terms(&tree, Path::new("/other"), &patterns, ""),
        terms(
            &selected(&text.replace("/srv/a", "/srv/b")).0,
            store,
            &patterns,
            "",
        ),
        terms(&tree, store, &patterns, "1 home"),
    ];
    assert_eq!(all[0], terms(&selected(text).0, store, &patterns, ""));
    assert!(all.iter().all(|one| one.len() == 16));
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 5);
}
