use super::*;
use crate::config::parse_text;
use crate::diff::Aspect;
use crate::persist::Users;
use state_linux::stat::Time;

const DECLARED: &str = r#"
    [persist."/persist"]
    directories = ["/var/lib/nixos", "/srv/bound"]
    files = [
        "/etc/machine-id", "/etc/bound",
        { path = "/etc/link", method = "symlink" },
        { path = "/etc/detached", method = "symlink" },
    ]
"#;

fn filter(ignore: &[&str]) -> Filter {
    let settings = parse_text(Path::new("state.toml"), DECLARED).unwrap();
    let tree = PersistTree::resolve(&settings, &Users::default()).unwrap();
    let mounts = ["/", "/boot/efi", "/srv/bound", "/mnt/data"]
        .map(PathBuf::from)
        .into();
    let ignore: Vec<_> = ignore.iter().map(ToString::to_string).collect();
    Filter::new(tree, mounts, &ignore).unwrap()
}

fn change(path: &str, what: What, kind: Kind) -> Change {
    Change {
        path: path.into(),
        what,
        kind,
        target: None,
        size_bytes: 0,
        modified: Time::default(),
        quiet: None,
    }
}

fn created(path: &str, kind: Kind) -> Change {
    change(path, What::Created, kind)
}

fn file(path: &str, size_bytes: u64) -> Change {
    Change {
        size_bytes,
        ..created(path, Kind::File)
    }
}

fn link(path: &str, target: &str) -> Change {
    Change {
        target: Some(target.into()),
        ..created(path, Kind::Symlink)
    }
}

fn judged(mut changes: Vec<Change>, ignore: &[&str]) -> Vec<(String, Option<Quiet>)> {
    filter(ignore).judge(&mut changes, &BTreeSet::from(["var/learned".into()]));
    changes
        .iter()
        .map(|change| (change.path.display().to_string(), change.quiet))
        .collect()
}

#[test]
fn every_preset_is_a_glob_with_a_reason() {
    let presets: Presets = toml::from_str(NOISE).unwrap();
    assert!(presets.noise.iter().all(|preset| !preset._why.is_empty()));
    assert!(
        presets
            .noise
            .iter()
            .all(|preset| preset.glob.starts_with('/'))
    );
    assert!(presets.noise.len() > 10);
    filter(&[]);
}

#[test]
fn what_is_kept_made_anew_or_ignored_is_quiet_and_the_rest_is_not() {
    let mode = |path, kind| {
        change(
            path,
            What::Changed {
                aspects: vec![Aspect::Mode],
            },
            kind,
        )
    };
    let table = [
        (created("etc", Kind::Directory), Some(Quiet::Noise)),
        (created("etc/new", Kind::Directory), None),
        (file("etc/bound", 0), Some(Quiet::Entry)),
        (file("etc/bound", 3), None),
        (file("etc/detached", 4), None),
        (link("etc/link", "/persist/etc/link"), Some(Quiet::Entry)),
        (file("etc/machine-id", 33), Some(Quiet::Entry)),
        (file("etc/resolv.conf", 9), Some(Quiet::Noise)),
        (
            link("etc/hosts", "/nix/store/x-hosts"),
            Some(Quiet::Declared),
        ),
        (link("etc/own", "/etc/other"), None),
        (created("mnt", Kind::Directory), Some(Quiet::Noise)),
        (created("mnt/data", Kind::Directory), Some(Quiet::Mount)),
        (file("mnt/notes", 1), None),
        (
            change(
                "",
                What::Changed {
                    aspects: vec![Aspect::Mode],
                },
                Kind::Directory,
            ),
            None,
        ),
        (file("srv/bound/hidden below the mount", 3), None),
        (created("tmp/x", Kind::Directory), Some(Quiet::Noise)),
        (file("tmp/x/y", 1), Some(Quiet::Noise)),
        (
            created("var/lib/nixos", Kind::Directory),
            Some(Quiet::Entry),
        ),
        (mode("var/lib/nixos", Kind::Directory), Some(Quiet::Entry)),
        (file("var/learned", 7), Some(Quiet::Learned)),
        (file("var/tmp/a", 1), Some(Quiet::Ignored)),
        (
            change("var/tmp/b", What::Deleted, Kind::File),
            Some(Quiet::Ignored),
        ),
    ];
    for (change, expected) in table {
        let path = change.path.display().to_string();
        let ignore = ["/var/tmp/**"];
        assert_eq!(judged(vec![change], &ignore), [(path, expected)]);
    }
}

#[test]
fn directories_are_as_loud_as_what_is_in_them() {
    let directory = |path| created(path, Kind::Directory);
    let changes = vec![
        directory("etc/only-links"),
        link("etc/only-links/a", "/etc/static/a"),
        directory("home/ann"),
        directory("mine"),
        file("mine/file", 1),
        directory("var/lib"),
        directory("var/lib/nixos"),
        directory("var/lib/other"),
    ];
    let expected = [
        ("etc/only-links", Some(Quiet::Leads)),
        ("etc/only-links/a", Some(Quiet::Declared)),
        ("home/ann", None),
        ("mine", None),
        ("mine/file", None),
        ("var/lib", Some(Quiet::Noise)),
        ("var/lib/nixos", Some(Quiet::Entry)),
        ("var/lib/other", None),
    ];
    assert_eq!(
        judged(changes, &[]),
        expected.map(|(path, quiet)| (path.to_owned(), quiet))
    );
}

#[test]
fn kernel_filesystems_and_stores_are_not_even_compared() {
    let filter = filter(&[]);
    for (path, expected) in [
        ("proc", true),
        ("run", true),
        ("persist", true),
        ("", false),
        ("var", false),
        ("home/proc", false),
        ("persistent", false),
    ] {
        assert_eq!(filter.leaves_out(Path::new(path)), expected, "{path}");
    }
}
