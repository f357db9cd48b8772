//! Changes of what is whole: members among each other, and the frames around them.

use super::make::Piece;
use crate::common::Made;
use crate::hostile::Random;
use crate::malicious::{parts, reframed, relabelled};
use state::archive::frame::{Packer, unpack};
use state::archive::member::BLOCK;

/// Other members behind each other.
pub(super) fn reorder(pieces: &mut Vec<Piece>, random: &mut Random) {
    let count = pieces.len() as u64;
    let (a, b) = (random.below(count) as usize, random.below(count) as usize);
    match random.below(6) {
        0 => pieces.swap(a, b),
        1 => pieces.insert(b, pieces[a].clone()),
        2 => drop(pieces.remove(a)),
        3 => pieces.truncate(a + 1),
        4 => pieces.insert(a, (vec![0; BLOCK * (1 + b % 3)], Vec::new())),
        _ => {
            let cut = pieces[a].1.len();
            pieces[a].1.truncate(cut.saturating_sub(BLOCK));
        }
    }
}

/// Other frames around the same tar, or around a part of it.
pub(super) fn frames(made: &Made, random: &mut Random) -> Result<Made, String> {
    let pack = |content: &[u8], level| Packer::new(level).unwrap().pack(content).unwrap();
    let skippable = |length: usize| {
        let head = [
            0x50 + length as u8 % 16,
            0x2a,
            0x4d,
            0x18,
            length as u8,
            0,
            0,
            0,
        ];
        [&head[..], &vec![7; length]].concat()
    };
    let length = random.below(90) as usize;
    let level = *random.pick(&[1, 3, 9, 19]);
    Ok(match random.below(9) {
        0 => reframed(made, |frames| frames.reverse()),
        1 => reframed(made, |frames| frames.insert(0, frames[0].clone())),
        2 => reframed(made, |frames| frames.insert(1, (skippable(length), 0))),
        3 => reframed(made, |frames| frames[0].0.extend(skippable(length))),
        4 => reframed(made, |frames| frames.insert(1, (pack(b"", level), 0))),
        5 | 6 => {
            // The same content in other frames, compressed otherwise: that is no other archive.
            let cut = random.below(4);
            reframed(made, |frames| {
                let content = unpack(&frames[0].0, frames[0].1).unwrap();
                let at = (content.len() as u64 * cut / 4) as usize;
                let (one, two) = content.split_at(at);
                let split = [one, two].map(|part| (pack(part, level), part.len()));
                let split = split.into_iter().filter(|(_, length)| *length > 0);
                frames.splice(0..1, split);
            })
        }
        7 => {
            let mut data = made.data.clone();
            let (frames, _) = parts(made);
            let table = frames.len();
            let at = table + random.below((data.len() - table) as u64) as usize;
            data[at] ^= 1 << random.below(8);
            relabelled(made, data)
        }
        _ => {
            let (frames, _) = parts(made);
            let at = random.below(frames.len() as u64) as usize;
            let mut data = made.data.clone();
            data[at] ^= 1 << random.below(8);
            relabelled(made, data)
        }
    })
}
