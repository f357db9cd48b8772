//! Archives, each changed in one way, from a number. Whoever changes one makes its manifest, its
//! digests and its label fit, as far as we can read what it became.

use super::arrange::{frames, reorder};
use super::base::base;
use crate::common::Made;
use crate::hostile::Random;
use crate::malicious::{Forge, pax_header, record, sum};
use state::archive::member::{BLOCK, Kind, Member, padded};
use state::archive::pax::{self, Records};

/// One member as it lies in a tar: its headers, and its content up to whole blocks.
pub(super) type Piece = (Vec<u8>, Vec<u8>);

/// The ways in which archives are changed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Class {
    /// Members that nobody has seen yet, spelled as we do.
    Members,
    /// A bit of a header.
    Bits,
    /// A field of a header.
    Fields,
    /// The type of a member.
    Types,
    /// A record of an extended header.
    Records,
    /// An extended header as a whole.
    Extended,
    /// A bit of the content, or of what fills up its last block.
    Content,
    /// The map of a file with holes.
    Maps,
    /// Members in another order, twice, left out, or with something between them.
    Order,
    /// Frames and the seek table.
    Frames,
}

pub(crate) const CLASSES: [Class; 10] = [
    Class::Members,
    Class::Bits,
    Class::Fields,
    Class::Types,
    Class::Records,
    Class::Extended,
    Class::Content,
    Class::Maps,
    Class::Order,
    Class::Frames,
];

/// A changed archive.
///
/// # Errors
/// Not even its members can be told apart.
pub(crate) fn mutant(class: Class, random: &mut Random) -> Result<Made, String> {
    let mut pieces = base(class, random);
    let at = 1 + random.below(pieces.len() as u64 - 1) as usize;
    let (headers, content) = &mut pieces[at];
    match class {
        Class::Members => {}
        Class::Frames => return frames(&honest(&pieces)?.make(), random),
        Class::Bits => {
            flip(headers, random);
            if !random.one_in(8) {
                sums(headers);
            }
        }
        Class::Fields => field(headers, random),
        Class::Types => {
            let at = headers.len() - BLOCK + 156;
            headers[at] = *random.pick(b"\x001234567xgLKSMDNVXA");
            sums(headers);
        }
        Class::Records => {
            let mut records = taken(headers);
            bend(&mut records, random);
            *headers = put(headers, &spelled(&records));
        }
        Class::Extended => extended(headers, random),
        Class::Content if content.is_empty() => flip(headers, random),
        Class::Content => flip(content, random),
        Class::Maps => {
            let is_sparse = |piece: &&mut Piece| !taken(&piece.0).is_empty() && !piece.1.is_empty();
            map(
                pieces.iter_mut().find(is_sparse).expect("one has holes"),
                random,
            );
        }
        Class::Order => reorder(&mut pieces, random),
    }
    Ok(honest(&pieces)?.make())
}

/// An archive of what a tar became, with a manifest that fits.
fn honest(pieces: &[Piece]) -> Result<Forge, String> {
    let tar: Vec<u8> = (pieces.iter())
        .flat_map(|(headers, content)| [&headers[..], content].concat())
        .collect();
    let mut forge = Forge::new(&[]);
    forge.members.clear();
    forge.records.clear();
    let mut rest = &tar[..];
    while !rest.is_empty() {
        let decoded = Member::decode(rest).map_err(|bad| bad.to_string())?;
        let (member, headers) = decoded.ok_or("an end in the middle")?;
        let end = headers as u64 + padded(member.stored_bytes);
        let end = usize::try_from(end).ok().filter(|end| *end <= rest.len());
        let (piece, after) = rest.split_at(end.ok_or("a member that is cut off")?);
        let (headers, content) = piece.split_at(headers);
        let stored = &content[..member.stored_bytes as usize];
        let whole = match member.kind {
            Kind::Sparse { real_size } => filled(real_size, stored)?,
            _ => stored.to_vec(),
        };
        forge.records.push(record(&member, &whole));
        forge.members.push((headers.to_vec(), content.to_vec()));
        rest = after;
    }
    match forge.records.is_empty() {
        true => Err("no member".into()),
        false => Ok(forge),
    }
}

/// A file with its holes, by a reader of maps that believes everything.
fn filled(size: u64, stored: &[u8]) -> Result<Vec<u8>, String> {
    if size > 64 << 20 {
        return Err("too large to be tried".into());
    }
    let mut whole = vec![0; size as usize];
    let mut read = || {
        let lines = stored.split(|b| *b == b'\n').map(|line| {
            let line = std::str::from_utf8(line).ok()?;
            line.parse::<usize>().ok()
        });
        let mut lines = lines.scan(0, |at, number| {
            *at += number.map_or(0, |n| n.to_string().len() + 1);
            Some((*at, number))
        });
        let (_, count) = lines.next()?;
        let (mut extents, mut end) = (Vec::new(), 0);
        for _ in 0..count? {
            let (_, offset) = lines.next()?;
            let (at, length) = lines.next()?;
            extents.push((offset?, length?));
            end = at;
        }
        let mut data = stored.get(end.next_multiple_of(BLOCK)..)?;
        for (offset, length) in extents {
            let (now, later) = data.split_at_checked(length)?;
            (whole.get_mut(offset..offset.checked_add(length)?)?).copy_from_slice(now);
            data = later;
        }
        Some(())
    };
    read().ok_or("a map that nobody reads")?;
    Ok(whole)
}

fn flip(bytes: &mut [u8], random: &mut Random) {
    let at = random.below(bytes.len() as u64) as usize;
    bytes[at] ^= 1 << random.below(8);
}

/// Gives all headers of a member the right checksums.
fn sums(headers: &mut [u8]) {
    let main = headers.len() - BLOCK;
    sum(&mut headers[main..]);
    if main > 0 {
        sum(&mut headers[..BLOCK]);
    }
}

/// What may stand where a number is expected.
const NUMBERS: [&[u8]; 16] = [
    b"0000000\0\0\0\0\0",
    b"00000000000\0",
    b"0000644 ",
    b"0000644\0",
    b"0004755\0",
    b"7777777\0",
    b"     644",
    b"00000001000\0",
    b"00000000777 ",
    b"77777777777\0",
    b"14524770000\0",
    b"\x80\0\0\0\0\0\0\x07\0\0\0\x07",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    b"-0000010\0\0\0\0",
    b"ustar  \0",
    b"ustar\x0000",
];
/// What may stand where a name is expected.
const TEXTS: [&[u8]; 20] = [
    b"",
    b"./a",
    b"./a/",
    b"./a/f",
    b"a/file",
    b"/etc/passwd",
    b"./../x",
    b"./a/../b",
    b"./a//b",
    b"./a/./b",
    b"./x\0hidden",
    b"./a/zz",
    b"./zz",
    b"./zz/",
    b"././zz",
    b"./\xff",
    b"./\xc3\xa9",
    b"root",
    b"0000001\0",
    b".",
];

/// Another value in a field of the ustar header.
fn field(headers: &mut [u8], random: &mut Random) {
    const FIELDS: [(usize, usize); 13] = [
        (0, 100),   // name
        (100, 8),   // mode
        (108, 8),   // uid
        (116, 8),   // gid
        (124, 12),  // size
        (136, 12),  // mtime
        (157, 100), // linkname
        (257, 8),   // magic and version
        (265, 32),  // uname
        (297, 32),  // gname
        (329, 16),  // device numbers
        (345, 155), // prefix
        (500, 12),
    ];
    let (begin, length) = *random.pick(&FIELDS);
    let block = headers.len() - BLOCK;
    let field = &mut headers[block + begin..][..length];
    let value = match length {
        8 | 12 => *random.pick(&NUMBERS),
        _ => *random.pick(&TEXTS),
    };
    field.fill(0);
    let fits = value.len().min(length);
    field[..fits].copy_from_slice(&value[..fits]);
    if random.one_in(4) {
        field[fits..].fill(*random.pick(b" x0/"));
    }
    sums(headers);
}

/// The records before a header.
fn taken(headers: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    if headers.len() == BLOCK {
        return Vec::new();
    }
    let digits = std::str::from_utf8(&headers[124..135]).expect("it was not changed");
    let length = usize::from_str_radix(digits, 8).expect("it was not changed");
    let records = Records::of(&headers[BLOCK..BLOCK + length]);
    let records = records.map(|record| record.expect("it was not changed"));
    records
        .map(|(key, value)| (key.to_vec(), value.to_vec()))
        .collect()
}

fn spelled(records: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, value) in records {
        pax::push(&mut bytes, key, value);
    }
    bytes
}

/// The header with other records before it.
fn put(headers: &[u8], records: &[u8]) -> Vec<u8> {
    let main = &headers[headers.len() - BLOCK..];
    match records.is_empty() {
        true => main.to_vec(),
        false => [&pax_header(records), main].concat(),
    }
}

fn bend(records: &mut Vec<(Vec<u8>, Vec<u8>)>, random: &mut Random) {
    const KEYS: [&[u8]; 20] = [
        b"path",
        b"linkpath",
        b"size",
        b"uid",
        b"gid",
        b"uname",
        b"gname",
        b"mtime",
        b"atime",
        b"hdrcharset",
        b"charset",
        b"comment",
        b"GNU.sparse.major",
        b"GNU.sparse.name",
        b"GNU.sparse.realsize",
        b"GNU.sparse.map",
        b"SCHILY.xattr.user.x",
        b"SCHILY.realsize",
        b"SCHILY.filetype",
        b"LIBARCHIVE.symlinktype",
    ];
    const VALUES: [&[u8]; 24] = [
        b"",
        b"0",
        b"7",
        b"007",
        b"513",
        b"2097152",
        b"4294967295",
        b"8589934592",
        b"18446744073709551616",
        b"-1",
        b"1.5",
        b"-0.25",
        b"1e3",
        b"BINARY",
        b"ISO-IR 10646 2000 UTF-8",
        b"./a/file",
        b"./a/zz\xff",
        b"./zz/",
        b"./zz/../a",
        b"/etc/passwd",
        b"./zz\0y",
        b"./zz\n20 linkpath=./a/x\n",
        b"file",
        b"dir",
    ];
    let at = random.below(records.len() as u64 + 1) as usize;
    let new = (random.pick(&KEYS).to_vec(), random.pick(&VALUES).to_vec());
    match (random.below(6), records.get_mut(at)) {
        (0, Some(_)) => drop(records.remove(at)),
        (1, Some(record)) => {
            let again = record.clone();
            records.push(again);
        }
        (2, Some((_, value))) if !value.is_empty() => flip(value, random),
        (3, Some((_, value))) => *value = new.1,
        (4, Some(_)) => records.rotate_left(1),
        _ => records.insert(at, new),
    }
}

fn extended(headers: &mut Vec<u8>, random: &mut Random) {
    let mut records = spelled(&taken(headers));
    if records.is_empty() {
        pax::push(&mut records, b"mtime", b"7.5");
    }
    let bent: &[u8] = match random.below(8) {
        0 => b"",
        1 => b"0 x=y\n",
        2 => b"6 x=y\n",
        3 => b"07 x=y\n",
        4 => b"999 path=./zz\n",
        5 => b"14 path=./zz\n\0\0",
        6 => b"13 path=./zz\n",
        _ => b"12 path=./z\n12 path=./y\n",
    };
    let main = headers[headers.len() - BLOCK..].to_vec();
    let own = pax_header(&records);
    *headers = match random.below(5) {
        0 => [own.clone(), own, main].concat(),
        1 => [own, pax_header(bent), main].concat(),
        2 => own,
        3 => [pax_header(&[&records[..], bent].concat()), main].concat(),
        _ => {
            // Its own header, as nobody but we has to read it.
            let mut bent = own;
            let at = *random.pick(&[0, 2, 100, 105, 136, 257, 265, 345, 500]);
            bent[at] ^= 1 << random.below(8);
            sum(&mut bent[..BLOCK]);
            [bent, main].concat()
        }
    };
}

/// Another map in front of the same data.
fn map((headers, content): &mut Piece, random: &mut Random) {
    let text = content.iter().position(|b| *b == 0).unwrap_or(BLOCK);
    let mut lines: Vec<Vec<u8>> = (content[..text].split(|b| *b == b'\n'))
        .map(<[u8]>::to_vec)
        .collect();
    let at = random.below(lines.len() as u64 - 1) as usize;
    match random.below(6) {
        0 => lines[at] = random.below(10_000).to_string().into_bytes(),
        1 => lines[at].insert(0, *random.pick(b"0+- ")),
        2 => drop(lines.remove(at)),
        3 => lines.swap(at, 0),
        4 => {
            // Shorter by what the next becomes longer.
            let number = |line: &[u8]| std::str::from_utf8(line).ok()?.parse::<u64>().ok();
            if let Some(n) = number(&lines[at]) {
                lines[at] = (n ^ (1 << random.below(13))).to_string().into_bytes();
            }
        }
        _ => {
            let mut records = taken(headers);
            let size = records
                .iter_mut()
                .find(|(key, _)| key.ends_with(b"realsize"));
            let size = &mut size.expect("it has holes").1;
            *size = random.below(40_000).to_string().into_bytes();
            *headers = put(headers, &spelled(&records));
        }
    }
    let mut text = lines.join(&b'\n');
    text.resize(BLOCK, 0);
    content[..BLOCK].copy_from_slice(&text);
}
