//! Archives that build on each other, made by hand: what they may say of the ones before.

use super::common::*;
use super::history::History;
use super::parts::{lines, write_since};
use super::roundtrip::{extract_from, note};
use state::archive::Result;
use state::archive::extract::Loss;
use state::archive::label::Label;
use state::archive::machine::Machine;
use state::archive::manifest::{Parent, Record, What};
use state::archive::older::Older;
use state::archive::pax::Time;
use state::archive::read::{Archive, Source};
use state::archive::select::Selection;
use state::archive::write::{Before, Input, Since, Written};
use state_api::Never;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// After all that happens here: nothing is distrusted for being too new.
pub(crate) const LATER: i64 = 1 << 40;

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
    extract_from(&open(chain).unwrap(), 0, under, into)
}

pub(crate) fn machine_after(chain: &[Made]) -> Machine {
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
        Ok(lines(&records))
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
    let (data, written) = write_since(&machine, &inputs, &before, &since);
    let made = Made {
        label: label_after(chain, &machine, &data, &written),
        data,
        written,
    };
    (since, Some(made))
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

/// What is kept of the archive before counts as what is read: no reader takes more.
#[test]
fn kept_files_with_holes_of_more_than_4_tib_in_all_are_missing_by_name() {
    let mut history = History::new(3);
    for file in ["a", "b", "c"] {
        let open = fs::File::create(history.tree().join(file)).unwrap();
        open.set_len(1 << 20).unwrap();
    }
    fs::hard_link(history.tree().join("b"), history.tree().join("d")).unwrap();
    history.save();
    let huge = |name: &str| {
        [("a", 3), ("b", 2), ("c", 1)]
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, n)| n << 40)
    };
    // Nobody hashes that: the archive before is said to have it.
    for file in ["a", "b", "c"] {
        let open = fs::File::options()
            .write(true)
            .open(history.tree().join(file))
            .unwrap();
        open.set_len(huge(file).unwrap()).unwrap();
    }
    fs::write(history.tree().join("new"), "new").unwrap();
    let tree = history.tree();
    let (_, made) = save_believing(&history.chain, &tree, LATER, &|records| {
        for record in records {
            let path = std::str::from_utf8(&record.path).unwrap();
            let stat = fs::metadata(tree.join(path)).unwrap();
            if let (What::File { size, .. }, Some(huge)) = (&mut record.what, huge(path)) {
                *size = huge;
            }
            if stat.is_file() {
                record.modified = time(stat.mtime(), stat.mtime_nsec());
                record.changed = time(stat.ctime(), stat.ctime_nsec());
            }
        }
    });
    let missing: Vec<_> = (made.unwrap().written.incomplete.into_iter())
        .map(|missing| (String::from_utf8(missing.path.0).unwrap(), missing.why))
        .collect();
    let wanted = [
        ("./b", "files with holes of more than 4 TiB in all"),
        ("./d", "it went away while it was read"),
    ];
    assert_eq!(
        missing,
        wanted.map(|(path, why)| (path.to_owned(), why.to_owned()))
    );
}

fn time(seconds: i64, nanoseconds: i64) -> Time {
    Time {
        seconds,
        nanoseconds: nanoseconds as u32,
    }
}

/// `.state/deleted` comes before what the second look finds.
#[test]
fn what_goes_away_after_it_was_found_changed_is_missing_by_name() {
    let mut history = History::new(3);
    fs::create_dir(history.tree().join("d")).unwrap();
    for file in ["a", "d/b", "d/c"] {
        fs::write(history.tree().join(file), file).unwrap();
    }
    history.save();
    for file in ["a", "d/b", "d/new"] {
        fs::write(history.tree().join(file), "changed").unwrap();
    }
    fs::remove_file(history.tree().join("d/c")).unwrap();
    let tree = history.tree();
    let asked = AtomicU32::new(0);
    let (_, made) = save_believing(&history.chain, &tree, LATER, &|_| {
        // The manifest before is read when the trees are compared, and when what is kept is.
        if asked.fetch_add(1, Ordering::Relaxed) == 1 {
            fs::remove_file(tree.join("d/b")).unwrap();
            fs::remove_file(tree.join("d/new")).unwrap();
        }
    });
    let made = made.unwrap();
    let missing: Vec<_> = (made.written.incomplete.iter())
        .map(|missing| String::from_utf8_lossy(&missing.path.0).into_owned())
        .collect();
    assert_eq!(
        missing,
        ["./d/b"],
        "gone or new: nothing has to be said of the others"
    );
    history.chain.push(made);
    let archive = open(&history.chain).unwrap();
    archive.verify(&Never, &mut |_| {}).unwrap();
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

/// More archives than a reader keeps something of, each asked twice.
#[test]
fn a_long_chain_comes_back_from_all_of_its_archives() {
    let mut history = History::new(3);
    let write = |history: &History, n: u64, what: &str| {
        for name in ["a", "b"] {
            let file = history.tree().join(format!("{name}{n:02}"));
            fs::write(file, what).unwrap();
        }
    };
    const LENGTH: u64 = 28;
    for n in 0..LENGTH {
        write(&history, n, "old");
    }
    history.save();
    for n in 1..LENGTH {
        write(&history, n, &format!("of {n}"));
        history.save();
    }
    assert_eq!(history.chain.len() as u64, LENGTH);
    let into = history.dir.path().join("to");
    assert_eq!(extract(&history.chain, None, &into), []);
    assert_eq!(note(&into), note(&history.tree()));
}
