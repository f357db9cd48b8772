use super::*;

const STORE: &str = "/persist";

fn added(text: &str, path: &str) -> String {
    let entry = NewEntry {
        path: path.to_owned(),
        kind: EntryKind::Directory,
        method: Method::Bind,
    };
    add(text, Path::new(STORE), &entry).unwrap()
}

fn removed(text: &str, path: &str) -> Option<String> {
    let entry = Written {
        path: Path::new(path),
        store: Path::new(STORE),
        home: Some(Path::new("/home/ann")),
    };
    remove(text, entry).unwrap()
}

#[test]
fn entries_are_added_without_touching_anything_else() {
    for (text, expected) in [
        (
            "# mine\n[persist.\"/persist/\"] # here\ndirectories = [\"/a\"] # why\nfiles = []\n",
            "# mine\n[persist.\"/persist/\"] # here\ndirectories = [\"/a\", \"/new\"] # why\nfiles = []\n",
        ),
        (
            "[persist.\"/persist\"]\ndirectories = [ \"/a\" ]\n",
            "[persist.\"/persist\"]\ndirectories = [ \"/a\", \"/new\" ]\n",
        ),
        (
            "[persist.\"/persist\"]\ndirectories = [\n    # a\n    \"/a\", # that\n    \"/b\", # this\n    # and no more\n]\n",
            "[persist.\"/persist\"]\ndirectories = [\n    # a\n    \"/a\", # that\n    \"/b\", # this\n    # and no more\n    \"/new\",\n]\n",
        ),
        (
            "[persist.\"/persist\"]\ndirectories = [\n  { path = \"/a\" } # no comma\n]\n",
            "[persist.\"/persist\"]\ndirectories = [\n  { path = \"/a\" }, # no comma\n  \"/new\",\n]\n",
        ),
        (
            "[persist.\"/persist\"]\ndirectories = [\n  # none yet\n]\n",
            "[persist.\"/persist\"]\ndirectories = [\n  # none yet\n  \"/new\",\n]\n",
        ),
        (
            "persist = { \"/persist\" = { directories = [\"/a\"] } }\n",
            "persist = { \"/persist\" = { directories = [\"/a\", \"/new\"] } }\n",
        ),
        (
            "[[persist.\"/persist\".directories]]\npath = \"/a\"\n",
            "[[persist.\"/persist\".directories]]\npath = \"/a\"\n\n[[persist.\"/persist\".directories]]\npath = \"/new\"\n",
        ),
        (
            "[persist.\"/persist\"]\nfiles = [\"/f\"]\n\n[diff]\n",
            "[persist.\"/persist\"]\nfiles = [\"/f\"]\ndirectories = [\"/new\"]\n\n[diff]\n",
        ),
        ("", "[persist.\"/persist\"]\ndirectories = [\"/new\"]\n"),
    ] {
        assert_eq!(added(text, "/new"), expected);
        // It is declared as it was meant, and gone again without a trace of it.
        assert!(expected.parse::<crate::settings::Settings>().is_ok());
        let back = removed(expected, "/new").unwrap();
        assert!(!back.contains("/new"), "{back}");
    }
}

#[test]
fn a_method_is_written_where_it_is_not_the_usual_one() {
    let entry = NewEntry {
        path: "/etc/a \"b\" ${c}".into(),
        kind: EntryKind::File,
        method: Method::Copy,
    };
    assert_eq!(
        add("", Path::new(STORE), &entry).unwrap(),
        "[persist.\"/persist\"]\nfiles = [{ path = '/etc/a \"b\" ${c}', method = \"copy\" }]\n"
    );
    assert_eq!(
        entry.nix(),
        "{ path = \"/etc/a \\\"b\\\" \\${c}\"; method = \"copy\"; }"
    );
}

#[test]
fn entries_are_removed_with_their_own_comments() {
    let text = "\
[persist.\"/persist\"]
directories = [
  # about a
  \"/a\", # behind a
  # about b
  { path = \"/b/\", early = true }, # behind b
  \"/c\", # behind c
]
files = [\"/d\", \"/e\"]
[persist.\"/persist\".users.ann]
files = [\".x\", { path = \"y\" }]
";
    for (path, gone) in [
        ("/a", "  # about a\n  \"/a\", # behind a\n"),
        (
            "/b",
            "  # about b\n  { path = \"/b/\", early = true }, # behind b\n",
        ),
        ("/c", "  \"/c\", # behind c\n"),
        ("/d", "\"/d\", "),
        ("/e", ", \"/e\""),
        ("/home/ann/.x", "\".x\", "),
        ("/home/ann/y", ", { path = \"y\" }"),
    ] {
        assert!(text.contains(gone));
        assert_eq!(
            removed(text, path),
            Some(text.replacen(gone, "", 1)),
            "{path}"
        );
    }
    assert_eq!(removed(text, "/other"), None);
    assert_eq!(
        removed("[persist.\"/other\"]\nfiles = [\"/a\"]", "/a"),
        None
    );
    assert_eq!(removed("", "/a"), None);
}

#[test]
fn what_is_ignored_is_added_beside_what_is_there() {
    let globs = ["/srv/a".to_owned(), "/srv/[[]b".to_owned()];
    for (text, expected) in [
        ("", "[diff]\nignore = [\"/srv/a\", \"/srv/[[]b\"]\n"),
        (
            "# mine\n[diff] # quiet\nignore = [\n  \"/x\", # because\n]\n",
            "# mine\n[diff] # quiet\nignore = [\n  \"/x\", # because\n  \"/srv/a\",\n  \"/srv/[[]b\",\n]\n",
        ),
        (
            "diff = { ignore = [\"/srv/a\"] }\n",
            "diff = { ignore = [\"/srv/a\", \"/srv/[[]b\"] }\n",
        ),
    ] {
        assert_eq!(ignore(text, &globs).unwrap(), expected);
    }
    for odd in ["diff = 1", "[diff]\nignore = 1", "[diff"] {
        assert!(ignore(odd, &globs).is_err(), "{odd}");
    }
}
