//! A tree with a history: edited at random, archived after every few edits, each archive building
//! on the one before it.

use super::common::*;
use super::hostile::Random;
use super::roundtrip::note;
use rustix::fs::{Mode, OFlags, XattrFlags};
use state::archive::base::Older;
use state::archive::extract::{Job, Loss};
use state::archive::label::Label;
use state::archive::machine::Machine;
use state::archive::manifest::{Parent, Record, What};
use state::archive::owners::Owners;
use state::archive::read::{Archive, Source};
use state::archive::select::Selection;
use state::archive::write::{Before, Draft, Input, Since, Written, again};
use state::archive::{Result, compare};
use state::inventory::Inventory;
use state_api::{Never, View};
use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A tree, and its archives.
pub(crate) struct History {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) chain: Vec<Made>,
    pub(crate) noted: Vec<Inventory>,
    random: Random,
    names: u64,
}

/// After all that happens here: nothing is distrusted for being too new.
const LATER: i64 = 1 << 40;

/// Opens the last of a chain.
pub(crate) fn open(chain: &[Made]) -> Result<Archive<'_>> {
    let (last, parents) = chain.split_last().unwrap();
    let parents = parents
        .iter()
        .map(|made| (&made.data as &dyn Source, &made.label));
    Archive::open(&last.data, &last.label)?.on(parents.collect())
}

/// Extracts the last of a chain.
pub(crate) fn extract(chain: &[Made], under: Option<&[u8]>, into: &Path) -> Vec<Loss> {
    let archive = open(chain).unwrap();
    let job = Job {
        archive: &archive,
        store: 0,
        under,
        owners: &Owners::default(),
        interrupt: &Never,
    };
    let stage = File::open(into).unwrap();
    let mut losses = job.extract(stage.as_fd(), &mut |_| {}).unwrap();
    losses.extend(compare(&job, &View::live(stage.into())).unwrap());
    losses
}

fn machine_after(chain: &[Made]) -> Machine {
    let mut machine = machine(&["/persist"]);
    machine.id = format!("20261121T1137{:02}Z-3f6a90c1", chain.len());
    machine.parent = chain.last().map(|made| made.label.id.to_string());
    machine
}

fn label_after(chain: &[Made], machine: &Machine, data: &[u8], written: &Written) -> Label {
    Label {
        parent: chain.last().map(|made| made.label.id.clone()),
        position: chain.len() as u64,
        ..label(machine, data, written)
    }
}

/// Archives what changed in `tree` since the last of `chain`.
pub(crate) fn save_after(chain: &[Made], tree: &Path, begun: i64) -> (Since, Option<Made>) {
    save_believing(chain, tree, begun, &|_| {})
}

/// The same by a writer who believes `lie` of the archive before.
fn save_believing(
    chain: &[Made],
    tree: &Path,
    begun: i64,
    lie: &(dyn Fn(&mut Vec<Record>) + Sync),
) -> (Since, Option<Made>) {
    let view = view(tree);
    let selection = Selection::all();
    let inputs = [Input {
        view: &view,
        selection: &selection,
    }];
    let before = open(chain).unwrap();
    let older = || -> Result<Older<'_>> {
        let records = before.records().map(|record| Ok(record?.0));
        let mut records = records.collect::<Result<Vec<_>>>()?;
        lie(&mut records);
        Ok(Box::new(records.into_iter().map(Ok)))
    };
    let parents = chain.iter().map(|made| Parent {
        id: made.label.id.to_string(),
        index_sha256: made.label.index_sha256,
    });
    let before = Before {
        parents: parents.collect(),
        begun,
        older: &older,
    };
    let since = Since::look(&inputs, &before, None, &Never).unwrap();
    if !since.has_changed() {
        return (since, None);
    }
    let machine = machine_after(chain);
    let mut data = Vec::new();
    let draft = Draft {
        level: 1,
        workers: 2,
        machine: &machine,
        inputs: &inputs,
        incomplete: Vec::new(),
        since: Some((&before, &since)),
    };
    let written = draft.write(&mut data, &Never, &mut |_| {}).unwrap();
    let made = Made {
        label: label_after(chain, &machine, &data, &written),
        data,
        written,
    };
    (since, Some(made))
}

impl History {
    pub(crate) fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["tree", "to"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self {
            dir,
            chain: Vec::new(),
            noted: Vec::new(),
            random: Random(seed),
            names: 0,
        }
    }

    pub(crate) fn tree(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    /// Archives the tree as it is.
    pub(crate) fn save(&mut self) {
        // Two changes within one tick of the kernel's clock may look like one.
        std::thread::sleep(Duration::from_millis(12));
        let tree = self.tree();
        let made = match self.chain.is_empty() {
            true => archive_named(&machine_after(&[]), &tree),
            false => match save_after(&self.chain, &tree, LATER) {
                (_, Some(made)) => made,
                (_, None) => return, // the edits undid each other
            },
        };
        assert_eq!(made.written.incomplete, []);
        self.chain.push(made);
        self.noted.push(note(&tree));
        open(&self.chain)
            .unwrap()
            .verify(&Never, &mut |_| {})
            .unwrap();
        std::thread::sleep(Duration::from_millis(12));
    }

    fn all(&self) -> Vec<PathBuf> {
        let view = view(&self.tree());
        let walk = state_linux::tree::Walk::new(&view);
        walk.map(|entry| self.tree().join(entry.unwrap().path))
            .collect()
    }

    fn any(&mut self, wants: impl Fn(&fs::Metadata) -> bool) -> Option<PathBuf> {
        let mut all = self.all();
        all.retain(|path| path.symlink_metadata().is_ok_and(|data| wants(&data)));
        let n = self.random.below(all.len().max(1) as u64) as usize;
        (!all.is_empty()).then(|| all.swap_remove(n))
    }

    fn fresh(&mut self) -> PathBuf {
        let top = self.tree();
        let dir = self.any(fs::Metadata::is_dir).unwrap_or(top);
        self.names += 1;
        let odd = ["", "\n", " ", "-x", "\u{e9}"][self.random.below(5) as usize];
        dir.join(format!("n{}{odd}", self.names % 40))
    }

    /// One edit, or none if it is impossible.
    pub(crate) fn edit(&mut self) {
        let is_file = |data: &fs::Metadata| data.is_file();
        let top = self.tree();
        let is_inner = move |path: &PathBuf| *path != top;
        let fresh = self.fresh();
        let what = self.random.below(17);
        let number = self.random.below(100_000);
        let file = self.any(is_file);
        let other = self.any(|_| true).filter(&is_inner);
        let third = self.any(|_| true).filter(&is_inner);
        // What cannot be done is not done: something is in the way, or a directory is not empty.
        let _outcome: Option<std::io::Result<()>> = (|| {
            Some(match what {
                0..=2 => fs::write(&fresh, format!("content {number}")),
                3 => fs::create_dir(&fresh),
                4 => File::options()
                    .append(true)
                    .open(file?)
                    .and_then(|mut f| f.write_all(b"more")),
                5 => File::options()
                    .write(true)
                    .open(file?)
                    .and_then(|f| f.set_len(number)),
                6 => File::options()
                    .write(true)
                    .open(file?)
                    .and_then(|f| f.write_all_at(b"deep", number * 5)),
                7 => fs::rename(other?, &fresh),
                8 => fs::rename(other?, third?),
                9 => fs::hard_link(file?, &fresh),
                10 => fs::remove_file(other?),
                11 => match other? {
                    dir if dir.is_dir() => fs::remove_dir_all(dir),
                    file => fs::remove_file(&file).and_then(|()| fs::create_dir(&file)),
                },
                12 => symlink(format!("../{number}"), &fresh),
                13 => {
                    let (mode, path) = (number as u32 & 0o777 | 0o700, other?);
                    if path.is_symlink() {
                        return None;
                    }
                    fs::set_permissions(path, fs::Permissions::from_mode(mode))
                }
                14 => chown(file?, Some(number as u32 % 7), None),
                15 => {
                    let path = other?;
                    if path.is_symlink() {
                        return None;
                    }
                    let name = ["user.a", "user.b"][number as usize % 2];
                    match number % 3 {
                        0 => rustix::fs::removexattr(&path, name).map_err(Into::into),
                        _ => rustix::fs::setxattr(&path, name, b"x", XattrFlags::empty())
                            .map_err(Into::into),
                    }
                }
                _ => {
                    let open = rustix::fs::open(file?, OFlags::RDWR, Mode::empty()).ok()?;
                    let times = rustix::fs::Timestamps {
                        last_access: rustix::fs::Timespec {
                            tv_sec: 1,
                            tv_nsec: 1,
                        },
                        last_modification: rustix::fs::Timespec {
                            tv_sec: number as i64,
                            tv_nsec: 7,
                        },
                    };
                    rustix::fs::futimens(open, &times).map_err(Into::into)
                }
            })
        })();
    }

    /// A history of so many archives.
    pub(crate) fn lived(seed: u64, archives: usize) -> Self {
        let mut history = Self::new(seed);
        for _ in 0..60 {
            history.edit();
        }
        history.save();
        while history.chain.len() < archives {
            for _ in 0..=history.random.below(12) {
                history.edit();
            }
            history.save();
        }
        history
    }
}

#[test]
fn every_moment_of_a_history_comes_back() {
    for seed in 0..4 {
        let history = History::lived(seed, 12);
        for n in 0..history.chain.len() {
            let to = tempfile::tempdir().unwrap();
            assert_eq!(extract(&history.chain[..=n], None, to.path()), []);
            let differences = history.noted[n].differences(&note(to.path()));
            assert_eq!(
                differences,
                Vec::<String>::new(),
                "seed {seed}, archive {n}"
            );
        }
    }
}

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

#[test]
fn one_path_is_read_from_the_archive_that_holds_it() {
    let mut history = History::new(2);
    fs::create_dir(history.tree().join("d")).unwrap();
    fs::write(history.tree().join("d/old"), "old").unwrap();
    history.save();
    for n in 0..3 {
        fs::write(history.tree().join(format!("d/{n}")), "new").unwrap();
        history.save();
    }
    // The second and the third archive are never asked for anything.
    for unread in [1, 2] {
        history.chain[unread].data.fill(0);
    }
    let to = history.dir.path().join("to");
    assert_eq!(extract(&history.chain, Some(b"d/old"), &to), []);
    assert_eq!(fs::read(to.join("d/old")).unwrap(), b"old");
    let archive = open(&history.chain).unwrap();
    let why = archive.at(1).unwrap_err().to_string();
    assert_eq!(
        why,
        "the archive: no seek table at its end: it is cut off or no archive"
    );
}

/// What verifying says of a second archive whose writer believed `lie` of the first.
fn told(lie: impl Fn(&mut Vec<Record>) + Sync) -> String {
    let mut history = History::new(3);
    fs::create_dir(history.tree().join("d")).unwrap();
    for file in ["a", "d/b"] {
        fs::write(history.tree().join(file), file).unwrap();
    }
    history.save();
    fs::write(history.tree().join("new"), "new").unwrap();
    let (_, made) = save_believing(&history.chain, &history.tree(), LATER, &|records| {
        lie(records)
    });
    history.chain.extend(made);
    let verified = open(&history.chain).and_then(|archive| archive.verify(&Never, &mut |_| {}));
    verified.map_or_else(|error| error.to_string(), |()| "verified".into())
}

#[test]
fn an_archive_that_lies_about_the_one_before_is_refused() {
    assert_eq!(told(|_| {}), "verified");
    let at = |records: &[Record], path: &[u8]| records.iter().position(|r| r.path == path).unwrap();
    // Content, mode and place of what is kept.
    let lies: [&(dyn Fn(&mut Record) + Sync); 4] = [
        &|record| record.offset += 512,
        &|record| record.extra.flags = Some("no-dump".into()),
        &|record| {
            if let What::File { sha256, .. } = &mut record.what {
                sha256.0[0] ^= 1;
            }
        },
        &|record| record.archive = 7,
    ];
    let whys = [
        "d/b: the archive before has something else there",
        "d/b: the archive before has something else there",
        "d/b: the archive before has something else there",
        "d/b: it is in no archive of its chain",
    ];
    for (lie, why) in lies.iter().zip(whys) {
        let told = told(|records| {
            let at = at(records, b"d/b");
            lie(&mut records[at]);
        });
        assert_eq!(told, why);
    }
    // What is gone, and what is not.
    let with = |path: &'static [u8]| {
        told(move |records| {
            let mut record = records[at(records, b"a")].clone();
            record.path = path.to_vec();
            let place =
                records.partition_point(|r| state::archive::manifest::order(&r.path, path).is_lt());
            records.insert(place, record);
        })
    };
    let contradicts = "the archive: ./.state/deleted contradicts the manifest";
    assert_eq!(with(b"other"), contradicts);
    let no_path = "the archive: ./.state/deleted lists what is no path of the tree";
    assert_eq!(with(b".state/x"), no_path);
    assert_eq!(
        told(|records| records.truncate(1)),
        "verified",
        "all is archived anew"
    );
}

#[test]
fn a_chain_is_what_the_manifest_says() {
    let mut history = History::lived(5, 3);
    let refused = |chain: &[Made]| open(chain).map(|_| ()).unwrap_err().to_string();
    let others = "the archive: it builds on other archives than its label says";
    // One is missing, they are in another order, one is there twice.
    assert_eq!(refused(&history.chain[1..]), others);
    history.chain.swap(0, 1);
    assert_eq!(refused(&history.chain), others);
    history.chain.swap(0, 1);
    // Another one takes its place, under its name.
    let id = history.chain[1].label.id.clone();
    history.chain[1].label.index_sha256.0[0] ^= 1;
    assert_eq!(
        refused(&history.chain),
        format!("the archive: it cannot be read: another archive was put in the place of {id}")
    );
    // Nothing builds on itself or on what came later.
    let label = &history.chain[2].label;
    for parent in [&label.id, &"20300101T000000Z-00000000".parse().unwrap()] {
        let text = label.to_text().replace(
            &format!("parent: {}", label.parent.as_ref().unwrap()),
            &format!("parent: {parent}"),
        );
        let error = Label::from_text("x", text.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "x: a label with an impossible parent");
    }
}

#[test]
fn a_chain_becomes_one_full_archive() {
    for seed in 10..13 {
        let history = History::lived(seed, 6);
        let archive = open(&history.chain).unwrap();
        let mut machine = archive.machine().clone();
        (machine.id, machine.parent) = ("20261121T120000Z-00000001".into(), None);
        let mut data = Vec::new();
        let written = again(&archive, &machine, 3, &mut data, &Never, &mut |_| {}).unwrap();
        let made = Made {
            label: label(&machine, &data, &written),
            data,
            written,
        };
        // The same as if the machine had been read again, but for its name.
        let fresh = archive_named(&machine, &history.tree());
        assert_eq!(made.label, fresh.label, "seed {seed}");
        assert!(made.data == fresh.data, "seed {seed}");
    }
}
