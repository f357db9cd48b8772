//! The bytes of an archive do not depend on how many threads made it, and no failure leaves one
//! waiting for another.

use super::common::*;
use super::hostile;
use state::archive::read::Archive;
use state_api::{Interrupt, Never};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that do not compress and differ from place to place.
fn noise(length: usize, mut seed: u64) -> Vec<u8> {
    let next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Files around the size of a frame, of many frames, with holes over several, with further names
/// before and behind them, among many small ones.
fn grow(dir: &Path) {
    hostile::grow(dir, 5, 80);
    for n in 0..40 {
        fs::create_dir(dir.join(format!("many-{n}"))).unwrap();
        for m in 0..10 {
            let file = dir.join(format!("many-{n}/{m}"));
            fs::write(file, noise(n * 400 + m, (n * m) as u64)).unwrap();
        }
    }
    for (name, size) in [("frame-1", -1), ("frame", 0), ("frame+1", 1)] {
        let size = (2 << 20) + size;
        fs::write(dir.join(name), noise(size as usize, 7)).unwrap();
    }
    fs::write(dir.join("large"), noise(9_000_001, 1)).unwrap();
    fs::hard_link(dir.join("large"), dir.join("many-3/large again")).unwrap();
    fs::hard_link(dir.join("large"), dir.join("a first name of large")).unwrap();
    let holes = File::create_new(dir.join("many-2/holes")).unwrap();
    for n in 0..20 {
        let extent = noise(500_000, n);
        holes.write_all_at(&extent, n * 1_000_000).unwrap();
    }
    holes.set_len(64 << 20).unwrap();
}

/// Takes everything below a directory out of memory, so that it is read ahead.
fn forget(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            forget(&entry.path());
        } else if kind.is_file() {
            let file = File::open(entry.path()).unwrap();
            file.sync_all().unwrap();
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        }
    }
}

#[test]
fn the_bytes_are_the_same_whoever_makes_them() {
    let dir = tempfile::tempdir().unwrap();
    grow(dir.path());
    let made = [1, 2, 7].map(|workers| archive_by(workers, &[("/persist", dir.path())]));
    for other in &made[1..] {
        assert_eq!(made[0].label, other.label);
        assert!(made[0].data == other.data);
    }
    assert_eq!(made[0].written.incomplete, []);
    forget(dir.path());
    assert!(made[0].data == archive_by(2, &[("/persist", dir.path())]).data);
    let archive = Archive::open(&made[0].data, &made[0].label).unwrap();
    archive.verify(&Never, &mut |_| {}).unwrap();
}

/// Takes so many bytes and then no more.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = (self.0.checked_sub(bytes.len())).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct After(AtomicUsize);

impl Interrupt for After {
    fn is_set(&self) -> bool {
        let left = |n: usize| Some(n.saturating_sub(1));
        let before = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
        before == Ok(0)
    }
}

#[test]
fn a_full_disk_and_an_interrupt_end_every_thread() {
    let dir = tempfile::tempdir().unwrap();
    grow(dir.path());
    let view = view(dir.path());
    let machine = machine(&["/persist"]);
    let whole = archive(&[("/persist", dir.path())]).data.len();
    for n in 0..12 {
        let error = write(2, &machine, &[&view], &mut Full(whole * n / 12), &Never);
        let error = error.unwrap_err().to_string();
        assert_eq!(error, "writing the archive: no storage space", "{n}");
        let after = After(AtomicUsize::new(n * 2));
        let error = write(3, &machine, &[&view], &mut Vec::new(), &after);
        assert_eq!(error.unwrap_err().to_string(), "interrupted", "{n}");
    }
}
