//! Every input that a fuzz target has kept, in every build: what crashed once does not again.

use state::archive::encryption::Sealed;
use state::archive::proof::Proof;
use state::archive::read::Source;
use state::archive::signature::{AllowedSigners, signed_by};
use state_fuzz::{TARGETS, expect_whole};
use state_linux::btrfs::items;
use state_zfs::stream;
use std::fs;
use std::path::Path;

#[test]
fn kept_inputs_do_no_harm() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, run) in TARGETS {
        let kept = fs::read_dir(corpus.join(name)).unwrap();
        let kept: Vec<_> = kept.map(|entry| entry.unwrap().path()).collect();
        assert!(!kept.is_empty(), "{name} has no corpus");
        for path in kept {
            let data = fs::read(&path).unwrap();
            run(&data);
            // And what a cut-off file or a changed byte makes of it.
            for n in (0..data.len()).step_by(1 + data.len() / 64) {
                run(&data[..n]);
                let mut changed = data.clone();
                changed[n] ^= 1 << (n % 8);
                run(&changed);
            }
        }
    }
    let targets = TARGETS.map(|(name, _)| name.to_owned());
    let files = fs::read_dir(corpus.with_file_name("fuzz_targets")).unwrap();
    let mut files: Vec<_> = files
        .map(|file| {
            file.unwrap()
                .path()
                .file_stem()
                .unwrap()
                .display()
                .to_string()
        })
        .collect();
    files.sort();
    assert_eq!(files, targets);
}

/// A target whose seeds are all refused at the door tests nothing.
#[test]
fn the_seeds_are_what_they_are_called() {
    expect_whole(include_bytes!("../corpus/archive/small"));
    let sealed = include_bytes!("../corpus/age/small").to_vec();
    let sealed = Sealed::open(Box::new(sealed), &state_fuzz::keys()).unwrap();
    let length = sealed.length() as usize;
    assert_eq!(sealed.read(0, length).unwrap(), b"what is encrypted\n");
    let text = include_str!("../corpus/signature/sig");
    assert!(signed_by(b"state archive 1\n", text).is_ok());
    let allowed = include_str!("../corpus/signature/allowed");
    assert_eq!(AllowedSigners::parse(allowed).strange().len(), 1);
    let (name, proof) = include_str!("../corpus/signature/proof")
        .split_once('\n')
        .unwrap();
    assert!(Proof::from_object(name, proof.as_bytes()).is_ok());
    let items = include_bytes!("../corpus/items/extrefs");
    assert!(items::inode_extrefs(items).is_some());
    let stream = include_bytes!("../corpus/stream/kinds");
    let objects = stream::objects(&stream[..], u64::MAX).unwrap();
    assert_eq!(objects, Some((40..=48).collect()));
}
