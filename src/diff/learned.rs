//! What every boot makes anew: learned by looking at past roots, each of which began as blank.
//!
//! What two of the last past roots had at one path, the same in content and metadata and yet born
//! at two times, was made by the system itself each time. While the present root has the very
//! same there, nothing of it can get lost. Pure.

use crate::paths;
use serde::{Deserialize, Serialize};
use state_api::PastRootName;
use state_linux::stat::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The version of the form in which this is kept.
const VERSION: u32 = 1;
/// How many past roots are remembered.
pub const ROOTS: usize = 4;
/// How many things of one past root are remembered.
pub const THINGS: usize = 4000;

/// What was at a path, as far as it matters whether it is made anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Its content and metadata, condensed.
    pub fingerprint: String,
    /// When it was born and when it was written, in nanoseconds: what survives a boot keeps both.
    pub made: [i64; 2],
}

impl Seen {
    /// What has this fingerprint and these times.
    pub fn new(fingerprint: String, born: Time, modified: Time) -> Self {
        let nanoseconds = |time: Time| {
            time.seconds
                .saturating_mul(1_000_000_000)
                .saturating_add(time.nanoseconds.into())
        };
        Self {
            fingerprint,
            made: [nanoseconds(born), nanoseconds(modified)],
        }
    }

    /// Whether the two are the same and neither is the other, kept.
    fn is_made_anew(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
            && self.made[0] != other.made[0]
            && self.made[1] != other.made[1]
    }
}

/// What was new in one past root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// Which past root.
    pub root: PastRootName,
    /// What was new or changed in it, relative to its top.
    #[serde(with = "things")]
    pub things: BTreeMap<PathBuf, Seen>,
}

/// What the last past roots had.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Learned {
    version: u32,
    /// Oldest first.
    roots: Vec<Observation>,
}

impl Learned {
    /// Reads what [`Learned::write`] wrote; nothing is learned from anything else.
    pub fn read(text: &[u8]) -> Self {
        let read: Result<Self, _> = serde_json::from_slice(text);
        read.ok()
            .filter(|learned| learned.version == VERSION)
            .unwrap_or_default()
    }

    /// The form in which it is kept.
    pub fn write(&self) -> Vec<u8> {
        let whole = Self {
            version: VERSION,
            roots: self.roots.clone(),
        };
        let mut text = serde_json::to_vec(&whole).expect("names and numbers are always JSON");
        text.push(b'\n');
        text
    }

    /// Whether a past root was looked at.
    pub fn knows(&self, root: &PastRootName) -> bool {
        self.roots.iter().any(|one| one.root == *root)
    }

    /// Remembers the newest past root, and forgets the oldest of too many.
    pub fn remember(&mut self, observation: Observation) {
        self.roots.retain(|one| one.root != observation.root);
        self.roots.push(observation);
        let excess = self.roots.len().saturating_sub(ROOTS);
        self.roots.drain(..excess);
    }

    /// The paths at which anything was made anew.
    pub fn paths(&self) -> BTreeSet<&Path> {
        let all = self.roots.iter().flat_map(|one| one.things.keys());
        let mut seen = BTreeSet::new();
        all.filter(|path| !seen.insert(path.as_path()))
            .map(PathBuf::as_path)
            .collect()
    }

    /// Whether what is at `path` now is what every boot makes there.
    pub fn is_made_anew(&self, path: &Path, now: &Seen) -> bool {
        let seen: Vec<&Seen> = self
            .roots
            .iter()
            .filter_map(|one| one.things.get(path))
            .filter(|seen| seen.fingerprint == now.fingerprint)
            .collect();
        seen.iter()
            .enumerate()
            .any(|(at, one)| seen[at + 1..].iter().any(|other| one.is_made_anew(other)))
    }
}

/// Paths as keys: bytes that are no UTF-8 are kept.
mod things {
    use super::*;
    use serde::{Deserializer, Serializer, de::Error as _};
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

    pub(super) fn serialize<S: Serializer>(
        things: &BTreeMap<PathBuf, Seen>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_map(things.iter().map(|(path, seen)| (key(path), seen)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<PathBuf, Seen>, D::Error> {
        let things: BTreeMap<String, Seen> = BTreeMap::deserialize(from)?;
        let read = |(key, seen): (String, Seen)| match path(&key) {
            Some(path) => Ok((path, seen)),
            None => Err(D::Error::custom("a path is none")),
        };
        things.into_iter().map(read).collect()
    }

    /// Percent-encoded, as in a URL.
    fn key(path: &Path) -> String {
        let mut key = String::new();
        for byte in path.as_os_str().as_bytes() {
            match byte {
                b'%' | 0..=0x20 | 0x7f.. => key += &format!("%{byte:02X}"),
                byte => key.push(char::from(*byte)),
            }
        }
        key
    }

    fn path(key: &str) -> Option<PathBuf> {
        let mut bytes = Vec::new();
        let mut rest = key.as_bytes();
        while let Some((first, after)) = rest.split_first() {
            rest = after;
            bytes.push(match first {
                b'%' => {
                    let (digits, after) = rest.split_at_checked(2)?;
                    rest = after;
                    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
                }
                byte => *byte,
            });
        }
        let path = PathBuf::from(OsString::from_vec(bytes));
        paths::normal_below(&path).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    fn seen(fingerprint: &str, at: i64) -> Seen {
        let time = |seconds| Time {
            seconds,
            nanoseconds: 7,
        };
        Seen::new(fingerprint.into(), time(at), time(at + 1))
    }

    fn observed(root: usize, things: &[(&str, Seen)]) -> Observation {
        let things = things.iter().cloned();
        Observation {
            root: format!("2026010{root}T000000Z").parse().unwrap(),
            things: things.map(|(path, seen)| (path.into(), seen)).collect(),
        }
    }

    #[test]
    fn what_two_boots_made_alike_is_made_anew() {
        let mut learned = Learned::default();
        learned.remember(observed(
            1,
            &[
                ("same", seen("x", 10)),
                ("kept", seen("x", 10)),
                ("differs", seen("x", 10)),
                ("once", seen("x", 10)),
            ],
        ));
        let now = |fingerprint| seen(fingerprint, 99);
        assert!(!learned.is_made_anew(Path::new("same"), &now("x")));
        learned.remember(observed(
            2,
            &[
                ("same", seen("x", 20)),
                ("kept", seen("x", 10)), // the second root was made from the first
                ("differs", seen("y", 20)),
            ],
        ));
        for (path, fingerprint, expected) in [
            ("same", "x", true),
            ("same", "another", false), // its content is new this time: it is told again
            ("kept", "x", false),
            ("differs", "x", false),
            ("differs", "y", false),
            ("once", "x", false),
            ("never", "x", false),
        ] {
            let is = learned.is_made_anew(Path::new(path), &now(fingerprint));
            assert_eq!(is, expected, "{path} {fingerprint}");
        }
        let expected = ["differs", "kept", "same"].map(Path::new);
        assert_eq!(learned.paths(), BTreeSet::from(expected));
    }

    #[test]
    fn a_few_roots_are_remembered_once_each() {
        let mut learned = Learned::default();
        for root in [1, 2, 2, 3, 4, 5, 6] {
            learned.remember(observed(root, &[]));
        }
        let known: Vec<bool> = (1..=6)
            .map(|root| learned.knows(&observed(root, &[]).root))
            .collect();
        assert_eq!(known, [false, false, true, true, true, true]);
    }

    #[test]
    fn any_path_is_kept_and_what_is_not_understood_teaches_nothing() {
        let mut learned = Learned::default();
        let name = OsStr::from_bytes(b"a b/100%/\xff\n");
        let mut observation = observed(1, &[]);
        observation.things.insert(name.into(), seen("x", -10));
        learned.remember(observation);
        let text = learned.write();
        let mut again = Learned::read(&text);
        assert_eq!(again.write(), text);
        again.version = 0;
        assert_eq!(again, learned);
        let text = String::from_utf8(text).unwrap();
        for broken in [
            "",
            "[]",
            &text.replace("\"version\":1", "\"version\":2"),
            &text.replace("%FF", "%F"),
            &text.replace("a%20b", ".."),
        ] {
            assert_eq!(Learned::read(broken.as_bytes()), Learned::default());
        }
    }
}
