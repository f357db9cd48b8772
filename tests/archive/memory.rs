//! How much memory an archive can make its reader take.
//!
//! Each archive is read by a process that may take only so much; one that takes more dies.

use super::common::*;
use super::malicious::{Forge, parts, reframed};
use rustix::process::{Resource, Rlimit, setrlimit};
use state::archive::frame::{MOST_FRAME_BYTES, MOST_LAST_BYTES, Packer, SeekTable};
use state::archive::label::Label;
use state::archive::manifest::{Block, Bytes, Digest};
use state::archive::member::Kind;
use state::archive::read::Archive;
use state_api::Never;
use std::fs;
use std::path::Path;
use std::process::Command;

/// What a reader may take on top of what it has before: several copies of the largest index.
const MOST_BYTES: u64 = 448 << 20;
const DIRECTORY: &str = "STATE_TEST_MEMORY";

/// Archives that claim much.
fn greedy() -> Vec<(&'static str, Made)> {
    let made = Forge::new(&[("file", Kind::File, b"content")]).make();
    let zeros = |length: usize| Packer::new(3).unwrap().pack(&vec![0; length]).unwrap();
    let frame = |length| (zeros(length), length);
    let first = reframed(&made, |frames| frames[0] = frame(MOST_FRAME_BYTES));
    let last = reframed(&made, |frames| frames[1] = frame(MOST_LAST_BYTES));
    // An index of blocks that join, in its one spelling, and with the right digest.
    let (data, table) = parts(&made);
    let at = table.frames()[1];
    let packed = &data[at.at as usize..][..at.packed as usize];
    let text = state::archive::frame::unpack(packed, at.length as usize).unwrap();
    let (mut index, _) = state::archive::manifest::Index::from_frame(&text).unwrap();
    let block = |n: u64| Block {
        first: Bytes(vec![b'x'; 1]),
        offset: n,
        length: 1,
        entries: 1,
        sha256: Digest([7; 32]),
    };
    index.blocks = (0..450_000).map(block).collect();
    let text = index.to_text().into_bytes();
    assert!(
        (MOST_LAST_BYTES * 3 / 4..MOST_LAST_BYTES).contains(&text.len()),
        "{}",
        text.len()
    );
    let mut long = reframed(&made, |frames| {
        frames[1] = (Packer::new(3).unwrap().pack(&text).unwrap(), text.len());
    });
    long.label.index_sha256 = Digest::of(&text);
    // As many frames as there may be, none of which holds anything.
    let mut table = SeekTable::default();
    while table.push(1, 1).is_ok() {}
    let many = vec![0; table.packed_bytes() as usize];
    let many = super::malicious::relabelled(&made, [many, table.encode()].concat());
    vec![
        ("the first frame", first),
        ("the last frame", last),
        ("the index", long),
        ("the seek table", many),
    ]
}

#[test]
fn memory_is_bounded_whatever_an_archive_claims() {
    let dir = tempfile::tempdir().unwrap();
    for (n, (what, made)) in greedy().into_iter().enumerate() {
        let one = dir.path().join(n.to_string());
        fs::create_dir(&one).unwrap();
        fs::write(one.join("data"), &made.data).unwrap();
        fs::write(one.join("label"), made.label.to_text()).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "memory::a_reader_with_little",
                "--ignored",
                "--nocapture",
            ])
            .env(DIRECTORY, &one)
            .output()
            .unwrap();
        let peak = fs::read_to_string(one.join("peak"));
        assert!(child.status.success() && peak.is_ok(), "{what}: {child:?}");
    }
}

#[test]
#[ignore = "a child of the test above"]
fn a_reader_with_little() {
    let Some(dir) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let dir = Path::new(&dir);
    let label = fs::read(dir.join("label")).unwrap();
    let label = Label::from_text("label", &label).unwrap();
    let data = fs::read(dir.join("data")).unwrap();
    let limit = Some(status("VmSize") + MOST_BYTES);
    let limit = Rlimit {
        current: limit,
        maximum: limit,
    };
    setrlimit(Resource::As, limit).unwrap();
    let read = Archive::open(&data, &label).and_then(|archive| archive.verify(&Never, &mut |_| {}));
    assert!(read.is_err());
    let told = format!("{} MiB, {}", status("VmHWM") >> 20, read.unwrap_err());
    fs::write(dir.join("peak"), told).unwrap();
}

/// A figure of this process in bytes.
pub(crate) fn status(key: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let kib = line.unwrap().trim_matches(|c: char| !c.is_ascii_digit());
    kib.parse::<u64>().unwrap() << 10
}
