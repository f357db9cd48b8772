//! Damage is noticed in every kind of archive: one that builds on others, one out of a chain, one
//! that is encrypted.

use super::common::*;
use super::damage::{cut_frames, flip};
use super::history::History;
use state::archive::label::Label;
use state::archive::read::{Archive, Source};
use state_api::Never;
use std::fs;

/// A full archive and two that build on it, of a few small files and one of several frames.
fn history() -> History {
    let mut history = History::new(7);
    fs::create_dir(history.tree().join("d")).unwrap();
    fs::write(history.tree().join("d/old"), "old").unwrap();
    history.save();
    fs::write(history.tree().join("d/new"), "new").unwrap();
    history.save();
    fs::remove_file(history.tree().join("d/old")).unwrap();
    fs::write(history.tree().join("d/last"), "last").unwrap();
    history.save();
    assert_eq!(history.chain.len(), 3);
    history
}

/// Whether the newest of a chain verifies with these bytes in its place.
fn verifies_after(parents: &[Made], data: &Vec<u8>, label: &Label) -> bool {
    let sources = (parents.iter()).map(|made| (&made.data as &dyn Source, &made.label));
    let archive = Archive::open(data, label).and_then(|archive| archive.on(sources.collect()));
    archive.is_ok_and(|archive| archive.verify(&Never, &mut |_| {}).is_ok())
}

#[test]
fn of_an_archive_that_builds_on_others() {
    let history = history();
    let (last, parents) = history.chain.split_last().unwrap();
    let verifies = |data: &Vec<u8>, label: &Label| verifies_after(parents, data, label);
    flip(last, 1, &verifies);
    cut_frames(last, &verifies);
}

/// What verifying the newest reads of the one before it: its end, and nothing of it is believed.
#[test]
fn of_the_archive_before_it() {
    let history = history();
    let [first, before, last] = &history.chain[..] else {
        unreachable!()
    };
    let reads = |data: &Vec<u8>, label: &Label| {
        let sources: Vec<(&dyn Source, &Label)> = vec![(&first.data, &first.label), (data, label)];
        let archive = Archive::open(&last.data, &last.label).and_then(|a| a.on(sources));
        let archive = archive?;
        archive.verify(&Never, &mut |_| {})?;
        let records: Result<Vec<_>, _> = archive.at(1)?.records().collect();
        records
    };
    let wanted = reads(&before.data, &before.label).unwrap();
    for n in 0..before.data.len() {
        let mut data = before.data.clone();
        data[n] ^= 1 << (n % 8);
        // Either it is not read at all, or it is noticed.
        if let Ok(found) = reads(&data, &before.label) {
            assert_eq!(found, wanted, "byte {n}");
        }
    }
    cut_frames(before, &|data, label| reads(data, label).is_ok());
}

#[test]
fn of_an_archive_out_of_a_chain() {
    let history = history();
    let archive = super::chain::open(&history.chain).unwrap();
    let mut machine = archive.machine().clone();
    (machine.id, machine.parent) = ("20261121T120000Z-00000001".into(), None);
    let made = consolidated(&archive, &machine);
    let verifies = |data: &Vec<u8>, label: &Label| verifies_after(&[], data, label);
    flip(&made, 1, &verifies);
    cut_frames(&made, &verifies);
}

#[cfg(feature = "offsite")]
mod encrypted {
    use super::*;
    use crate::damage::cut;
    use crate::hostile::Random;
    use crate::malicious::relabelled;
    use state::archive::encryption::{Identities, Recipients, Sealed, generate};
    use state::ask::{Ask, Nobody};
    use std::io::Write as _;
    use std::sync::Arc;

    /// An archive of one file, encrypted, and the key.
    fn sealed(content: &[u8]) -> (Made, Identities) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), content).unwrap();
        let made = archive(&[("/persist", dir.path())]);
        let (identity, recipient) = generate();
        let mut keys = Identities::default();
        let nobody: Arc<dyn Ask> = Arc::new(Nobody);
        keys.add("key", identity.as_bytes(), &nobody).unwrap();
        let ready = Recipients::parse(&[recipient]).unwrap().ready().unwrap();
        let mut writer = ready.encrypt(Vec::new()).unwrap();
        writer.write_all(&made.data).unwrap();
        (relabelled(&made, writer.finish().unwrap()), keys)
    }

    fn verifies(keys: &Identities, data: &[u8], label: &Label) -> bool {
        Sealed::open(Box::new(data.to_vec()), keys).is_ok_and(|sealed| {
            Archive::open(&sealed, label)
                .is_ok_and(|archive| archive.verify(&Never, &mut |_| {}).is_ok())
        })
    }

    #[test]
    fn every_byte_and_every_piece_of_an_encrypted_archive() {
        let (made, keys) = sealed(b"content");
        flip(&made, 1, &|data, label| verifies(&keys, data, label));
        // Of several of the pieces that age encrypts by themselves.
        let mut random = Random(1);
        let noise = std::iter::repeat_with(|| random.next().to_le_bytes());
        let noise: Vec<u8> = noise.take(25_000).flatten().collect();
        let (made, keys) = sealed(&noise);
        let header = made.data.windows(5).position(|w| w == b"\n--- ").unwrap();
        let payload = made.data[header + 1..].iter().position(|b| *b == b'\n');
        let payload = header + 2 + payload.unwrap();
        let pieces = (payload + 16..made.data.len()).step_by((64 << 10) + 16);
        let places: Vec<usize> = [header, payload].into_iter().chain(pieces).collect();
        assert!(places.len() > 3, "{places:?} of {}", made.data.len());
        cut(&made, &places, &|data, label| verifies(&keys, data, label));
    }
}
