//! Rule 6: limits before allocation.

use super::forge::{Forge, link, member, parts, record, reframed, relabelled};
use super::{DIR, FILE, outcome, records_of, refused};
use state::archive::frame::{MOST_FRAME_BYTES, MOST_LAST_BYTES, SeekTable};
use state::archive::manifest::{Digest, What};
use state::archive::member::Kind;
use state::archive::{MOST_SPARSE_BYTES, XATTR_MAX};
use std::time::{Duration, Instant};

#[test]
fn a_bomb_does_not_go_off() {
    // A frame that claims and holds a gigabyte of zeros in a few kilobytes.
    let made = Forge::new(&[("file", FILE, b"content")]).make();
    let zeros = zstd::bulk::compress(&vec![0; 1 << 30], 3).unwrap();
    for claimed in [1 << 30, 1 << 20] {
        let bomb = reframed(&made, |frames| frames.insert(0, (zeros.clone(), claimed)));
        assert!(outcome(&bomb).is_err());
    }
}

#[test]
fn a_seek_table_that_lies_is_refused_before_anything_is_read() {
    let made = Forge::new(&[("file", FILE, b"content")]).make();
    let impossible = "a seek table with an impossible frame";
    let frame = |packed: usize, length: usize| (vec![0; packed], length);
    for (what, frame) in [
        ("a frame of nothing", frame(0, 100)),
        ("nothing in a frame", frame(100, 0)),
        ("more than a frame holds", frame(100, MOST_FRAME_BYTES + 1)),
        ("longer packed than zstd makes it", frame(4000, 100)),
    ] {
        let made = reframed(&made, |frames| frames.insert(0, frame));
        let error = outcome(&made).expect_err(what);
        assert!(error.contains(impossible), "{what}: {error}");
    }
    let made_last = reframed(&made, |frames| {
        frames.last_mut().unwrap().1 = MOST_LAST_BYTES + 1
    });
    assert!(outcome(&made_last).unwrap_err().contains(impossible));
    // Overlapping frames and such beyond the end: the lengths no longer add up to the object.
    for change in [-1_i64, 1, 1 << 20] {
        let mut table = SeekTable::default();
        let (frames, old) = parts(&made);
        for (n, frame) in old.frames().iter().enumerate() {
            let packed = i64::from(frame.packed) + if n == 0 { change } else { 0 };
            table.push(packed as usize, frame.length as usize).unwrap();
        }
        let data = [frames, &table.encode()].concat();
        let error = outcome(&relabelled(&made, data)).unwrap_err();
        let fits = ["does not fit the object", impossible];
        assert!(
            fits.iter().any(|why| error.contains(why)),
            "{change}: {error}"
        );
    }
    // A number of frames for which no object has room, and one that no archive has.
    for frames in [u32::MAX, 0x0800_0000, made.data.len() as u32] {
        let mut data = made.data.clone();
        let at = data.len() - 9;
        data[at..at + 4].copy_from_slice(&frames.to_le_bytes());
        let error = outcome(&relabelled(&made, data)).unwrap_err();
        let known = ["unknown form", "no seek table at its end"];
        assert!(
            known.iter().any(|why| error.contains(why)),
            "{frames}: {error}"
        );
    }
}

#[test]
fn hours_of_holes_are_refused_at_once() {
    let begun = Instant::now();
    let sparse = |size: u64| {
        let map = b"1\n".to_vec();
        let mut map = [map, format!("{size}\n0\n").into_bytes()].concat();
        map.resize(512, 0);
        let kind = Kind::Sparse { real_size: size };
        let what = What::File {
            size,
            sha256: Digest([7; 32]),
            is_sparse: true,
        };
        (kind, map, what)
    };
    let all = "files with holes of more than 4 TiB in all";
    for (sizes, why) in [
        (&[1_u64 << 60][..], all),
        (&[MOST_SPARSE_BYTES + 1], all),
        (&[MOST_SPARSE_BYTES / 2, MOST_SPARSE_BYTES / 2 + 1], all),
        (&[u64::MAX], "a size that no file has"),
        (&[1 << 63, 1 << 63], "a size that no file has"),
    ] {
        let mut forge = Forge::new(&[]);
        for (n, size) in sizes.iter().enumerate() {
            let (kind, map, what) = sparse(*size);
            forge.add(&format!("hole{n}"), kind, &map);
            forge.records.last_mut().unwrap().what = what;
        }
        // Verifying reads the first holes before it sees the last: only the manifest is asked.
        let made = forge.make();
        let error = records_of(&made).expect_err(why);
        assert!(error.contains(why), "{error}");
    }
    assert!(
        begun.elapsed() < Duration::from_secs(60),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn attributes_have_the_sizes_that_kernels_know() {
    let with = |pairs: Vec<(Vec<u8>, Vec<u8>)>| {
        let mut forge = Forge::new(&[]);
        let mut member = member("file", FILE, b"");
        member.extra.xattrs = pairs.into_iter().collect();
        let headers = member.encode().unwrap_or_default();
        forge.records.push(record(&member, b""));
        forge.members.push((headers, Vec::new()));
        forge
    };
    let pair = |name: usize, value: usize| (vec![b'u'; name], vec![b'v'; value]);
    refused(&with(vec![pair(256, 1)]), "an impossible name");
    refused(&with(vec![pair(0, 1)]), "an impossible name");
    refused(
        &with(vec![pair(9, XATTR_MAX + 1)]),
        "an attribute of more than 64 KiB",
    );
    let many = (1..=17).map(|n| pair(n, XATTR_MAX)).collect();
    refused(&with(many), "attributes of more than 1 MiB");
    let largest = outcome(&with(vec![(b"user.x".to_vec(), vec![0; XATTR_MAX])]).make());
    assert!(
        largest.is_ok_and(|losses| losses.len() <= 1),
        "what the filesystem says of it"
    );
}

#[test]
fn deep_trees_are_read_and_made_without_growing_the_stack() {
    let mut forge = Forge::new(&[]);
    let mut path = String::from("d");
    while path.len() + 2 <= 4095 {
        forge.add(&path, DIR, b"");
        path.push_str("/d");
    }
    forge.add(&path, FILE, b"deep");
    assert_eq!(outcome(&forge.make()), Ok(Vec::new()));
    // One more is refused.
    forge.records.last_mut().unwrap().what = What::Directory;
    forge.add(&format!("{path}/x"), FILE, b"too deep");
    refused(&forge, "a path longer than 4095 bytes");
}

#[test]
fn many_names_of_one_inode_are_links() {
    let mut forge = Forge::new(&[("a", FILE, b"one")]);
    for n in 0..3000 {
        forge.add(&format!("b{n:05}"), link("a"), b"");
    }
    assert_eq!(outcome(&forge.make()), Ok(Vec::new()));
}
