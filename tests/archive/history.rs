//! A tree with a history: edited at random, archived after every few edits, each archive building
//! on the one before it.

use super::chain::{LATER, extract, machine_after, open, save_after};
use super::common::*;
use super::hostile::Random;
use super::roundtrip::note;
use rustix::fs::{Mode, OFlags, XattrFlags};
use state::archive::read::{Archive, Source};
use state::archive::write::again;
use state::inventory::Inventory;
use state_api::Never;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{FileExt, PermissionsExt, chown, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A tree, and its archives.
pub(crate) struct History {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) chain: Vec<Made>,
    pub(crate) noted: Vec<Inventory>,
    random: Random,
    names: u64,
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

#[test]
fn a_chain_becomes_one_full_archive() {
    for seed in 10..13 {
        let history = History::lived(seed, 6);
        let archive = open(&history.chain).unwrap();
        let mut machine = archive.machine().clone();
        (machine.id, machine.parent) = ("20261121T120000Z-00000001".into(), None);
        let made = consolidated(&archive, &machine);
        // The same as if the machine had been read again, but for its name.
        let fresh = archive_named(&machine, &history.tree());
        assert_eq!(made.label, fresh.label, "seed {seed}");
        assert!(made.data == fresh.data, "seed {seed}");
    }
}

/// A full backup ends a frame with a large file: so that what follows is read without it.
#[test]
fn a_large_file_ends_its_frame_when_it_is_consolidated() {
    let mut history = History::new(4);
    let write = |history: &History, name: &str, bytes: usize| {
        fs::write(history.tree().join(name), vec![7; bytes]).unwrap();
    };
    for (name, bytes) in [("a", 10), ("b", 3 << 20), ("c", 10)] {
        write(&history, name, bytes);
    }
    history.save();
    write(&history, "d", 10);
    history.save();
    let archive = open(&history.chain).unwrap();
    let mut machine = archive.machine().clone();
    (machine.id, machine.parent) = ("20261121T120000Z-00000001".into(), None);
    let made = consolidated(&archive, &machine);
    assert!(made.data == archive_named(&machine, &history.tree()).data);
}

/// An archive whose middle is another one once it was read so often.
struct Liar<'a> {
    honest: &'a Made,
    other: &'a Made,
    after: u64,
    reads: AtomicU64,
}

impl Source for Liar<'_> {
    fn name(&self) -> &str {
        "the liar"
    }

    fn length(&self) -> u64 {
        self.honest.data.length()
    }

    fn read(&self, at: u64, length: usize) -> state::archive::Result<Vec<u8>> {
        let honest = self.honest.data.read(at, length)?;
        if length < 1 << 20 {
            return Ok(honest); // no frame of the large file
        }
        let other = self.other.data.read(at, length)?;
        let is_lie = honest != other && self.reads.fetch_add(1, Ordering::Relaxed) >= self.after;
        Ok(if is_lie { other } else { honest })
    }
}

#[test]
fn what_is_consolidated_is_what_was_checked() {
    let history = History::new(5);
    let mut random = Random(6);
    let mut noise: Vec<u8> = std::iter::repeat_with(|| random.below(256) as u8)
        .take(7 << 20)
        .collect();
    let mut archived = |change: u8| {
        noise[3 << 20] ^= change;
        let path = history.tree().join("noise");
        fs::write(&path, &noise).unwrap();
        let modified = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        File::open(&path).unwrap().set_modified(modified).unwrap();
        archive_named(&machine_after(&[]), &history.tree())
    };
    let (honest, other) = (archived(0), archived(1));
    let outcomes = [0, 1, 2].map(|after| {
        let reads = AtomicU64::new(0);
        let source = Liar {
            honest: &honest,
            other: &other,
            after,
            reads,
        };
        let archive = Archive::open(&source, &honest.label).unwrap();
        let mut data = Vec::new();
        let machine = archive.machine().clone();
        let made = again(&archive, &machine, 3, &mut data, &Never, &mut |_| {});
        made.map(|made| {
            let label = label(&machine, &data, &made);
            let archive = Archive::open(&data, &label).unwrap();
            archive.verify(&Never, &mut |_| {}).unwrap();
        })
        .map_err(|error| error.to_string().contains("its content has digest"))
    });
    assert_eq!(outcomes, [Err(true), Ok(()), Ok(())]);
}
