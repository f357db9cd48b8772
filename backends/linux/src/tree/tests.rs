use super::*;
use rustix::io::Errno;
use std::fs;
use std::os::unix::fs::symlink;

fn open(path: &Path) -> OwnedFd {
    fs::File::open(path).unwrap().into()
}

fn listing(view: &View) -> Vec<String> {
    Walk::new(view)
        .map(|found| match found {
            Ok(entry) => format!("{:?} {:?}", entry.path, entry.stat.kind),
            Err(error) => format!("! {error}"),
        })
        .collect()
}

#[test]
fn entries_come_in_component_order_and_links_are_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path();
    for name in ["a", "a-b", "a/deep"] {
        fs::create_dir(top.join(name)).unwrap();
    }
    for name in ["a/z", "a-b/y", "a\nb", "a/deep/.hidden"] {
        fs::write(top.join(name), name).unwrap();
    }
    fs::write(top.join(OsStr::from_bytes(b"\xff")), "").unwrap();
    symlink("/", top.join("a/root")).unwrap();
    assert_eq!(
        listing(&View::live(open(top))),
        [
            r#""" Directory"#,
            r#""a" Directory"#,
            r#""a/deep" Directory"#,
            r#""a/deep/.hidden" File"#,
            r#""a/root" Symlink"#,
            r#""a/z" File"#,
            r#""a\nb" File"#,
            r#""a-b" Directory"#,
            r#""a-b/y" File"#,
            r#""\xFF" File"#,
        ]
    );
}

#[test]
fn a_tree_deeper_than_paths_and_descriptors_is_walked_and_left_again() {
    let dir = tempfile::tempdir().unwrap();
    let name = "d".repeat(200);
    let mut at = open(dir.path());
    let depth = 3 * OPEN_DIRECTORIES;
    for _ in 0..depth {
        let mode = Mode::from_raw_mode(0o755);
        rustix::fs::mkdirat(&at, name.as_str(), mode).unwrap();
        rustix::fs::mkdirat(&at, "z", mode).unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        at = openat(&at, name.as_str(), flags, Mode::empty()).unwrap();
    }
    let view = View::live(open(dir.path()));
    let mut walk = Walk::new(&view);
    let mut found = 0;
    let mut most_open = 0;
    while let Some(entry) = walk.next() {
        entry.unwrap();
        found += 1;
        most_open = most_open.max(walk.stack.iter().filter(|f| f.dir.is_some()).count());
    }
    assert_eq!((found, most_open), (1 + 2 * depth, OPEN_DIRECTORIES));
}

#[test]
fn nested_volumes_are_grafted_and_none_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["top/home/user", "top/skipped", "one", "two/sub", "three"] {
        fs::create_dir_all(dir.path().join(name)).unwrap();
    }
    for name in ["one/a", "two/b", "three/c"] {
        fs::write(dir.path().join(name), "").unwrap();
    }
    let graft = |at: &str, from: &str| state_api::Graft {
        at: at.into(),
        dir: open(&dir.path().join(from)),
    };
    let mut view = View::live(open(&dir.path().join("top")));
    view.grafts = vec![
        graft("home/user", "one"),
        graft("home/user/sub", "two"), // nothing of that name below it
        graft("gone/deeper", "three"),
        graft("skipped/in", "three"),
    ];
    let mut walk = Walk::new(&view);
    let mut found = Vec::new();
    while let Some(entry) = walk.next() {
        match entry {
            Ok(entry) => {
                if entry.path == Path::new("skipped") {
                    walk.prune();
                }
                found.push(entry.path.display().to_string());
            }
            Err(error) => found.push(format!("! {error}")),
        }
    }
    assert_eq!(
        found,
        [
            "",
            "home",
            "home/user",
            "home/user/a",
            "home/user/sub",
            "home/user/sub/b",
            "home/user/sub/sub",
            "skipped",
            "! reaching the nested volume gone/deeper: entity not found",
        ]
    );
}

#[test]
fn metadata_is_read_by_name_and_by_descriptor() {
    use crate::metadata::Place;
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    symlink("file", dir.path().join("link")).unwrap();
    let top = open(dir.path());
    let file = Place {
        dir: &top,
        name: c"file",
    };
    let long = vec![b'\n'; 3000]; // longer than the first guess
    match file.set_xattr(c"user.long", &long) {
        Err(e) if e.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => return,
        result => result.unwrap(),
    }
    file.set_xattr(c"user.empty", b"").unwrap();
    let view = View::live(open(dir.path()));
    let found: Vec<Entry> = Walk::new(&view).map(Result::unwrap).collect();
    let metadata = found[1].metadata().unwrap();
    let wanted = [("user.empty", Vec::new()), ("user.long", long)];
    let wanted: BTreeMap<_, _> = wanted.map(|(k, v)| (k.into(), v)).into();
    assert_eq!(metadata.xattrs, wanted);
    assert_eq!(
        found[1].metadata_of(found[1].open().unwrap()).unwrap(),
        metadata
    );
    assert_eq!(found[2].metadata().unwrap().xattrs, BTreeMap::new());
    assert_eq!(found[2].link_target().unwrap(), "file");
}

#[test]
fn a_replaced_file_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "old").unwrap();
    let view = View::live(open(dir.path()));
    let entry = Walk::new(&view).nth(1).unwrap().unwrap();
    fs::write(dir.path().join("new"), "new").unwrap();
    fs::rename(dir.path().join("new"), dir.path().join("file")).unwrap();
    assert_eq!(
        entry.open().unwrap_err().to_string(),
        "opening file: it was replaced while being read"
    );
}
