//! Archives made to deceive. Whoever makes one also makes its label: every digest is right.
//!
//! Each is refused before anything outside the staging directory was touched.

mod authority;
mod forge;
mod headers;
mod limits;
mod metadata;
mod places;

use crate::common::*;
use crate::roundtrip::note;
pub(crate) use forge::{Forge, member, parts, pax_header, record, reframed, relabelled, sum};
use forge::{link, symlink};
use state::archive::Error;
use state::archive::member::Kind;
use state::archive::read::Archive;
use state_api::Never;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;

/// What becomes of an archive: verified, and extracted beside a tree that must not change.
fn outcome(made: &Made) -> Result<Vec<String>, String> {
    let dir = tempfile::tempdir().unwrap();
    let canary = dir.path().join("canary");
    fs::create_dir(&canary).unwrap();
    fs::write(canary.join("passwd"), "root").unwrap();
    let stage = dir.path().join("stage");
    fs::create_dir(&stage).unwrap();
    let before = note(&canary);
    let read = || -> Result<Vec<String>, Error> {
        let archive = Archive::open(&made.data, &made.label)?;
        let verified = archive.verify(&Never, &mut |_| {});
        let job = job(&archive, &Never);
        let extracted = job.extract(File::open(&stage).unwrap().as_fd(), &mut |_| {});
        verified?;
        Ok(extracted?.into_iter().map(|loss| loss.what).collect())
    };
    let outcome = read().map_err(|error| error.to_string());
    assert_eq!(before.differences(&note(&canary)), Vec::<String>::new());
    let around: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(around.len(), 2, "something appeared beside the stage");
    assert!(!Path::new("/tmp/state-canary").exists());
    outcome
}

/// What becomes of reading the manifest alone.
fn records_of(made: &Made) -> Result<usize, String> {
    let read = || {
        Archive::open(&made.data, &made.label)?
            .records()
            .try_fold(0, |n, r| r.map(|_| n + 1))
    };
    read().map_err(|error: Error| error.to_string())
}

#[track_caller]
fn refused(forge: &Forge, why: &str) {
    match outcome(&forge.make()) {
        Ok(_) => panic!("accepted: {why}"),
        Err(error) => assert!(error.contains(why), "{error:?} is not about {why:?}"),
    }
}

const FILE: Kind = Kind::File;
const DIR: Kind = Kind::Directory;

#[test]
fn an_honest_archive_is_accepted() {
    let forge = Forge::new(&[
        ("a", DIR, b""),
        ("a/file", FILE, b"content"),
        ("a/link", link("a/file"), b""),
        ("b", symlink("/etc/passwd"), b""),
    ]);
    assert_eq!(outcome(&forge.make()), Ok(Vec::new()));
}
