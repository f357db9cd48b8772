use super::*;
use crate::persist::{Declared, Id};

fn users() -> Users {
    Users::parse(
        b"ann:x:1000:100::/home/ann:/bin/sh\ndaemon:x:1:1::/:/bin/false\n",
        b"users:x:100:\ncolord:x:991:\n",
    )
}

fn resolve(text: &str) -> Result<PersistTree, Vec<String>> {
    let settings = text.parse().unwrap();
    PersistTree::resolve(&settings, &users())
        .map_err(|Problems(all)| all.iter().map(ToString::to_string).collect())
}

fn paths(tree: &PersistTree) -> Vec<(&str, bool)> {
    (tree
        .entries()
        .map(|entry| (entry.path.to_str().unwrap(), entry.is_early)))
    .collect()
}

const STORES: &str = r#"
    [persist."/cache"]
    class = "cache"
    users.ann.directories = [".cache"]

    [persist."/persist/"]
    hide-mounts = true
    files = ["/etc/machine-id", { path = "/etc/a b:c", method = "symlink", mode = "0600" }]
    directories = [
        "/var/lib/nixos//",
        { path = "/var/lib/colord", user = "nobody-knows", group = "colord", mode = "0750" },
    ]
    users.ann.directories = [{ path = ".ssh", early = true }]
    users.bob.files = [".screenrc"]
"#;

#[test]
fn entries_come_parents_first_with_the_configuration_among_them() {
    let tree = resolve(STORES).unwrap();
    assert_eq!(
        paths(&tree),
        [
            ("/etc/a b:c", false),
            ("/etc/machine-id", true),
            ("/etc/state/state.toml", true),
            ("/home/ann/.cache", false),
            ("/home/ann/.ssh", true),
            ("/var/lib/colord", false),
            ("/var/lib/nixos", true),
        ]
    );
    let bob = Unresolved {
        user: "bob".into(),
        store: "/persist".into(),
        paths: vec![".screenrc".into()],
        why: "is not in the machine's /etc/passwd",
    };
    assert_eq!(tree.unresolved(), [bob]);
    let stores: Vec<_> = tree.stores().collect();
    let expected = [("/cache", Class::Cache), ("/persist", Class::Backup)];
    assert_eq!(
        stores,
        expected.map(|(path, class)| (Path::new(path), class))
    );
}

#[test]
fn an_entry_says_all_that_is_needed_to_make_it() {
    let tree = resolve(STORES).unwrap();
    let colord = tree.entry(Path::new("/var/lib/colord")).unwrap();
    assert_eq!(
        colord,
        &Entry {
            path: "/var/lib/colord".into(),
            kind: EntryKind::Directory,
            method: Method::Bind,
            store: "/persist".into(),
            class: Class::Backup,
            is_early: false,
            declared: Declared {
                user: Id::Unknown("nobody-knows".into()),
                group: Id::Number(991),
                mode: Some(0o750),
            },
            if_missing: crate::settings::IfMissing::Create,
            mount_words: vec!["x-gvfs-hide"],
            home: None,
        }
    );
    assert_eq!(
        colord.declared.or(colord.default_ownership()),
        Err("nobody-knows")
    );
    let ssh = tree.entry(Path::new("/home/ann/.ssh")).unwrap();
    let owned = |parent| ssh.parent_ownership(Path::new(parent)).to_string();
    assert_eq!(ssh.default_ownership().to_string(), "1000:100 0700");
    assert_eq!(owned("/home"), "0:0 0755");
    assert_eq!(owned("/home/ann"), "1000:100 0700");
    let parents: Vec<_> = ssh.parents().collect();
    assert_eq!(parents, [Path::new("/home"), Path::new("/home/ann")]);
}

#[test]
fn paths_map_to_the_store_and_back() {
    let tree = resolve(STORES).unwrap();
    for (live, stored) in [
        ("/var/lib/nixos", Some("/persist/var/lib/nixos")),
        (
            "/var/lib/nixos/uid-map",
            Some("/persist/var/lib/nixos/uid-map"),
        ),
        ("/home/ann/.cache/x", Some("/cache/home/ann/.cache/x")),
        ("/etc/a b:c", Some("/persist/etc/a b:c")),
        ("/var/lib", None),
        ("/var/lib/nixos2", None),
        ("/persist/var/lib/nixos", None),
    ] {
        let there = tree.to_store(Path::new(live)).map(|(_, stored)| stored);
        assert_eq!(there, stored.map(PathBuf::from), "{live}");
        if let Some(there) = there {
            let back = tree.to_live(&there).map(|(_, live)| live);
            assert_eq!(back, Some(live.into()), "{live}");
        }
    }
    for orphan in [
        "/persist/var/lib",
        "/cache/var/lib/nixos",
        "/etc/machine-id",
    ] {
        assert_eq!(tree.to_live(Path::new(orphan)), None, "{orphan}");
    }
    for (path, expected) in [("/", true), ("/var/lib", true), ("/var/lib/nixos", false)] {
        assert_eq!(tree.leads_to(Path::new(path)), expected, "{path}");
    }
}

#[test]
fn another_stores_entry_may_lie_inside_and_makes_its_surroundings_early() {
    let tree = resolve(
        r#"
        [persist."/a"]
        directories = ["/var/lib/x"]
        [persist."/b"]
        class = "local"
        directories = [{ path = "/var/lib/x/y", early = true }]
        "#,
    )
    .unwrap();
    let expected = [
        ("/etc/state/state.toml", true),
        ("/var/lib/x", true),
        ("/var/lib/x/y", true),
    ];
    assert_eq!(paths(&tree), expected);
    let (entry, stored) = tree.to_store(Path::new("/var/lib/x/y/z")).unwrap();
    assert_eq!(
        (entry.store.as_path(), stored),
        (Path::new("/b"), "/b/var/lib/x/y/z".into())
    );
    assert_eq!(tree.to_live(Path::new("/a/var/lib/x/y/z")), None);
}

#[test]
fn the_configuration_inside_a_declared_directory_needs_no_entry() {
    let tree = resolve("[persist.\"/p\"]\ndirectories = [\"/etc/state\"]").unwrap();
    assert_eq!(paths(&tree), [("/etc/state", true)]);
}

#[test]
fn contradictions_are_all_named() {
    let text = r#"
        [persist."/p"]
        directories = ["/a", "/a/", "/a/b", "/", "rel", "/x/../y", "/p/q", "/f/x"]
        files = ["/f", "/a/f", { path = "/m", mode = "rwx" }]
        users.ann.directories = ["../bob", "/abs", "."]
        [persist."/q/r"]
        directories = ["/q", { path = "/l", method = "symlink" }]
        [persist."/z"]
        directories = ["/a", "/l/z"]
        [persist.rel]
    "#;
    let expected = [
        "/a/ in [persist.\"/p\"] is declared twice: in /p too",
        "/ in [persist.\"/p\"] names the directory itself",
        "rel in [persist.\"/p\"] is not absolute",
        "/x/../y in [persist.\"/p\"] holds `..`",
        "/m in [persist.\"/p\"] has a mode that is not octal, as in \"0750\"",
        "../bob in [persist.\"/p\"] holds `..`",
        "/abs in [persist.\"/p\"] is not relative",
        ". in [persist.\"/p\"] names the directory itself",
        "/a in [persist.\"/z\"] is declared twice: in /p too",
        "rel in [persist.\"rel\"] is not absolute",
        "/a/b in [persist.\"/p\"] lies inside /a, which is kept already",
        "/a/f in [persist.\"/p\"] lies inside /a, which is kept already",
        "/f/x in [persist.\"/p\"] lies inside /f, which is declared as a file",
        "/l/z in [persist.\"/z\"] lies inside /l, which is a link; use method = \"bind\" there",
        "/p/q in [persist.\"/p\"] lies inside the store /p",
        "/q in [persist.\"/q/r\"] would hide the store /q/r",
    ];
    assert_eq!(resolve(text).unwrap_err(), expected);
}
