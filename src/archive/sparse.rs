//! The map in front of a sparse member's data: GNU's pax form 1.0.
//!
//! The number of extents, then offset and length of each, one number a line, padded to whole
//! blocks. A hole at the end is an extent without length. All data but the last is of whole blocks:
//! GNU tar begins each extent with a block, the others go on in the middle of one.

use super::Bad;
use super::member::{BLOCK, padded};
use super::pax::decimal;
use state_linux::metadata::Extent;

/// More extents than this are not read: the map alone would be 40 MiB.
const MOST_EXTENTS: usize = 1 << 20;

/// The extents of a file as a map may have them: not too many, and of whole blocks.
pub(super) fn fitting(extents: Vec<Extent>, size: u64) -> Vec<Extent> {
    // A hole at the end is one more.
    whole_blocks(at_most(MOST_EXTENTS - 1, extents), size)
}

/// The extents with so many of the smallest holes between them taken for data that there are
/// `most`.
fn at_most(most: usize, extents: Vec<Extent>) -> Vec<Extent> {
    let mut left = extents.len().saturating_sub(most);
    if left == 0 {
        return extents;
    }
    let hole = |last: &Extent, next: &Extent| next.offset - (last.offset + last.length);
    let mut holes: Vec<u64> = extents
        .windows(2)
        .map(|two| hole(&two[0], &two[1]))
        .collect();
    let (_, widest, _) = holes.select_nth_unstable(left - 1);
    let widest = *widest;
    let mut fewer: Vec<Extent> = Vec::with_capacity(most);
    for extent in extents {
        match fewer.last_mut() {
            Some(last) if left > 0 && hole(last, &extent) <= widest => {
                last.length = extent.offset + extent.length - last.offset;
                left -= 1;
            }
            _ => fewer.push(extent),
        }
    }
    fewer
}

/// The extents with as much of the holes behind them as makes them whole blocks.
fn whole_blocks(extents: Vec<Extent>, size: u64) -> Vec<Extent> {
    let mut whole: Vec<Extent> = Vec::with_capacity(extents.len());
    for mut extent in extents {
        let end = extent.offset + extent.length;
        extent.offset = match whole.last() {
            Some(last) if last.offset + last.length >= extent.offset => {
                whole.pop().expect("it was just there").offset
            }
            _ => extent.offset,
        };
        extent.length = padded(end - extent.offset).min(size - extent.offset);
        whole.push(extent);
    }
    whole
}

/// The map of a file of `size` bytes whose data is in `extents`.
pub(super) fn encode(extents: &[Extent], size: u64) -> Vec<u8> {
    let end = extents.last().map_or(0, |e| e.offset + e.length);
    let tail = (end < size).then_some(Extent {
        offset: size,
        length: 0,
    });
    let mut text = format!("{}\n", extents.len() + usize::from(tail.is_some()));
    for extent in extents.iter().chain(&tail) {
        text.push_str(&format!("{}\n{}\n", extent.offset, extent.length));
    }
    let mut map = text.into_bytes();
    map.resize(padded(map.len() as u64) as usize, 0);
    map
}

/// Reads a map, block by block; gives the extents and how long the map was. The data must make
/// up exactly what is left of the `stored` bytes.
pub(super) fn decode<E: From<Bad>>(
    size: u64,
    stored: u64,
    mut block: impl FnMut() -> Result<[u8; BLOCK], E>,
) -> Result<(Vec<Extent>, u64), E> {
    let bad = || Bad::from("a sparse file with a map that is not true");
    let mut map: Vec<u8> = Vec::new();
    let mut lines: Vec<u64> = Vec::new();
    let mut at = 0;
    while lines
        .first()
        .is_none_or(|n| lines.len() as u64 != 1 + 2 * n)
    {
        if let Some(length) = map[at..].iter().position(|b| *b == b'\n') {
            lines.push(decimal(&map[at..at + length]).ok_or_else(bad)?);
            at += length + 1;
            if lines[0] > MOST_EXTENTS as u64 {
                return Err(bad().into());
            }
        } else if map.len() - at > 20 || map.len() as u64 + BLOCK as u64 > stored {
            return Err(bad().into());
        } else {
            map.extend(block()?);
        }
    }
    let (pairs, _) = lines[1..].as_chunks::<2>();
    let mut extents = Vec::with_capacity(pairs.len());
    let (mut end, mut data) = (0, 0);
    for &[offset, length] in pairs {
        end = Some(offset)
            .filter(|offset| *offset >= end)
            .and_then(|offset| offset.checked_add(length))
            .filter(|end| *end <= size)
            .ok_or_else(bad)?;
        data += length;
        let torn = |last: &Extent| !last.length.is_multiple_of(BLOCK as u64);
        if length > 0 {
            if extents.last().is_some_and(torn) {
                return Err(bad().into());
            }
            extents.push(Extent { offset, length });
        }
    }
    if encode(&extents, size) != map || map.len() as u64 + data != stored {
        return Err(bad().into());
    }
    Ok((extents, map.len() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(map: &[u8], size: u64, stored: u64) -> Result<(Vec<Extent>, u64), Bad> {
        let mut blocks = map.chunks(BLOCK).map(|b| b.try_into().unwrap());
        decode(size, stored, || blocks.next().ok_or(Bad::from("end")))
    }

    fn text(text: &str) -> Vec<u8> {
        let mut map = text.as_bytes().to_vec();
        map.resize(padded(map.len() as u64) as usize, 0);
        map
    }

    #[test]
    fn maps_come_back() {
        let extent = |offset, length| Extent { offset, length };
        for (extents, size) in [
            (vec![], 1 << 40),
            (vec![extent(4096, 10)], 4106),
            (vec![extent(0, 512), extent(8192, 4097)], 1 << 20),
            (
                (0..500).map(|n| extent(n * 8192, 4096)).collect(),
                500 * 8192,
            ),
        ] {
            let map = encode(&extents, size);
            let data: u64 = extents.iter().map(|e| e.length).sum();
            let stored = map.len() as u64 + data;
            assert_eq!(read(&map, size, stored), Ok((extents, map.len() as u64)));
            assert!(read(&map, size, stored + 1).is_err());
        }
    }

    #[test]
    fn data_is_made_of_whole_blocks() {
        type Extents = [(u64, u64)];
        let table: [(&Extents, u64, &Extents); 6] = [
            (&[(0, 512), (4096, 1)], 9999, &[(0, 512), (4096, 512)]),
            (&[(3, 600), (4096, 9)], 4105, &[(3, 1024), (4096, 9)]),
            (&[(0, 1), (512, 1)], 9999, &[(0, 1024)]),
            (
                &[(0, 1), (600, 1), (1000, 1)],
                9999,
                &[(0, 512), (600, 512)],
            ),
            (&[(0, 1), (100, 900)], 1001, &[(0, 1001)]),
            (&[], 7, &[]),
        ];
        let extents = |list: &Extents| -> Vec<_> {
            let extents = list.iter();
            extents
                .map(|&(offset, length)| Extent { offset, length })
                .collect()
        };
        for (found, size, wanted) in table {
            assert_eq!(whole_blocks(extents(found), size), extents(wanted));
        }
    }

    #[test]
    fn the_smallest_holes_are_data_where_there_are_too_many() {
        let extent = |(offset, length)| Extent { offset, length };
        let all = [(0, 10), (20, 10), (35, 10), (90, 10), (105, 10)].map(extent);
        for (most, wanted) in [
            (5, &[(0, 10), (20, 10), (35, 10), (90, 10), (105, 10)][..]),
            (4, &[(0, 10), (20, 25), (90, 10), (105, 10)]),
            (2, &[(0, 45), (90, 25)]),
            (1, &[(0, 115)]),
        ] {
            let wanted: Vec<_> = wanted.iter().copied().map(extent).collect();
            assert_eq!(at_most(most, all.to_vec()), wanted, "{most}");
        }
    }

    /// As a file has it that was written in every other block.
    #[test]
    fn a_file_of_too_many_pieces_gets_a_map_that_is_read() {
        let pieces = MOST_EXTENTS as u64 + 2;
        let extents = (0..pieces).map(|n| Extent {
            offset: n * 8192,
            length: 4096,
        });
        let size = pieces * 8192;
        let extents = fitting(extents.collect(), size);
        let map = encode(&extents, size);
        let data: u64 = extents.iter().map(|e| e.length).sum();
        assert_eq!(data, (pieces + 3) * 4096);
        let stored = map.len() as u64 + data;
        assert_eq!(read(&map, size, stored), Ok((extents, map.len() as u64)));
    }

    #[test]
    fn maps_that_lie_are_refused() {
        for (map, size, data) in [
            ("1\n0\n11\n", 10, 11),                  // beyond the end
            ("2\n0\n5\n4\n5\n", 10, 10),             // overlapping
            ("2\n5\n5\n0\n5\n", 10, 10),             // out of order
            ("1\n18446744073709551615\n2\n", 10, 2), // overflowing
            ("2\n0\n5\n5\n0\n", 10, 5),              // an extent of nothing
            ("1\n0\n5\n", 10, 5),                    // no hole at the end
            ("2\n0\n5\n7\n3\n", 10, 8),              // goes on in the middle of a block
            ("01\n0\n10\n", 10, 10),                 // another spelling
            ("99999999999\n", 10, 0),                // more than fits
            ("1\n0\n", 10, 0),                       // torn
            ("1\n0\n10\nx", 10, 10),                 // something behind it
            ("111111111111111111111111111111\n0\n10\n", 10, 10),
        ] {
            let map = text(map);
            let stored = map.len() as u64 + data;
            assert!(read(&map, size, stored).is_err(), "{map:?}");
        }
    }
}
