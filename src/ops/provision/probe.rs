//! What a device holds, by the signatures that filesystems, pools and partition tables leave. Pure.
//!
//! Stricter than a list of signatures: a device counts as empty only if its first and its last MiB
//! hold nothing at all. What is there and is not known is still somebody's data.

use serde::Serialize;
use sha2::{Digest, Sha256};
use std::fmt;
use std::io;

/// A device that can be read anywhere.
pub(super) trait ReadAt {
    /// Its size in bytes.
    fn length(&self) -> u64;
    /// `len` bytes from `offset`, which lie within its size.
    fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>>;
}

/// What a device holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Content {
    /// Nothing.
    Empty,
    /// Something known; never without any.
    Known(Vec<Signature>),
    /// Something, of no known kind.
    Unknown {
        /// The beginning of the digest of what was looked at.
        digest: String,
    },
}

/// The mark of a filesystem, a pool, a partition table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Signature {
    /// Of what.
    pub kind: &'static str,
    /// Which one: its UUID, or what its kind has instead.
    pub id: String,
    /// What a person called it.
    pub label: Option<String>,
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if let Some(label) = &self.label {
            write!(f, " {label:?}")?;
        }
        write!(f, " ({})", self.id)
    }
}

impl Content {
    /// The word that gives it up: exactly what would be lost.
    pub(super) fn word(&self) -> Option<String> {
        match self {
            Self::Empty => None,
            Self::Known(signatures) => {
                let words: Vec<_> = (signatures.iter())
                    .map(|signature| format!("{}:{}", signature.kind, signature.id))
                    .collect();
                Some(words.join(","))
            }
            Self::Unknown { digest } => Some(format!("data:{digest}")),
        }
    }

    /// The one filesystem of this kind that it is, and nothing else.
    pub(super) fn filesystem(&self, kind: &str) -> Option<&Signature> {
        match self {
            Self::Known(signatures) => match &signatures[..] {
                [one] if one.kind == kind => Some(one),
                _ => None,
            },
            _ => None,
        }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("nothing"),
            Self::Known(signatures) => {
                for (n, signature) in signatures.iter().enumerate() {
                    let between = if n == 0 { "" } else { " and " };
                    write!(f, "{between}{signature}")?;
                }
                Ok(())
            }
            Self::Unknown { .. } => f.write_str("data of no known kind"),
        }
    }
}

/// How much of either end is looked at as a whole.
pub(super) const END: u64 = 1 << 20;

/// How a kind of content writes its id.
#[derive(Clone, Copy)]
enum Id {
    /// Sixteen bytes at this offset from the beginning.
    Uuid(u64),
    /// Text at this offset, of at most so many bytes.
    Text(u64, usize),
    /// A number of four bytes.
    Number(u64),
    /// Nothing that is known here.
    None,
}

/// A mark at a fixed place: kind, offset, bytes, id, label.
type Mark = (&'static str, u64, &'static [u8], Id, Option<(u64, usize)>);

const MARKS: &[Mark] = &[
    (
        "btrfs",
        0x10040,
        b"_BHRfS_M",
        Id::Uuid(0x10020),
        Some((0x1012b, 256)),
    ),
    ("xfs", 0, b"XFSB", Id::Uuid(32), Some((108, 12))),
    (
        "luks",
        0,
        b"LUKS\xba\xbe",
        Id::Text(168, 40),
        Some((24, 48)),
    ),
    ("lvm", 0x218, b"LVM2 001", Id::Text(0x220, 32), None),
    ("lvm", 0x018, b"LVM2 001", Id::Text(0x020, 32), None),
    (
        "swap",
        4086,
        b"SWAPSPACE2",
        Id::Uuid(0x40c),
        Some((0x41c, 16)),
    ),
    ("swap", 4086, b"SWAP-SPACE", Id::None, None),
    (
        "md",
        0x1000,
        b"\xfc\x4e\x2b\xa9",
        Id::Uuid(0x1010),
        Some((0x1020, 32)),
    ),
    (
        "md",
        0,
        b"\xfc\x4e\x2b\xa9",
        Id::Uuid(0x10),
        Some((0x20, 32)),
    ),
    (
        "bcachefs",
        0x1018,
        b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81",
        Id::Uuid(0x1038),
        None,
    ),
    (
        "bcachefs",
        0x1018,
        b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef",
        Id::Uuid(0x1038),
        None,
    ),
    ("f2fs", 0x400, b"\x10\x20\xf5\xf2", Id::Uuid(0x46c), None),
    ("ntfs", 3, b"NTFS    ", Id::Number(0x48), None),
    ("exfat", 3, b"EXFAT   ", Id::Number(0x64), None),
    ("bitlocker", 3, b"-FVE-FS-", Id::None, None),
    ("fat", 0x52, b"FAT32   ", Id::Number(0x43), Some((0x47, 11))),
    ("fat", 0x36, b"FAT16   ", Id::Number(0x27), Some((0x2b, 11))),
    ("fat", 0x36, b"FAT12   ", Id::Number(0x27), Some((0x2b, 11))),
    ("squashfs", 0, b"hsqs", Id::None, None),
    ("iso9660", 0x8001, b"CD001", Id::None, Some((0x8028, 32))),
    ("gpt", 512, b"EFI PART", Id::Uuid(568), None),
    ("gpt", 4096, b"EFI PART", Id::Uuid(4152), None),
];

/// Looks at a device.
///
/// # Errors
/// It cannot be read.
pub(super) fn content(device: &impl ReadAt) -> io::Result<Content> {
    let length = device.length();
    let first = device.read(0, length.min(END) as usize)?;
    let last_at = length.saturating_sub(END).max(first.len() as u64);
    let last = device.read(last_at, (length - last_at) as usize)?;
    let is_blank = |bytes: &[u8], of: u8| bytes.iter().all(|byte| *byte == of);
    // Fresh flash may read as ones.
    if [0, 0xff]
        .iter()
        .any(|of| is_blank(&first, *of) && is_blank(&last, *of))
    {
        return Ok(Content::Empty);
    }
    let mut digest = Sha256::new();
    digest.update(&first);
    digest.update(&last);
    let digest: String = digest.finalize()[..4]
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let at = |offset: u64, len: usize| {
        let begin = usize::try_from(offset).ok()?;
        first.get(begin..begin.checked_add(len)?)
    };
    let label = |place: (u64, usize)| at(place.0, place.1).and_then(text);
    let mut found: Vec<Signature> = Vec::new();
    for (kind, offset, magic, id, name) in MARKS {
        if at(*offset, magic.len()) != Some(magic) || found.iter().any(|f| f.kind == *kind) {
            continue;
        }
        let id = match *id {
            Id::Uuid(offset) => at(offset, 16).map(|b| uuid(b, *kind == "gpt")),
            Id::Text(offset, len) => at(offset, len).and_then(text),
            Id::Number(offset) => at(offset, 4).map(number),
            Id::None => None,
        };
        found.push(Signature {
            kind,
            id: id.unwrap_or_else(|| digest.clone()),
            label: name
                .and_then(label)
                .filter(|_| *kind != "luks" || at(6, 2) == Some(b"\0\x02")),
        });
    }
    found.extend(ext(&at));
    found.extend(zfs(&first, &last, &digest));
    found.extend(raid_at_the_end(&last, length, last_at));
    if !found
        .iter()
        .any(|f| ["gpt", "fat", "ntfs", "exfat", "bitlocker"].contains(&f.kind))
    {
        found.extend(partition_table(&at));
    }
    Ok(match found.is_empty() {
        true => Content::Unknown { digest },
        false => Content::Known(found),
    })
}

/// A UUID as it is written; the first three fields of a GPT's are little-endian.
fn uuid(bytes: &[u8], is_mixed: bool) -> String {
    const MIXED: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    let mut text = String::new();
    for n in 0..16 {
        if [4, 6, 8, 10].contains(&n) {
            text.push('-');
        }
        text += &format!("{:02x}", bytes[if is_mixed { MIXED[n] } else { n }]);
    }
    text
}

fn number(bytes: &[u8]) -> String {
    bytes
        .iter()
        .rev()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Text up to its end, if it is such.
fn text(bytes: &[u8]) -> Option<String> {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    let text = std::str::from_utf8(&bytes[..end]).ok()?.trim();
    (!text.is_empty() && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

/// ext2, ext3, ext4: one magic, told apart by their features.
fn ext<'a>(at: &impl Fn(u64, usize) -> Option<&'a [u8]>) -> Option<Signature> {
    (at(0x438, 2)? == b"\x53\xef").then_some(())?;
    let word = |offset| at(offset, 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let (has_journal, incompatible) = (word(0x45c)? & 4 != 0, word(0x460)?);
    Some(Signature {
        kind: match (incompatible & 0x2c0 != 0, has_journal) {
            (true, _) => "ext4",
            (false, true) => "ext3",
            (false, false) => "ext2",
        },
        id: uuid(at(0x468, 16)?, false),
        label: at(0x478, 16).and_then(text),
    })
}

/// A device of a pool: four labels, two at each end, each with its uberblocks.
fn zfs(first: &[u8], last: &[u8], digest: &str) -> Option<Signature> {
    const LABEL: usize = 256 << 10;
    let labels = first
        .chunks(LABEL)
        .take(2)
        .chain(last.rchunks(LABEL).take(2));
    for label in labels {
        let uberblocks = label.get(LABEL / 2..).unwrap_or_default();
        let is_one = |block: &[u8]| {
            [0x00ba_b10c_u64.to_le_bytes(), 0x00ba_b10c_u64.to_be_bytes()]
                .iter()
                .any(|magic| block.starts_with(magic))
        };
        if uberblocks.chunks(1024).any(is_one) {
            let name = pool_name(label.get(16 << 10..LABEL / 2).unwrap_or_default());
            return Some(Signature {
                kind: "zfs",
                id: name.clone().unwrap_or_else(|| digest.to_owned()),
                label: None,
            });
        }
    }
    None
}

/// The pool's name in the packed list of a label: the string called `name`.
fn pool_name(list: &[u8]) -> Option<String> {
    // XDR: length of the key, key, type 9 (a string), one element, its length, its bytes.
    const KEY: &[u8] = b"\0\0\0\x04name\0\0\0\x09\0\0\0\x01";
    let after = list.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    let length = list.get(after..after + 4)?;
    let length = u32::from_be_bytes(length.try_into().ok()?) as usize;
    text(list.get(after + 4..(after + 4).checked_add(length)?)?)
}

/// md's older forms, whose marks are near the end.
fn raid_at_the_end(last: &[u8], length: u64, last_at: u64) -> Option<Signature> {
    let places = [
        // 1.0: within the last 8 to 12 KiB; 0.90: within the last 64 to 128 KiB.
        ((length.checked_sub(8 << 10)?) & !4095, 16),
        ((length & !0xffff).checked_sub(64 << 10)?, 20),
    ];
    places.into_iter().find_map(|(place, id)| {
        let at = usize::try_from(place.checked_sub(last_at)?).ok()?;
        let block = last.get(at..at + 64)?;
        block.starts_with(b"\xfc\x4e\x2b\xa9").then(|| Signature {
            kind: "md",
            id: uuid(&block[id..id + 16], false),
            label: None,
        })
    })
}

/// A partition table of the old kind, with at least one partition.
fn partition_table<'a>(at: &impl Fn(u64, usize) -> Option<&'a [u8]>) -> Option<Signature> {
    (at(510, 2)? == b"\x55\xaa").then_some(())?;
    let entries = at(446, 64)?.chunks(16);
    let mut used = entries.filter(|entry| [0, 0x80].contains(&entry[0]) && entry[4] != 0);
    used.next()?;
    Some(Signature {
        kind: "dos",
        id: number(at(440, 4)?),
        label: None,
    })
}

#[cfg(test)]
mod tests;
