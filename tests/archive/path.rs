//! One path out of a large archive: as much is read as it needs, and it is the same as ever.

use super::common::*;
use super::roundtrip::note;
use state::archive::compare;
use state::archive::extract::Job;
use state::archive::read::Archive;
use state_api::{Never, View};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

fn noise(seed: usize) -> Vec<u8> {
    let mut state = seed as u64 + 1;
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(1500).collect()
}

#[test]
fn one_path_reads_its_blocks_and_frames_alone() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    for n in 0..100 {
        let at = from.join(format!("var/lib/service-{n:02}/sub"));
        fs::create_dir_all(&at).unwrap();
        for m in 0..80 {
            fs::write(at.join(format!("file-{m}")), noise(n * 80 + m)).unwrap();
        }
    }
    let odd = from
        .join("var/lib")
        .join(OsStr::from_bytes(b"odd \xff\"\\"));
    fs::create_dir(&odd).unwrap();
    fs::write(odd.join("plain"), "plain").unwrap();
    fs::write(odd.join(OsStr::from_bytes(b"\xfe")), "odd").unwrap();
    fs::create_dir(from.join("var/lib/\"quoted\"")).unwrap();
    fs::write(from.join("var/lib/\"quoted\"/plain"), "plain").unwrap();
    let linked = from.join("var/lib/service-77/linked");
    fs::hard_link(from.join("var/lib/service-03/sub/file-7"), &linked).unwrap();
    fs::hard_link(&linked, from.join("var/lib/service-77/again")).unwrap();
    std::os::unix::fs::symlink("x", from.join("var/lib/service-50/link")).unwrap();
    for name in ["symlink", "symlink again"] {
        let again = from.join("var/lib/service-77").join(name);
        fs::hard_link(from.join("var/lib/service-50/link"), again).unwrap();
    }
    let made = archive(&[("/persist", &from)]);
    let whole = made.data.len() as u64;
    for (path, share) in [
        (&b"var/lib/service-42/sub/file-17"[..], 8),
        (b"var/lib/service-42", 5),
        (b"var/lib/service-77", 2), // with what is elsewhere
        (b"var/lib/odd \xff\"\\", 5),
        (b"var/lib/\"quoted\"", 5),
        (b"var", 1),
    ] {
        let data = Counted::new(&made.data);
        let archive = Archive::open(&data, &made.label).unwrap();
        let job = Job {
            under: Some(path),
            ..job(&archive, &Never)
        };
        let to = tempfile::tempdir().unwrap();
        let stage = File::open(to.path()).unwrap();
        assert_eq!(job.extract(stage.as_fd(), &mut |_| {}).unwrap(), []);
        assert_eq!(
            compare(&job, &View::live(stage.into()), &mut |_| {}).unwrap(),
            []
        );
        let path = Path::new(OsStr::from_bytes(path));
        if from.join(path).is_dir() {
            let (wanted, found) = (note(&from.join(path)), note(&to.path().join(path)));
            assert_eq!(wanted.differences(&found), Vec::<String>::new(), "{path:?}");
        } else {
            let (wanted, found) = (from.join(path), to.path().join(path));
            assert!(fs::read(wanted).unwrap() == fs::read(found).unwrap());
        }
        let read = data.so_far();
        assert!(
            share == 1 || read * share < whole,
            "{path:?}: {read} of {whole}"
        );
    }
}
