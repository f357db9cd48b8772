use super::*;
use crate::progress::heard::Heard;
use crate::progress::{Total, Unit};
use rustix::fs::{CWD, FileType, Mode, OFlags, XattrFlags, mknodat, open, setxattr};
use state_api::Never;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

fn view(dir: &Path) -> View {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    View::live(open(dir, flags, Mode::empty()).unwrap())
}

/// The changes as `path: what kind`, with what each further says.
fn told(comparison: &Comparison) -> Vec<String> {
    assert!(comparison.unreadable.is_empty(), "{comparison:?}");
    let tell = |change: &Change| {
        let what = match &change.what {
            What::Created => "created".to_owned(),
            What::Deleted => "deleted".to_owned(),
            What::Renamed { from } => format!("renamed from {}", from.display()),
            What::Changed { aspects } => aspects
                .iter()
                .map(|aspect| aspect.word())
                .collect::<Vec<_>>()
                .join("+"),
        };
        let kind = super::super::word(change.kind);
        let target = change
            .target
            .as_ref()
            .map(|target| format!(" -> {}", target.display()));
        format!(
            "{:?}: {what} {kind}{}",
            change.path,
            target.unwrap_or_default()
        )
    };
    comparison.changes.iter().map(tell).collect()
}

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
}

/// Two trees that are alike, by a maker that is called on each.
fn alike(make: impl Fn(&Path)) -> (tempfile::TempDir, tempfile::TempDir) {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make(old.path());
    make(new.path());
    (old, new)
}

fn compared(old: &Path, new: &Path) -> Vec<String> {
    let comparison = compare(Some(&view(old)), &view(new), &|_| false, &Never).unwrap();
    told(&comparison)
}

#[test]
fn the_walking_order_is_by_components() {
    let mut paths = ["a", "a/b", "a b", "a-", "a/b/c", "a\n", "", "b", "a/b c"].map(Path::new);
    paths.sort_by(|a, b| in_walking_order(a, b));
    let expected = ["", "a", "a/b", "a/b/c", "a/b c", "a\n", "a b", "a-", "b"];
    assert_eq!(paths, expected.map(Path::new));
}

#[test]
fn all_that_can_change_is_found() {
    let (old, new) = alike(|dir| {
        for name in [
            "same", "bytes", "size", "mode", "xattr", "kind", "gone", "times",
        ] {
            fs::write(dir.join(name), "four").unwrap();
        }
        fs::create_dir_all(dir.join("dir/deep")).unwrap();
        fs::create_dir_all(dir.join("gone-dir/deep")).unwrap();
        symlink("a", dir.join("link")).unwrap();
        fifo(&dir.join("fifo"));
    });
    let new_path = |name: &str| new.path().join(name);
    fs::write(new_path("bytes"), "five").unwrap();
    fs::write(new_path("size"), "fours").unwrap();
    fs::set_permissions(new_path("mode"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(new_path("dir"), fs::Permissions::from_mode(0o700)).unwrap();
    setxattr(new_path("xattr"), "user.x", b"a\nb", XattrFlags::empty()).unwrap();
    fs::remove_file(new_path("kind")).unwrap();
    fs::create_dir(new_path("kind")).unwrap();
    fs::write(new_path("kind/inside"), "").unwrap();
    fs::remove_file(new_path("gone")).unwrap();
    fs::remove_dir_all(new_path("gone-dir")).unwrap();
    fs::remove_file(new_path("link")).unwrap();
    symlink("b", new_path("link")).unwrap();
    let touched = fs::File::options()
        .append(true)
        .open(new_path("times"))
        .unwrap();
    touched.set_modified(std::time::UNIX_EPOCH).unwrap();
    // What `btrfs subvolume find-new` does not see.
    fs::write(new_path("empty"), "").unwrap();
    fs::create_dir(new_path("empty-dir")).unwrap();
    symlink("/nix/store/x", new_path("new-link")).unwrap();
    fifo(&new_path("new-fifo"));
    fs::write(new_path("two\nlines"), "x").unwrap();
    fs::write(new.path().join(OsStr::from_bytes(b"raw\xff")), "x").unwrap();

    assert_eq!(
        compared(old.path(), new.path()),
        [
            r#""bytes": content file"#,
            r#""dir": mode directory"#,
            r#""empty": created file"#,
            r#""empty-dir": created directory"#,
            r#""gone": deleted file"#,
            r#""gone-dir": deleted directory"#,
            r#""gone-dir/deep": deleted directory"#,
            r#""kind": kind directory"#,
            r#""kind/inside": created file"#,
            r#""link": target symlink -> b"#,
            r#""mode": mode file"#,
            r#""new-fifo": created fifo"#,
            r#""new-link": created symlink -> /nix/store/x"#,
            r#""raw\xFF": created file"#,
            r#""size": content file"#,
            r#""two\nlines": created file"#,
            r#""xattr": xattr file"#,
        ]
    );
}

#[test]
fn a_difference_beyond_the_first_block_is_found() {
    let (old, new) = alike(|dir| fs::write(dir.join("big"), vec![7; 300 << 10]).unwrap());
    assert_eq!(compared(old.path(), new.path()), Vec::<String>::new());
    let mut bytes = vec![7; 300 << 10];
    bytes[299 << 10] = 8;
    fs::write(new.path().join("big"), bytes).unwrap();
    assert_eq!(compared(old.path(), new.path()), [r#""big": content file"#]);
}

#[test]
fn without_an_old_tree_everything_below_the_top_is_created() {
    let new = tempfile::tempdir().unwrap();
    fs::create_dir(new.path().join("a")).unwrap();
    fs::write(new.path().join("a/b"), "").unwrap();
    let comparison = compare(None, &view(new.path()), &|_| false, &Never).unwrap();
    let expected = [r#""a": created directory"#, r#""a/b": created file"#];
    assert_eq!(told(&comparison), expected);
}

#[test]
fn what_is_left_out_is_not_entered_on_either_side() {
    let (old, new) = alike(|dir| fs::create_dir_all(dir.join("a")).unwrap());
    fs::write(old.path().join("a/x"), "").unwrap();
    fs::write(new.path().join("a/y"), "").unwrap();
    fs::create_dir(new.path().join("b")).unwrap();
    fs::write(new.path().join("b/z"), "").unwrap();
    let leave_out = |path: &Path| path == Path::new("a") || path == Path::new("b");
    let comparison = compare(
        Some(&view(old.path())),
        &view(new.path()),
        &leave_out,
        &Never,
    )
    .unwrap();
    assert_eq!(told(&comparison), Vec::<String>::new());
}

#[test]
fn every_entry_is_told_of_once_on_whichever_side_it_is() {
    let (old, new) = alike(|top| {
        fs::create_dir(top.join("both")).unwrap();
        fs::write(top.join("both/file"), vec![7; 300_000]).unwrap();
        fs::create_dir(top.join("left-out")).unwrap();
        fs::write(top.join("left-out/file"), "x").unwrap();
    });
    fs::write(old.path().join("gone"), "x").unwrap();
    fs::write(new.path().join("new"), "x").unwrap();
    let heard = Heard::default();
    let watch = Watch {
        interrupt: &Never,
        progress: &heard,
    };
    heard.begin("comparing", Unit::Items, Total::Unknown);
    let leave_out = |path: &Path| path == Path::new("left-out");
    compare(
        Some(&view(old.path())),
        &view(new.path()),
        &leave_out,
        watch,
    )
    .unwrap();
    let [stage] = &heard.stages()[..] else {
        panic!("one stage")
    };
    // The top, both, both/file, gone, new.
    assert_eq!((stage.done, &*stage.path), (5, "new"));
}

#[test]
fn an_interrupted_comparison_says_so() {
    struct Now;
    impl state_api::Interrupt for Now {
        fn is_set(&self) -> bool {
            true
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let result = compare(None, &view(dir.path()), &|_| false, &Now);
    assert!(matches!(result, Err(Error::Interrupted)), "{result:?}");
}

#[test]
fn one_inode_under_another_path_was_renamed() {
    let change = |path: &str, what, kind| Change {
        path: path.into(),
        what,
        kind,
        target: None,
        size_bytes: 4,
        modified: Time::default(),
        quiet: None,
    };
    let born = |inode| (inode, Time::default(), Kind::File);
    let directory = |inode| (inode, Time::default(), Kind::Directory);
    let mut found = Found {
        changes: vec![
            change("a", What::Deleted, Kind::Directory),
            change("a/moved-along", What::Deleted, Kind::File),
            change("a/moved-out", What::Deleted, Kind::File),
            change("b", What::Created, Kind::Directory),
            change("b/moved-along", What::Created, Kind::File),
            change("b/new", What::Created, Kind::File),
            change("moved-out", What::Created, Kind::File),
        ],
        unreadable: Vec::new(),
        deleted: [(directory(1), 0), (born(2), 1), (born(3), 2)].into(),
        created: [(directory(1), 3), (born(2), 4), (born(4), 5), (born(3), 6)].into(),
    };
    found.pair_renames();
    let comparison = Comparison {
        changes: found.changes,
        unreadable: Vec::new(),
    };
    assert_eq!(
        told(&comparison),
        [
            r#""b": renamed from a directory"#,
            r#""b/new": created file"#,
            r#""moved-out": renamed from a/moved-out file"#,
        ]
    );
}

#[test]
fn a_comparison_of_places_looks_there_and_nowhere_else() {
    use state_api::Extent::{Alone, Whole};
    let (old, new) = alike(|dir| {
        fs::create_dir_all(dir.join("a/deep/er")).unwrap();
        fs::create_dir_all(dir.join("apart")).unwrap();
        fs::write(dir.join("a/deep/file"), "same").unwrap();
    });
    for at in ["a/deep/er/new", "a/deep/file", "a b", "apart/new", "z"] {
        fs::write(new.path().join(at), "something else").unwrap();
    }
    fs::write(old.path().join("a/gone"), "").unwrap();
    for (places, expected) in [
        (vec![], vec![]),
        (
            vec![("", Whole)],
            vec![
                "a/deep/er/new",
                "a/deep/file",
                "a/gone",
                "a b",
                "apart/new",
                "z",
            ],
        ),
        (vec![("", Alone), ("a", Alone), ("a/deep", Alone)], vec![]),
        (
            vec![("a/deep", Alone), ("a/deep/er", Whole), ("z", Whole)],
            vec!["a/deep/er/new", "z"],
        ),
        (
            vec![("a/deep/file", Alone), ("a/gone", Whole), ("a b", Alone)],
            vec!["a/deep/file", "a/gone", "a b"],
        ),
        (
            vec![("nothing/here", Whole), ("a b/nor/here", Whole)],
            vec![],
        ),
        (
            vec![("apart", Whole), ("left-out/x", Whole)],
            vec!["apart/new"],
        ),
    ] {
        let mut changes = Changes::none();
        for (path, extent) in places {
            changes.add(path.into(), extent);
        }
        let leave_out = |path: &Path| path == Path::new("left-out");
        let (old, new) = (view(old.path()), view(new.path()));
        let found = compare_at(&changes, &old, &new, &leave_out, &Never).unwrap();
        assert!(found.unreadable.is_empty(), "{:?}", found.unreadable);
        let told: Vec<_> = found.changes.iter().map(|change| &change.path).collect();
        let expected: Vec<_> = expected.iter().map(Path::new).collect();
        assert_eq!(told, expected, "{changes:?}");
    }
}
