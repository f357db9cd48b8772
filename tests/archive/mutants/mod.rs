//! Thousands of archives, each changed in one way: what we accept is what everybody else sees.
//!
//! Where our reader takes an archive, GNU tar, bsdtar and Python's tarfile have to see the same
//! names, types, sizes, contents and targets in it as we do. What it refuses is refused: neither
//! by a panic, nor after a long time, nor with much memory.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a table of what was tried, and what hangs"
)]

mod arrange;
mod base;
mod make;
mod peers;

use crate::common::Made;
use crate::hostile::Random;
use make::{CLASSES, Class, mutant};
use peers::{Entry, Kind, Tree};
use state::archive::manifest::What;
use state::archive::read::Archive;
use state_api::Never;
use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

/// Nobody needs as long for an archive of ten members.
const HANGING: Duration = Duration::from_secs(60);
/// What reading them all may add to what the first took.
const MOST_BYTES: u64 = 128 << 20;

/// What we see, if we accept it.
fn accepted(made: &Made) -> Result<Tree, String> {
    let archive = Archive::open(&made.data, &made.label).map_err(|e| e.to_string())?;
    let verified = archive.verify(&Never, &mut |_| {});
    verified.map_err(|error| error.to_string())?;
    let mut tree = Tree::new();
    for record in archive.records() {
        let (record, _) = record.map_err(|error| error.to_string())?;
        let kind = match record.what {
            What::Directory => Kind::Directory,
            What::File { size, sha256, .. } => Kind::File {
                size,
                sha256: sha256.to_string(),
            },
            What::Symlink { target } => Kind::Symlink { target },
            What::Link { target } => Kind::Link { target },
            What::Fifo => Kind::Fifo,
        };
        let entry = Entry {
            kind,
            mode: record.mode,
            owner: (record.uid, record.gid),
        };
        if !record.path.is_empty() {
            tree.insert(record.path, entry);
        }
    }
    Ok(tree)
}

/// An archive that we accept.
struct Taken {
    what: String,
    data: Vec<u8>,
    tree: Tree,
}

#[derive(Default)]
struct Count {
    made: usize,
    accepted: usize,
    /// Of them those that are not what they were.
    changed: usize,
    whys: BTreeMap<String, usize>,
}

/// The reason without what is different each time.
fn kind_of(why: &str) -> String {
    let last = why.rsplit(": ").next().unwrap_or(why);
    let words = last.split(' ').filter(|word| {
        !word.contains(['…', '"', '`']) && !word.chars().any(|c| c.is_ascii_digit())
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Makes and reads so many of each class.
fn read_all(each: u64, class: Class, at: &Mutex<String>, done: &AtomicU64) -> (Count, Vec<Taken>) {
    let mut count = Count::default();
    let mut taken: Vec<Taken> = Vec::new();
    for seed in 0..each {
        let what = format!("{class:?} {seed}");
        at.lock().unwrap().clone_from(&what);
        let mut random = Random(seed << 8 | class as u64);
        count.made += 1;
        let made = mutant(class, &mut random);
        let read = made.and_then(|made| Ok((accepted(&made)?, made.data)));
        done.fetch_add(1, Relaxed);
        match read {
            Err(why) => *count.whys.entry(kind_of(&why)).or_default() += 1,
            Ok((tree, data)) => {
                count.accepted += 1;
                let is_new = taken.iter().all(|other| other.data != data);
                if is_new {
                    count.changed += 1;
                    taken.push(Taken { what, data, tree });
                }
            }
        }
    }
    (count, taken)
}

/// Ends everything if one archive takes for ever, and says which.
fn watch(at: &Mutex<String>, done: &AtomicU64, is_over: Receiver<()>) {
    let mut before = done.load(Relaxed);
    while is_over.recv_timeout(HANGING) == Err(RecvTimeoutError::Timeout) {
        let now = done.load(Relaxed);
        if now == before {
            eprintln!("{} takes for ever", at.lock().unwrap());
            std::process::abort();
        }
        before = now;
    }
}

#[test]
#[ignore = "needs root, zstd, GNU tar, bsdtar and python3"]
fn peers_see_what_we_accept_of_changed_archives() {
    let each = std::env::var("STATE_MUTANTS").map_or(300, |n| n.parse().unwrap());
    let (at, done) = (Mutex::new(String::new()), AtomicU64::new(0));
    let (over, is_over) = mpsc::channel();
    let (mut table, mut all) = (Vec::new(), Vec::new());
    let before = crate::memory::status("VmHWM");
    std::thread::scope(|scope| {
        let (at, done) = (&at, &done);
        scope.spawn(move || watch(at, done, is_over));
        for class in CLASSES {
            let (count, taken) = read_all(each, class, at, done);
            all.extend(taken);
            table.push((class, count));
        }
        over.send(()).unwrap();
    });
    let held: usize = all.iter().map(|taken| taken.data.len()).sum();
    let grown = crate::memory::status("VmHWM") - before;
    assert!(grown < MOST_BYTES + held as u64, "{} MiB", grown >> 20);

    let dir = tempfile::tempdir().unwrap();
    for (n, taken) in all.iter().enumerate() {
        fs::write(dir.path().join(format!("{n}.tar.zst")), &taken.data).unwrap();
    }
    let mut findings = Vec::new();
    for (peer, seen) in peers::see(dir.path(), all.len()) {
        for (taken, seen) in all.iter().zip(seen) {
            let differences = match seen {
                Ok(seen) => peers::differences(&taken.tree, &seen),
                Err(error) => vec![error],
            };
            if !differences.is_empty() {
                findings.push(format!(
                    "{}, {peer}: {}",
                    taken.what,
                    differences.join("; ")
                ));
            }
        }
    }
    println!("| class | made | refused | accepted | different ones | why refused |");
    println!("|---|---|---|---|---|---|");
    for (class, count) in &table {
        let mut whys: Vec<_> = count
            .whys
            .iter()
            .map(|(why, n)| (*n, why.as_str()))
            .collect();
        whys.sort_by(|a, b| b.cmp(a));
        let whys: Vec<_> = whys
            .iter()
            .take(4)
            .map(|(n, why)| format!("{why} {n}"))
            .collect();
        let refused = count.made - count.accepted;
        let (made, accepted, changed) = (count.made, count.accepted, count.changed);
        let whys = whys.join(", ");
        println!("| {class:?} | {made} | {refused} | {accepted} | {changed} | {whys} |");
    }
    assert!(
        findings.is_empty(),
        "{} findings\n{}",
        findings.len(),
        findings[..findings.len().min(20)].join("\n")
    );
    // What is refused altogether compares nothing.
    for (class, count) in &table {
        let is_always_refused = matches!(class, Class::Types | Class::Extended);
        assert!(count.changed > 1 || is_always_refused, "{class:?}");
        assert!(
            count.accepted < count.made || matches!(class, Class::Members),
            "{class:?}"
        );
    }
}
