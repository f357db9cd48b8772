//! Damage is always noticed: every bit of an archive, and every length.

use super::common::*;
use super::roundtrip::note;
use state::archive::extract::Job;
use state::archive::frame::SeekTable;
use state::archive::label::Label;
use state::archive::manifest::Digest;
use state::archive::owners::Owners;
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

#[test]
fn every_flipped_bit_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let mut made = small(dir.path());
    assert!(verifies(&made.data, &made.label));
    // Without the digest over everything: what is inside must notice on its own.
    let label = |data: &Vec<u8>| Label {
        data_sha256: Digest::of(data),
        ..made.label.clone()
    };
    let tar = zstd::decode_all(&made.data[..]).unwrap();
    for n in 0..made.data.len() {
        for bit in 0..8 {
            let data = &mut made.data;
            data[n] ^= 1 << bit;
            assert!(!verifies(data, &made.label), "byte {n}, bit {bit}");
            let label = label(data);
            if verifies(data, &label) {
                // zstd has several spellings of some things.
                let now = zstd::decode_all(&data[..]).unwrap();
                assert!(now == tar, "byte {n}, bit {bit}, unnoticed inside");
            }
            data[n] ^= 1 << bit;
        }
    }
    assert!(verifies(&made.data, &made.label));
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
            let job = Job {
                archive: &archive,
                store: 0,
                under: None,
                owners: &Owners::default(),
                interrupt: &Never,
            };
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

#[test]
fn every_other_length_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("big"), vec![7; 5 << 20]).unwrap();
    let made = small(dir.path());
    let length = SeekTable::length_at_end(&made.data, made.label.data_bytes).unwrap();
    let frames = made.data.len() - length as usize;
    let table = SeekTable::decode(&made.data[frames..], made.label.data_bytes).unwrap();
    assert!(table.frames().len() > 5);
    let boundaries = table.frames().iter().map(|frame| frame.at as usize);
    let cuts: Vec<usize> = (boundaries.chain([frames]))
        .flat_map(|at| [at.saturating_sub(1), at, at + 1])
        .chain([0, made.data.len() - 1])
        .collect();
    for cut in cuts {
        let data = made.data[..cut].to_vec();
        assert!(!verifies(&data, &made.label), "cut at {cut}");
        let mut label = made.label.clone();
        label.data_bytes = cut as u64;
        label.data_sha256 = Digest::of(&data);
        assert!(!verifies(&data, &label), "cut at {cut}, unnoticed inside");
        // A seek table that fits what is left does not help either.
        let mut short = SeekTable::default();
        for frame in table
            .frames()
            .iter()
            .take_while(|f| f.at + u64::from(f.packed) <= cut as u64)
        {
            short
                .push(frame.packed as usize, frame.length as usize)
                .unwrap();
        }
        if short != table {
            let data = [&made.data[..short.packed_bytes() as usize], &short.encode()].concat();
            label.data_bytes = data.len() as u64;
            label.data_sha256 = Digest::of(&data);
            assert!(
                !verifies(&data, &label),
                "cut at frame {}",
                short.frames().len()
            );
        }
    }
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
