//! Names that `state` itself gives to volumes and snapshots.
//!
//! One alphabet that every engine can carry: letters, digits, `-`, `_`, `.`, `:`. It is the
//! kernel's for ZFS (`module/zcommon/zfs_namecheck.c`) without the space and `%`.

use chrono::{DateTime, NaiveDateTime, Utc};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A name that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[error("{name:?} cannot be a name: {why}")]
pub struct BadName {
    /// The name as it was given.
    pub name: String,
    /// The rule it breaks.
    pub why: &'static str,
}

/// The longest name we give, in bytes: room for a prefix within NAME_MAX (255) and ZFS's 256.
const LONGEST: usize = 128;

fn check(name: &str) -> Result<(), BadName> {
    let bad = |why| {
        Err(BadName {
            name: name.to_owned(),
            why,
        })
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    if name.is_empty() {
        bad("it is empty")
    } else if name.len() > LONGEST {
        bad("it is longer than 128 bytes")
    } else if !name.chars().all(legal) {
        bad("only letters, digits and - _ . : are allowed")
    } else if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        bad("it must begin with a letter or a digit")
    } else {
        Ok(())
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $type {
            type Err = BadName;
            fn from_str(name: &str) -> Result<Self, BadName> {
                check(name).map(|()| Self(name.to_owned()))
            }
        }

        impl TryFrom<String> for $type {
            type Error = BadName;
            fn try_from(name: String) -> Result<Self, BadName> {
                name.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }
    };
}

name! {
    /// The name of a past root: `20261121T113705Z-6d3f20c1`, the time of its rotation and the
    /// first eight digits of the id of the boot that rotated it, plus `-2`, `-3` … if taken.
    PastRootName
}

name! {
    /// The name of a snapshot of the persist tree, by default the time it was taken.
    SnapshotName
}

/// The form of the time in names: sorts as text, legal in every engine.
const TIME: &str = "%Y%m%dT%H%M%SZ";
const TIME_LEN: usize = "20261121T113705Z".len();

/// The time that a name of our making begins with.
fn time_in(name: &str) -> Option<DateTime<Utc>> {
    let time = name.get(..TIME_LEN)?;
    let rest = &name[TIME_LEN..];
    (rest.is_empty() || rest.starts_with('-')).then_some(())?;
    Some(NaiveDateTime::parse_from_str(time, TIME).ok()?.and_utc())
}

/// `base`, or it with the first of `-2`, `-3` … that makes a name which does not exist.
fn first_free<N>(base: &str, name: fn(String) -> N, exists: impl Fn(&N) -> bool) -> N {
    let numbered = (2..).map(|n| format!("{base}-{n}"));
    std::iter::once(base.to_owned())
        .chain(numbered)
        .map(name)
        .find(|name| !exists(name))
        .expect("one of infinitely many names is free")
}

impl PastRootName {
    /// Sorts what a directory of past roots holds: what `look` finds under names of past roots, and all other names, which
    /// nothing can be called.
    ///
    /// # Errors
    /// Those of `look`.
    pub fn among<P>(
        names: impl IntoIterator<Item = String>,
        mut look: impl FnMut(Self) -> crate::Result<Option<P>>,
    ) -> crate::Result<(Vec<P>, Vec<String>)> {
        let (mut past_roots, mut taken) = (Vec::new(), Vec::new());
        for text in names {
            let found = text.parse().ok().map(&mut look).transpose()?;
            match found.flatten() {
                Some(past) => past_roots.push(past),
                None => taken.push(text),
            }
        }
        Ok((past_roots, taken))
    }

    /// The name for a root rotated `at` by the boot `boot_id` (as in
    /// `/proc/sys/kernel/random/boot_id`), different from all that `exists` names: unique even
    /// when the clock stands still at 1970 and a boot resets twice.
    pub fn new(at: DateTime<Utc>, boot_id: &str, exists: impl Fn(&PastRootName) -> bool) -> Self {
        let boot: String = boot_id
            .chars()
            .filter(char::is_ascii_hexdigit)
            .take(8)
            .collect();
        let base = format!("{}-{boot}", at.format(TIME));
        first_free(&base, Self, exists)
    }

    /// The time of the rotation as `state` recorded it; `None` if the name is not of our making.
    pub fn rotated_at(&self) -> Option<DateTime<Utc>> {
        time_in(&self.0)
    }
}

impl SnapshotName {
    /// The default name of a snapshot taken `at`, different from all that `exists` names.
    pub fn at(at: DateTime<Utc>, exists: impl Fn(&SnapshotName) -> bool) -> Self {
        first_free(&at.format(TIME).to_string(), Self, exists)
    }

    /// The time it was taken as `state` recorded it; `None` if a person named it.
    pub fn taken_at(&self) -> Option<DateTime<Utc>> {
        time_in(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_their_time_and_never_collide() {
        let epoch = DateTime::from_timestamp(7, 0).unwrap();
        let boot = "6d3f20c1-96c1-4b53-a1de-3f6f8f7e0a11";
        let first = PastRootName::new(epoch, boot, |_| false);
        assert_eq!(first.as_str(), "19700101T000007Z-6d3f20c1");
        let second = PastRootName::new(epoch, boot, |n| *n == first);
        assert_eq!(second.as_str(), "19700101T000007Z-6d3f20c1-2");
        assert_eq!(second.rotated_at(), Some(epoch));
    }

    #[test]
    fn foreign_names_have_no_time() {
        for name in [
            "old",
            "20261121T113705",
            "20261121T113705Zx",
            "20261321T113705Z-1",
        ] {
            let name: PastRootName = name.parse().unwrap();
            assert_eq!(name.rotated_at(), None, "{name}");
        }
    }

    #[test]
    fn hostile_names_are_refused() {
        for name in [
            "",
            ".",
            "..",
            "-x",
            "a b",
            "a/b",
            "a\nb",
            "é",
            "a@b",
            &"x".repeat(129),
        ] {
            assert!(name.parse::<SnapshotName>().is_err(), "{name:?}");
        }
    }
}
