//! Rule 6: limits before allocation.

use super::forge::Forge;
use super::{FILE, outcome};
use crate::common::*;
use state::archive::frame::SeekTable;
use state::archive::label::Label;
use state::archive::manifest::Digest;

#[test]
fn a_bomb_does_not_go_off() {
    // A frame that claims and holds a gigabyte of zeros in a few kilobytes.
    let made = Forge::new(&[("file", FILE, b"content")]).make();
    let zeros = zstd::bulk::compress(&vec![0; 1 << 30], 3).unwrap();
    let length = SeekTable::length_at_end(&made.data.0, made.label.data_bytes).unwrap();
    let frames = &made.data.0[..made.data.0.len() - length as usize];
    let table = SeekTable::decode(&made.data.0[frames.len()..], made.label.data_bytes).unwrap();
    for claimed in [1 << 30, 1 << 20] {
        let mut new = SeekTable::default();
        new.push(zeros.len(), claimed).unwrap();
        for frame in table.frames() {
            new.push(frame.packed as usize, frame.length as usize)
                .unwrap();
        }
        let data = [&zeros[..], frames, &new.encode()].concat();
        let made = Made {
            label: Label {
                data_bytes: data.len() as u64,
                data_sha256: Digest::of(&data),
                ..made.label.clone()
            },
            data: Memory(data),
            written: made.written.clone(),
        };
        assert!(outcome(&made).is_err());
    }
}
