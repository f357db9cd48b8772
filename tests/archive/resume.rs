//! An extraction that was killed is gone on with: what it made is hashed instead of read again, and
//! what is not whole is made anew.

use super::common::*;
use super::roundtrip::note;
use state::archive::compare;
use state::archive::read::Archive;
use state_api::{Interrupt, Never, View};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

/// Many frames' worth: whoever lacks a file reads its frame, and the workers stop in one each.
const FILES: u64 = 180;
const SIZE: usize = 200_000;

struct When(AtomicBool);

impl Interrupt for When {
    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[test]
fn what_is_staged_is_not_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    fs::create_dir(&from).unwrap();
    for n in 0..FILES {
        // Nothing that compresses.
        let mut state = n + 1;
        let mut noise = || {
            state = u64::wrapping_add(u64::wrapping_mul(state, 6_364_136_223_846_793_005), 1);
            (state >> 56) as u8
        };
        let content: Vec<u8> = std::iter::repeat_with(&mut noise).take(SIZE).collect();
        fs::write(from.join(format!("file-{n:03}")), content).unwrap();
    }
    let made = archive(&[("/persist", &from)]);
    let whole = made.data.len() as u64;
    let to = tempfile::tempdir().unwrap();
    let stage = File::open(to.path()).unwrap();
    let extract = |until: u64| {
        let data = Counted::new(&made.data);
        let archive = Archive::open(&data, &made.label).unwrap();
        let stop = When(AtomicBool::new(false));
        let job = job(&archive, &stop);
        let extracted = job.extract(stage.as_fd(), &mut |now| {
            stop.0.fetch_or(now.bytes >= until, Ordering::Relaxed);
        });
        if let Ok(losses) = &extracted {
            assert_eq!(*losses, []);
        }
        (extracted.is_ok(), data.so_far())
    };
    let (ended, read) = extract(FILES * SIZE as u64 * 8 / 10);
    assert!(!ended && read > whole / 2, "{read} of {whole}");
    // A machine that lost its power has files without their last bytes, or with zeros in them.
    let mut staged: Vec<_> = (fs::read_dir(to.path()).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    staged.sort();
    File::options()
        .write(true)
        .open(&staged[0])
        .unwrap()
        .set_len(1000)
        .unwrap();
    fs::write(&staged[1], [0; SIZE]).unwrap();

    let (ended, read) = extract(u64::MAX);
    assert!(
        ended && read < whole * 45 / 100,
        "{read} of {whole} read again"
    );
    let wanted = note(&from);
    assert_eq!(wanted.differences(&note(to.path())), [""; 0]);
    let archive = Archive::open(&made.data, &made.label).unwrap();
    let job = job(&archive, &Never);
    assert_eq!(
        compare(
            &job,
            &View::live(stage.try_clone().unwrap().into()),
            &mut |_| {}
        )
        .unwrap(),
        []
    );
    // All of it.
    let (ended, read) = extract(u64::MAX);
    assert!(ended && read < whole / 10, "{read} of {whole} read again");
}
