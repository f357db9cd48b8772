//! Every input that a fuzz target has kept, in every build: what crashed once does not again.
#![allow(
    unreachable_pub,
    reason = "the targets are a library of their own in tests/fuzz"
)]

#[path = "fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::path::Path;

#[test]
fn kept_inputs_do_no_harm() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    for (name, run) in targets::TARGETS {
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
    let targets = targets::TARGETS.map(|(name, _)| name.to_owned());
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
fn the_seed_of_archives_is_one() {
    let seed = include_bytes!("fuzz/corpus/archive/small");
    targets::expect_whole(seed);
}
