use super::*;
use crate::inventory::{self, Inventory};
use crate::progress::heard::Heard;
use crate::progress::{Total, Unit};
use rustix::fs::{FileType, mknodat};
use state_linux::stat::Stat;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};

fn view(dir: &Path) -> View {
    View::live(
        openat(
            rustix::fs::CWD,
            dir,
            OPEN | OFlags::DIRECTORY,
            Mode::empty(),
        )
        .unwrap(),
    )
}

fn inventory(dir: &Path) -> Inventory {
    inventory::take(&view(dir), &|_| false, &state_api::Never).unwrap()
}

/// One of everything that an ordinary user can make, and names that are hard to carry.
fn a_tree_of_everything(top: &Path) {
    fs::create_dir_all(top.join("a/deep/er")).unwrap();
    fs::create_dir(top.join("shut")).unwrap();
    fs::write(top.join("a/file"), "content").unwrap();
    fs::write(top.join("a/empty"), "").unwrap();
    fs::hard_link(top.join("a/file"), top.join("a/deep/er/same file")).unwrap();
    fs::write(top.join("a/na\nme:with \u{1}"), "x").unwrap();
    let raw = std::ffi::OsStr::from_bytes(b"a/\xff\xfe");
    fs::write(top.join(raw), "not UTF-8").unwrap();
    symlink("../nowhere", top.join("a/link")).unwrap();
    let sparse = File::create(top.join("sparse")).unwrap();
    sparse.set_len(1 << 20).unwrap();
    sparse.write_all_at(b"in the middle", 512 << 10).unwrap();
    let fifo = Mode::from_raw_mode(0o640);
    let at = rustix::fs::CWD;
    mknodat(at, top.join("pipe"), FileType::Fifo, fifo, 0).unwrap();
    fs::set_permissions(top.join("a/file"), Permissions::from_mode(0o4751)).unwrap();
    let dir = view(&top.join("a"));
    let place = Place {
        dir: &dir.dir,
        name: c"empty",
    };
    place.set_xattr(c"user.note", b"line\none").unwrap();
    for (name, seconds) in [(c"file", 1_000_000_000), (c"link", 5), (c"deep", -3)] {
        let time = state_linux::stat::Time {
            seconds,
            nanoseconds: 123_456_789,
        };
        Place {
            dir: &dir.dir,
            name,
        }
        .set_modified(time)
        .unwrap();
    }
    fs::set_permissions(top.join("shut"), Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(top, Permissions::from_mode(0o751)).unwrap();
}

fn copy(from: &Path, to: &Path) -> Result<Copied> {
    tree(
        &view(from),
        &view(to).dir,
        &|_| false,
        Fidelity::Exact,
        &state_api::Never,
    )
}

#[test]
fn a_copy_has_everything_the_original_has() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir(&from).unwrap();
    fs::create_dir(&to).unwrap();
    a_tree_of_everything(&from);
    let copied = copy(&from, &to).unwrap();
    assert_eq!(
        inventory(&from).differences(&inventory(&to)),
        Vec::<String>::new()
    );
    assert_eq!(
        copied,
        Copied {
            entries: 12,
            bytes: 7 + 1 + 9 + (1 << 20),
            ..Copied::default()
        }
    );
    assert_eq!(
        fs::metadata(&to).unwrap().permissions().mode() & 0o7777,
        0o751
    );
    let taken = Stat::of(rustix::fs::CWD, to.join("sparse"))
        .unwrap()
        .allocated_bytes;
    assert!(taken < 256 << 10, "holes stay holes: {taken}");
}

#[test]
fn a_copy_says_how_far_it_is_by_the_space_that_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir(&from).unwrap();
    fs::create_dir(&to).unwrap();
    a_tree_of_everything(&from);
    fs::write(from.join("zz"), vec![7; 1 << 20]).unwrap();
    let heard = Heard::default();
    let watch = Watch {
        interrupt: &state_api::Never,
        progress: &heard,
    };
    let source = view(&from);
    let taken = Walk::new(&source).map(|entry| entry.unwrap().stat.share_bytes());
    let taken = taken.sum();
    assert!(taken >= 1 << 20, "{taken}");
    heard.begin("copying", Unit::Bytes, Total::Unknown);
    tree(&source, &view(&to).dir, &|_| false, Fidelity::Exact, watch).unwrap();
    let [stage] = &heard.stages()[..] else {
        panic!("one stage")
    };
    assert_eq!((stage.done, &*stage.path), (taken, "zz"));
}

#[test]
fn an_inventory_notices_every_single_change() {
    type Spoil = fn(&Path);
    let table: [(&str, Spoil); 10] = [
        ("a/empty: attributes", |at| {
            let dir = view(&at.join("a"));
            Place {
                dir: &dir.dir,
                name: c"empty",
            }
            .set_xattr(c"user.note", b"line")
            .unwrap();
        }),
        ("a/deep/er/same file: hard links", |at| {
            let name = at.join("a/deep/er/same file");
            fs::copy(at.join("a/file"), at.join("x")).unwrap();
            fs::rename(at.join("x"), name).unwrap();
        }),
        ("a/file: mode", |at| {
            fs::set_permissions(at.join("a/file"), Permissions::from_mode(0o751)).unwrap();
        }),
        ("a/link: modified", |at| {
            let dir = view(&at.join("a"));
            let time = state_linux::stat::Time {
                seconds: 5,
                nanoseconds: 0,
            };
            Place {
                dir: &dir.dir,
                name: c"link",
            }
            .set_modified(time)
            .unwrap();
        }),
        ("a/na\\nme:with \\u{1}: content", |at| {
            fs::write(at.join("a/na\nme:with \u{1}"), "y").unwrap()
        }),
        ("a/\\xff\\xfe: only in the first", |at| {
            fs::remove_file(at.join(std::ffi::OsStr::from_bytes(b"a/\xff\xfe"))).unwrap();
        }),
        ("more: only in the second", |at| {
            fs::write(at.join("more"), "").unwrap()
        }),
        ("pipe: kind", |at| {
            fs::remove_file(at.join("pipe")).unwrap();
            fs::write(at.join("pipe"), "").unwrap();
        }),
        ("a/link: target", |at| {
            fs::remove_file(at.join("a/link")).unwrap();
            symlink("elsewhere", at.join("a/link")).unwrap();
        }),
        ("sparse: size", |at| {
            File::options()
                .write(true)
                .open(at.join("sparse"))
                .unwrap()
                .set_len(2 << 20)
                .unwrap();
        }),
    ];
    for (expected, spoil) in table {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir(&from).unwrap();
        fs::create_dir(&to).unwrap();
        a_tree_of_everything(&from);
        copy(&from, &to).unwrap();
        spoil(&to);
        let differences = inventory(&from).differences(&inventory(&to));
        let (path, aspect) = expected.rsplit_once(": ").unwrap();
        let found = differences.iter().any(|line| {
            line.rsplit_once(": ")
                .is_some_and(|(p, aspects)| p == path && aspects.contains(aspect))
        });
        assert!(found, "{expected} in {differences:?}");
    }
}

#[test]
fn nothing_is_replaced_and_an_interruption_stops_it() {
    struct Now;
    impl state_api::Interrupt for Now {
        fn is_set(&self) -> bool {
            true
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir(&from).unwrap();
    fs::create_dir(&to).unwrap();
    fs::write(from.join("a"), "new").unwrap();
    let interrupted = tree(
        &view(&from),
        &view(&to).dir,
        &|_| false,
        Fidelity::Exact,
        &Now,
    );
    assert!(matches!(interrupted, Err(Error::Interrupted)));
    fs::write(to.join("a"), "old").unwrap();
    let error = copy(&from, &to).unwrap_err().to_string();
    assert_eq!(error, "copying a: File exists (os error 17)");
    assert_eq!(fs::read_to_string(to.join("a")).unwrap(), "old");
}
