//! Archives of real trees, written and read.

mod common;

use common::*;
use state::archive::read::Archive;
use state_api::Never;
use std::fs;

#[test]
fn smoke() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("etc/x")).unwrap();
    fs::write(dir.path().join("etc/x/hello"), "hello").unwrap();
    fs::write(dir.path().join("big"), vec![7; 5 << 20]).unwrap();
    fs::hard_link(dir.path().join("big"), dir.path().join("etc/big2")).unwrap();
    std::os::unix::fs::symlink("x", dir.path().join("etc/sym")).unwrap();
    let f = fs::File::create(dir.path().join("sparse")).unwrap();
    f.set_len(100 << 20).unwrap();
    use std::os::unix::fs::FileExt;
    f.write_all_at(b"data", 50 << 20).unwrap();
    let made = archive(&[("/persist", dir.path())]);
    println!("{:#?}\n{}", made.written, made.label.to_text());
    fs::write("/tmp/archive-smoke.tar.zst", &made.data.0).unwrap();
    let archive = Archive::open(&made.data, &made.label).unwrap();
    archive.verify(&Never, &mut |_| {}).unwrap();
}
