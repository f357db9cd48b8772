//! POSIX access control lists: the kernel's binary form and the text form with numeric ids.
//!
//! The binary form is that of `linux/posix_acl_xattr.h`: a version (2), then per entry a tag, the
//! permission bits and an id, all little-endian. The text form is acl(5)'s short form.

use std::fmt;
use std::str::FromStr;

/// The attribute that holds a file's access ACL.
pub const ACCESS: &str = "system.posix_acl_access";
/// The attribute that holds a directory's default ACL.
pub const DEFAULT: &str = "system.posix_acl_default";

const VERSION: u32 = 2;
const NO_ID: u32 = u32::MAX;
/// More entries than any filesystem stores (ext4 fits about 500 in a block of 4 KiB).
const MOST_ENTRIES: usize = 8192;

/// Whom an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The file's owner.
    Owner,
    /// A user.
    User(u32),
    /// The file's group.
    OwningGroup,
    /// A group.
    Group(u32),
    /// The most that users, groups and the owning group get.
    Mask,
    /// Everybody else.
    Other,
}

/// An access control list, in the kernel's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acl(Vec<(Who, u8)>);

/// What is wrong with an ACL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadAcl(&'static str);

impl fmt::Display for BadAcl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BadAcl {}

impl Acl {
    /// Decodes an attribute's value.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadAcl> {
        let (version, entries) = bytes
            .split_first_chunk::<4>()
            .ok_or(BadAcl("the ACL has no version"))?;
        if u32::from_le_bytes(*version) != VERSION {
            return Err(BadAcl("the ACL has an unknown version"));
        }
        let (entries, rest) = entries.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(BadAcl("the ACL ends within an entry"));
        }
        let entries = entries.iter().map(|&[t0, t1, p0, p1, i0, i1, i2, i3]| {
            let id = u32::from_le_bytes([i0, i1, i2, i3]);
            let who = match u16::from_le_bytes([t0, t1]) {
                0x01 => Who::Owner,
                0x02 => Who::User(id),
                0x04 => Who::OwningGroup,
                0x08 => Who::Group(id),
                0x10 => Who::Mask,
                0x20 => Who::Other,
                _ => return Err(BadAcl("the ACL has an entry of unknown kind")),
            };
            match u16::from_le_bytes([p0, p1]) {
                permissions @ 0..=7 => Ok((who, permissions as u8)),
                _ => Err(BadAcl("the ACL grants an unknown permission")),
            }
        });
        Self::checked(entries.collect::<Result<_, _>>()?)
    }

    /// Encodes it as an attribute's value.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = VERSION.to_le_bytes().to_vec();
        for &(who, permissions) in &self.0 {
            let (tag, id): (u16, u32) = match who {
                Who::Owner => (0x01, NO_ID),
                Who::User(id) => (0x02, id),
                Who::OwningGroup => (0x04, NO_ID),
                Who::Group(id) => (0x08, id),
                Who::Mask => (0x10, NO_ID),
                Who::Other => (0x20, NO_ID),
            };
            bytes.extend(tag.to_le_bytes());
            bytes.extend(u16::from(permissions).to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        bytes
    }

    /// The entries: whom, and the bits 4 (read), 2 (write), 1 (execute).
    pub fn entries(&self) -> &[(Who, u8)] {
        &self.0
    }

    /// The same for others: `map` keeps the kind of whom an entry is about.
    #[must_use]
    pub fn map(&self, map: impl Fn(Who) -> Who) -> Self {
        Self(
            self.0
                .iter()
                .map(|(who, bits)| (map(*who), *bits))
                .collect(),
        )
    }

    fn checked(entries: Vec<(Who, u8)>) -> Result<Self, BadAcl> {
        if entries.len() > MOST_ENTRIES {
            return Err(BadAcl("the ACL has too many entries"));
        }
        // The kernel wants the kinds in order; ids in any order, but it keeps the one given.
        let kinds = |who| match who {
            Who::Owner => 0,
            Who::User(_) => 1,
            Who::OwningGroup => 2,
            Who::Group(_) => 3,
            Who::Mask => 4,
            Who::Other => 5,
        };
        if !entries.is_sorted_by_key(|&(who, _)| kinds(who)) {
            return Err(BadAcl("the ACL's entries are out of order"));
        }
        let count = |wanted| entries.iter().filter(|(who, _)| *who == wanted).count();
        if [Who::Owner, Who::OwningGroup, Who::Other].map(count) != [1, 1, 1] {
            return Err(BadAcl("the ACL lacks the owner, the group or the others"));
        }
        let named = |(who, _): &(Who, u8)| matches!(who, Who::User(_) | Who::Group(_));
        if count(Who::Mask) != 1 && (count(Who::Mask) > 1 || entries.iter().any(named)) {
            return Err(BadAcl("the ACL names somebody without one mask"));
        }
        Ok(Self(entries))
    }
}

/// `user::rwx,user:1000:r--,group::r-x,mask::r-x,other::---`
impl fmt::Display for Acl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, &(who, permissions)) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str(",")?;
            }
            match who {
                Who::Owner => f.write_str("user::")?,
                Who::User(id) => write!(f, "user:{id}:")?,
                Who::OwningGroup => f.write_str("group::")?,
                Who::Group(id) => write!(f, "group:{id}:")?,
                Who::Mask => f.write_str("mask::")?,
                Who::Other => f.write_str("other::")?,
            }
            for (bit, letter) in [(4, "r"), (2, "w"), (1, "x")] {
                f.write_str(if permissions & bit != 0 { letter } else { "-" })?;
            }
        }
        Ok(())
    }
}

/// Reads back what `Display` writes, and nothing else.
impl FromStr for Acl {
    type Err = BadAcl;

    fn from_str(text: &str) -> Result<Self, BadAcl> {
        let bad = BadAcl("the ACL is no list of `user:ID:rwx` entries");
        let id = |id: &str| match id.parse::<u32>() {
            Ok(n) if n != NO_ID && n.to_string() == id => Ok(n),
            _ => Err(bad),
        };
        let entries = text.split(',').map(|entry| {
            let mut fields = entry.split(':');
            let (kind, name) = (fields.next(), fields.next());
            let who = match (kind.ok_or(bad)?, name.ok_or(bad)?) {
                ("user", "") => Who::Owner,
                ("user", user) => Who::User(id(user)?),
                ("group", "") => Who::OwningGroup,
                ("group", group) => Who::Group(id(group)?),
                ("mask", "") => Who::Mask,
                ("other", "") => Who::Other,
                _ => return Err(bad),
            };
            let &[r, w, x] = fields.next().ok_or(bad)?.as_bytes() else {
                return Err(bad);
            };
            let mut permissions = 0;
            for (found, letter, bit) in [(r, b'r', 4), (w, b'w', 2), (x, b'x', 1)] {
                match found {
                    b'-' => {}
                    _ if found == letter => permissions |= bit,
                    _ => return Err(bad),
                }
            }
            fields
                .next()
                .is_none()
                .then_some((who, permissions))
                .ok_or(bad)
        });
        Self::checked(entries.collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "user::rwx,user:0:r--,user:3000000:-w-,group::r-x,group:7:--x,mask::rwx,other::---";

    #[test]
    fn an_acl_survives_both_forms() {
        let acl: Acl = TEXT.parse().unwrap();
        assert_eq!(acl.to_string(), TEXT);
        assert_eq!(Acl::from_bytes(&acl.to_bytes()), Ok(acl.clone()));
        assert_eq!(
            acl.entries()[2],
            (Who::User(3_000_000), 2),
            "the permission bits are the kernel's"
        );
        let minimal = "user::r--,group::---,other::---";
        assert_eq!(minimal.parse::<Acl>().unwrap().to_string(), minimal);
    }

    #[test]
    fn what_the_kernel_would_refuse_is_refused() {
        for text in [
            "",
            "user::rwx",
            "user::rwx,group::r-x,other::---,",
            "group::r-x,user::rwx,other::---",
            "user::rwx,user:7:r--,group::r-x,other::---",
            "user::rwx,user:root:r--,group::r-x,mask::r--,other::---",
            "user::rwx,user:+7:r--,group::r-x,mask::r--,other::---",
            "user::rwx,user:4294967295:r--,group::r-x,mask::r--,other::---",
            "user::rwx,group::r-x,mask::r--,mask::r--,other::---",
            "user::rwx:0,group::r-x,other::---",
            "user::xwr,group::r-x,other::---",
        ] {
            assert!(text.parse::<Acl>().is_err(), "{text:?}");
        }
        let good = TEXT.parse::<Acl>().unwrap().to_bytes();
        assert!(Acl::from_bytes(&good[..good.len() - 1]).is_err());
        assert!(Acl::from_bytes(&good[..3]).is_err());
        let mut version = good.clone();
        version[0] = 1;
        assert!(Acl::from_bytes(&version).is_err());
    }
}
