//! What an archive holds that builds on another one: what changed, and nothing else.

use super::chain::{LATER, extract, save_after};
use super::history::History;
use super::roundtrip::note;
use std::fs;
use std::path::Path;

/// Archives `tree`, changes it, archives the change: what comes back must be the tree, and these
/// are the members of the second archive.
fn changed(make: impl Fn(&Path), change: impl Fn(&Path)) -> (Vec<String>, Vec<String>) {
    let mut history = History::new(0);
    make(&history.tree());
    history.save();
    change(&history.tree());
    history.save();
    let to = tempfile::tempdir().unwrap();
    assert_eq!(extract(&history.chain, None, to.path()), []);
    let noted = history.noted.last().unwrap();
    assert_eq!(noted.differences(&note(to.path())), Vec::<String>::new());
    let data = zstd::decode_all(&history.chain.last().unwrap().data[..]).unwrap();
    let (mut members, mut gone) = (Vec::new(), Vec::new());
    for entry in tar::Archive::new(&data[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        if path == "./.state/deleted" {
            let list = std::io::read_to_string(&mut entry).unwrap();
            gone = list.split_terminator('\0').map(str::to_owned).collect();
        }
        let target = entry
            .link_name()
            .unwrap()
            .map(|to| format!(" = {}", to.display()));
        if !path.starts_with("./.state/") {
            members.push(path + &target.unwrap_or_default());
        }
    }
    (members, gone)
}

#[test]
fn only_what_changed_is_archived() {
    let make = |top: &Path| {
        fs::create_dir_all(top.join("a/b")).unwrap();
        fs::create_dir_all(top.join("z")).unwrap();
        for file in ["a/1", "a/b/2", "a/b/3", "z/4"] {
            fs::write(top.join(file), file).unwrap();
        }
    };
    let case = |change: &dyn Fn(&Path), members: &[&str], gone: &[&str]| {
        let (found, found_gone) = changed(make, change);
        assert_eq!(
            (found, found_gone),
            (
                members.iter().map(|s| (*s).into()).collect(),
                gone.iter().map(|s| (*s).into()).collect()
            )
        );
    };
    // The directory is archived too: whoever extracts changes its time.
    case(
        &|top| fs::write(top.join("a/b/2"), "new").unwrap(),
        &["./a/b/", "./a/b/2"],
        &[],
    );
    case(
        &|top| fs::remove_dir_all(top.join("a")).unwrap(),
        &["./"],
        &["./a"],
    );
    case(
        &|top| fs::rename(top.join("a/b"), top.join("y")).unwrap(),
        &["./", "./a/", "./y/", "./y/2", "./y/3"],
        &["./a/b"],
    );
    case(
        &|top| {
            fs::remove_dir_all(top.join("a")).unwrap();
            fs::write(top.join("a"), "a file").unwrap();
            fs::remove_file(top.join("z/4")).unwrap();
            fs::create_dir(top.join("z/4")).unwrap();
        },
        &["./", "./a", "./z/", "./z/4/"],
        &["./a", "./z/4"],
    );
}

#[test]
fn names_of_one_inode_stay_together() {
    let make = |top: &Path| {
        for dir in ["b", "c", "d"] {
            fs::create_dir(top.join(dir)).unwrap();
        }
        fs::write(top.join("b/x"), "x").unwrap();
        fs::hard_link(top.join("b/x"), top.join("c/x")).unwrap();
        fs::hard_link(top.join("b/x"), top.join("d/x")).unwrap();
    };
    let renamed = |from: &'static str, to: &'static str| {
        changed(make, move |top| {
            fs::rename(top.join(from), top.join(to)).unwrap()
        })
        .0
    };
    // The first name is no more: the next becomes the first.
    assert_eq!(
        renamed("b", "e"),
        [
            "./",
            "./c/",
            "./c/x",
            "./d/",
            "./d/x = ./c/x",
            "./e/",
            "./e/x = ./c/x"
        ]
    );
    // A name comes before the first.
    assert_eq!(
        renamed("d", "a"),
        [
            "./",
            "./a/",
            "./a/x",
            "./b/",
            "./b/x = ./a/x",
            "./c/",
            "./c/x = ./a/x"
        ]
    );
    // The first stays what it was.
    assert_eq!(renamed("c", "f"), ["./", "./f/", "./f/x = ./b/x"]);
}

#[test]
fn what_is_as_it_was_gives_no_archive_and_what_is_too_new_is_not_believed() {
    let mut history = History::new(1);
    fs::write(history.tree().join("a"), "a").unwrap();
    history.save();
    let (since, made) = save_after(&history.chain, &history.tree(), LATER);
    assert!(!since.has_changed() && made.is_none());
    // Had it been archived in the second in which it was written, more may have been written.
    let (_, made) = save_after(&history.chain, &history.tree(), 0);
    assert_eq!(made.unwrap().written.totals.files, 1);
}
