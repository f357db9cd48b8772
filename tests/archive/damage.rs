//! Damage is always noticed: every bit of an archive, and every length.

use super::common::*;
use super::malicious::{parts, reframed, relabelled};
use super::roundtrip::note;
use state::archive::label::Label;
use state::archive::read::Archive;
use state_api::Never;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;

fn small(dir: &Path) -> Made {
    fs::create_dir_all(dir.join("etc")).unwrap();
    fs::write(dir.join("etc/machine-id"), "0123456789abcdef\n").unwrap();
    fs::write(dir.join("empty"), "").unwrap();
    std::os::unix::fs::symlink("etc", dir.join("link")).unwrap();
    fs::hard_link(dir.join("etc/machine-id"), dir.join("id")).unwrap();
    archive(&[("/persist", dir)])
}

fn verifies(data: &Vec<u8>, label: &Label) -> bool {
    Archive::open(data, label).is_ok_and(|archive| archive.verify(&Never, &mut |_| {}).is_ok())
}

/// Flips bits, so many of each byte, and sees that it is noticed: by the digest over everything,
/// and without it by what is inside.
pub(crate) fn flip(made: &Made, bits: usize, verifies: &dyn Fn(&Vec<u8>, &Label) -> bool) {
    assert!(verifies(&made.data, &made.label));
    let tar = zstd::decode_all(&made.data[..]).ok();
    let mut data = made.data.clone();
    for n in 0..data.len() {
        for bit in (0..8).cycle().skip(n % 8).take(bits) {
            data[n] ^= 1 << bit;
            assert!(!verifies(&data, &made.label), "byte {n}, bit {bit}");
            if verifies(&data, &relabelled(made, data.clone()).label) {
                // zstd has several spellings of some things.
                let now = zstd::decode_all(&data[..]).ok();
                assert!(
                    now == tar && tar.is_some(),
                    "byte {n}, bit {bit}, unnoticed inside"
                );
            }
            data[n] ^= 1 << bit;
        }
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    flip(&small(dir.path()), 8, &verifies);
}

#[test]
fn a_restore_of_a_damaged_archive_fails_or_is_right() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    let mut made = small(&from);
    let wanted = note(&from);
    let mut failed = 0;
    for n in 0..made.data.len() {
        made.data[n] ^= 1 << (n % 8);
        let to = dir.path().join("to");
        fs::create_dir(&to).unwrap();
        let extracted = Archive::open(&made.data, &made.label).and_then(|archive| {
            let job = job(&archive, &Never);
            job.extract(File::open(&to).unwrap().as_fd(), &mut |_| {})
        });
        match extracted {
            Err(_) => failed += 1,
            Ok(_) => assert_eq!(
                wanted.differences(&note(&to)),
                Vec::<String>::new(),
                "byte {n}"
            ),
        }
        fs::remove_dir_all(&to).unwrap();
        made.data[n] ^= 1 << (n % 8);
    }
    // Only the sums are not read by a restore.
    assert!(failed > made.data.len() / 2, "{failed}");
}

/// Cuts an archive off at and around each of these places, with a label that fits and without.
pub(crate) fn cut(made: &Made, at: &[usize], verifies: &dyn Fn(&Vec<u8>, &Label) -> bool) {
    let around = at.iter().flat_map(|at| [at.saturating_sub(1), *at, at + 1]);
    for cut in around.filter(|cut| *cut < made.data.len()) {
        let data = made.data[..cut].to_vec();
        assert!(!verifies(&data, &made.label), "cut at {cut}");
        let short = relabelled(made, data);
        assert!(
            !verifies(&short.data, &short.label),
            "cut at {cut}, unnoticed inside"
        );
    }
}

/// Cuts it off at each frame, and makes a seek table that fits what is left.
pub(crate) fn cut_frames(made: &Made, verifies: &dyn Fn(&Vec<u8>, &Label) -> bool) {
    let (frames, table) = parts(made);
    let begins = table.frames().iter().map(|frame| frame.at as usize);
    let ends = [frames.len(), made.data.len()];
    let places: Vec<usize> = begins.chain(ends).collect();
    cut(made, &places, verifies);
    for left in 0..table.frames().len() {
        let short = reframed(made, |frames| frames.truncate(left));
        assert!(
            !verifies(&short.data, &short.label),
            "{left} frames are left"
        );
    }
}

#[test]
fn every_other_length_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("big"), vec![7; 5 << 20]).unwrap();
    let made = small(dir.path());
    assert!(parts(&made).1.frames().len() > 5);
    cut_frames(&made, &verifies);
}

#[test]
fn an_archive_does_not_answer_to_anothers_label() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [one, two] = dirs.map(|dir| {
        fs::write(dir.path().join(format!("{:p}", &dir)), "x").unwrap();
        small(dir.path())
    });
    assert!(!verifies(&one.data, &two.label));
    let mut label = one.label.clone();
    label.machine = "other".into();
    assert!(!verifies(&one.data, &label));
}
