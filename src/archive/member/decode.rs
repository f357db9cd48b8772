//! Reading headers, with eyes of our own.

use super::{BLOCK, Extra, Kind, MOST_STORED, Member, XATTR, padded, path_of};
use crate::archive::Bad;
use crate::archive::pax::{self, Records, Time};
use std::collections::BTreeMap;
use tar::{EntryType, Header};

impl Member {
    /// How long the headers are that begin with this block.
    ///
    /// # Errors
    /// They would be longer than headers may be.
    pub fn headers_length(first: &[u8; BLOCK]) -> Result<usize, Bad> {
        if *first == [0; BLOCK] || checked(first)?.entry_type() != EntryType::XHeader {
            return Ok(BLOCK);
        }
        let size = octal(&checked(first)?.as_old().size)?;
        if size == 0 || size > pax::MOST_BYTES as u64 {
            return Err("an extended header of an impossible size".into());
        }
        Ok(2 * BLOCK + padded(size) as usize)
    }

    /// Reads the headers at the start of `bytes`: the member and how long its headers are.
    /// `None` at the end of the archive. `bytes` may hold more than the headers.
    ///
    /// # Errors
    /// They are not what [`Member::encode`] writes.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, Bad> {
        let first = block(bytes, 0)?;
        if first == [0; BLOCK] {
            return Ok(None);
        }
        let length = Self::headers_length(&first)?;
        let header = block(bytes, length - BLOCK)?;
        let records = if length > BLOCK {
            let size = octal(&checked(&first)?.as_old().size)? as usize;
            &bytes[BLOCK..BLOCK + size]
        } else {
            &[]
        };
        let member = Self::parse(&header, records)?;
        // The last word: what we would not have written is not read.
        if member.encode()? == bytes[..length] {
            Ok(Some((member, length)))
        } else {
            Err("a header in another form than the one of this format".into())
        }
    }

    fn parse(header: &[u8; BLOCK], records: &[u8]) -> Result<Self, Bad> {
        let header = checked(header)?;
        let ustar = header.as_ustar().ok_or("a header that is not ustar")?;
        let mut pax = BTreeMap::new();
        for record in Records::of(records) {
            let (key, value) = record?;
            if pax.insert(key, value).is_some() {
                let key = String::from_utf8_lossy(key).into_owned();
                return Err(format!("two records for {key:?}").into());
            }
        }
        let mut take = |key: &str| pax.remove(key.as_bytes());
        match take("hdrcharset") {
            None | Some(b"BINARY") => {}
            Some(_) => return Err("an unknown character set".into()),
        }
        let sparse = [
            "GNU.sparse.major",
            "GNU.sparse.minor",
            "GNU.sparse.name",
            "GNU.sparse.realsize",
        ]
        .map(&mut take);
        let path = take("path");
        let ustar_name = || match text(&ustar.prefix) {
            b"" => text(&ustar.name).to_vec(),
            prefix => [prefix, b"/", text(&ustar.name)].concat(),
        };
        let wire_name = match (sparse[2], path) {
            (Some(name), None) | (None, Some(name)) => name.to_vec(),
            (None, None) => ustar_name(),
            (Some(_), Some(_)) => return Err("two names".into()),
        };
        let target = take("linkpath").unwrap_or(text(&ustar.linkname)).to_vec();
        let is_sparse = sparse.iter().any(Option::is_some);
        let kind = match header.entry_type() {
            EntryType::Directory => Kind::Directory,
            EntryType::Regular if is_sparse => match sparse {
                [Some(b"1"), Some(b"0"), Some(_), Some(size)] => Kind::Sparse {
                    real_size: pax::decimal(size).ok_or("a sparse file without a size")?,
                },
                _ => return Err("a sparse form other than 1.0".into()),
            },
            EntryType::Regular => Kind::File,
            EntryType::Symlink if target.is_empty() || target.contains(&0) => {
                return Err("a symlink to nothing".into());
            }
            EntryType::Symlink => Kind::Symlink { target },
            EntryType::Link => Kind::Link {
                target: path_of(&target)?.to_vec(),
            },
            EntryType::Fifo => Kind::Fifo,
            other => {
                let letter = char::from(other.as_byte()).escape_default();
                return Err(format!("a member of type `{letter}`").into());
            }
        };
        let number = |value: Option<&[u8]>, field: &[u8]| match value {
            Some(value) => pax::decimal(value).ok_or(Bad::from("a number that is none")),
            None => octal(field),
        };
        let id = |value, field| {
            u32::try_from(number(value, field)?).map_err(|_| Bad::from("an owner out of range"))
        };
        let stored_bytes = number(take("size"), &ustar.size)?;
        if !matches!(kind, Kind::File | Kind::Sparse { .. }) && stored_bytes != 0 {
            return Err("content where there can be none".into());
        }
        if stored_bytes > MOST_STORED {
            return Err("a size that no file has".into());
        }
        let string = |value: Option<&[u8]>| match value.map(|v| String::from_utf8(v.to_vec())) {
            None => Ok(None),
            Some(Ok(text)) => Ok(Some(text)),
            Some(Err(_)) => Err(Bad::from("an ACL or flags that are no text")),
        };
        let name = wire_name
            .strip_suffix(b"/")
            .filter(|_| kind == Kind::Directory);
        let member = Self {
            path: match name {
                Some(b".") => Vec::new(),
                Some(name) => path_of(name)?.to_vec(),
                None => path_of(&wire_name)?.to_vec(),
            },
            stored_bytes,
            mode: octal(&ustar.mode)? as u32,
            uid: id(take("uid"), &ustar.uid)?,
            gid: id(take("gid"), &ustar.gid)?,
            user: take("uname").unwrap_or(text(&ustar.uname)).to_vec(),
            group: take("gname").unwrap_or(text(&ustar.gname)).to_vec(),
            modified: match take("mtime") {
                None => Time {
                    seconds: octal(&ustar.mtime)? as i64,
                    nanoseconds: 0,
                },
                Some(value) => std::str::from_utf8(value)
                    .map_err(|_| "a time that is no text")?
                    .parse()?,
            },
            extra: Extra {
                access_acl: string(take("SCHILY.acl.access"))?,
                default_acl: string(take("SCHILY.acl.default"))?,
                flags: string(take("STATE.flags"))?,
                xattrs: (pax.iter())
                    .map(|(key, value)| Ok((xattr_name(key)?, value.to_vec())))
                    .collect::<Result<_, Bad>>()?,
            },
            kind,
        };
        if member.path.is_empty() && member.kind != Kind::Directory {
            return Err("a name of nothing".into());
        }
        Ok(member)
    }
}

fn block(bytes: &[u8], at: usize) -> Result<[u8; BLOCK], Bad> {
    let block = bytes.get(at..at + BLOCK).and_then(|b| b.try_into().ok());
    block.ok_or_else(|| "a header that is cut off".into())
}

fn checked(block: &[u8; BLOCK]) -> Result<&Header, Bad> {
    let header = Header::from_byte_slice(block);
    let sum: u32 = (block.iter().enumerate())
        .map(|(n, b)| u32::from(if (148..156).contains(&n) { b' ' } else { *b }))
        .sum();
    if octal(&header.as_old().cksum[..7])? == u64::from(sum) {
        Ok(header)
    } else {
        Err("a header whose checksum is wrong".into())
    }
}

/// An octal field: digits up to a NUL. Signs, spaces in front and base-256 are refused.
fn octal(field: &[u8]) -> Result<u64, Bad> {
    let digits = text(field);
    if digits.is_empty() || !digits.iter().all(|b| (b'0'..=b'7').contains(b)) {
        return Err("a number that is not octal".into());
    }
    let digits = std::str::from_utf8(digits).expect("digits are text");
    u64::from_str_radix(digits, 8).map_err(|_| "a number out of range".into())
}

/// A field up to its first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|b| *b == 0).next().unwrap_or_default()
}

fn xattr_name(key: &[u8]) -> Result<Vec<u8>, Bad> {
    let mut rest = key.strip_prefix(XATTR).ok_or_else(|| {
        let key = String::from_utf8_lossy(key);
        Bad(format!("a record of an unknown kind, {key:?}"))
    })?;
    let mut name = Vec::new();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        name.push(match byte {
            b'%' if rest.starts_with(b"25") => b'%',
            b'%' if rest.starts_with(b"3D") => b'=',
            b'%' | 0 => return Err("an attribute with an impossible name".into()),
            byte => *byte,
        });
        if *byte == b'%' {
            rest = &rest[2..];
        }
    }
    Ok(name)
}
