//! The user database of the machine that is being put together, which is not always the machine
//! this program runs on. Pure: the text of its files is handed in.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// A user, as passwd(5) describes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The user's number.
    pub uid: u32,
    /// The number of the user's own group.
    pub gid: u32,
    /// The home directory, as written: neither checked nor normalised.
    pub home: PathBuf,
}

/// Users and groups by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Users {
    users: BTreeMap<Vec<u8>, User>,
    uids: BTreeMap<Vec<u8>, u32>,
    gids: BTreeMap<Vec<u8>, u32>,
}

impl Users {
    /// Reads the texts of passwd(5) and group(5). A line that is not of their form is passed
    /// over, and of two lines with one name the first counts, as the C library has it.
    pub fn parse(passwd: &[u8], group: &[u8]) -> Self {
        let mut known = Self::default();
        for line in passwd.split(|byte| *byte == b'\n') {
            let fields: Vec<_> = line.split(|byte| *byte == b':').collect();
            if let [name, _, uid, gid, _, home, _] = fields[..]
                && let (Some(uid), Some(gid)) = (number(uid), number(gid))
            {
                let home = PathBuf::from(OsString::from_vec(home.to_vec()));
                let user = User { uid, gid, home };
                known.users.entry(name.to_vec()).or_insert(user);
                known.uids.entry(name.to_vec()).or_insert(uid);
            }
        }
        for line in group.split(|byte| *byte == b'\n') {
            let mut fields = line.split(|byte| *byte == b':');
            if let (Some(name), Some(_), Some(gid)) = (fields.next(), fields.next(), fields.next())
                && let Some(gid) = number(gid)
            {
                known.gids.entry(name.to_vec()).or_insert(gid);
            }
        }
        known
    }

    /// Reads NixOS's `uid-map` and `gid-map`, which know the numbers before `/etc/passwd` has been
    /// generated, and no homes. A text that is no such map says nothing.
    pub fn from_id_maps(uids: &[u8], gids: &[u8]) -> Self {
        let map = |text| {
            let names: BTreeMap<String, u32> = serde_json::from_slice(text).unwrap_or_default();
            names
                .into_iter()
                .map(|(name, id)| (name.into(), id))
                .collect()
        };
        Self {
            users: BTreeMap::new(),
            uids: map(uids),
            gids: map(gids),
        }
    }

    /// These, and of `others` those whose names are not among these.
    #[must_use]
    pub fn or(mut self, others: Self) -> Self {
        for (name, user) in others.users {
            self.users.entry(name).or_insert(user);
        }
        for (name, uid) in others.uids {
            self.uids.entry(name).or_insert(uid);
        }
        for (name, gid) in others.gids {
            self.gids.entry(name).or_insert(gid);
        }
        self
    }

    /// The user of that name, if passwd(5) knows one.
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name.as_bytes())
    }

    /// The number of the user of that name.
    pub fn uid(&self, name: &str) -> Option<u32> {
        self.uids.get(name.as_bytes()).copied()
    }

    /// The number of the group of that name.
    pub fn gid(&self, name: &str) -> Option<u32> {
        self.gids.get(name.as_bytes()).copied()
    }
}

fn number(field: &[u8]) -> Option<u32> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn passwd_and_group_are_read_as_the_c_library_reads_them() {
        let users = Users::parse(
            b"root:x:0:0:root:/root:/bin/sh\n\
              broken line\n\
              ann:x:1000:100:Ann, room 1:/home/ann b:/bin/sh\n\
              ann:x:2000:200::/elsewhere:/bin/sh\n\
              raw:x:7:8::/home/\xff:/bin/sh\n\
              nan:x:x:8::/home/nan:/bin/sh",
            b"users:x:100:ann,root\nwheel:x:10\nbad:x:\n",
        );
        let ann = User {
            uid: 1000,
            gid: 100,
            home: "/home/ann b".into(),
        };
        assert_eq!(users.user("ann"), Some(&ann));
        let raw = Some(OsStr::from_bytes(b"/home/\xff").as_ref());
        assert_eq!(users.user("raw").map(|user| user.home.as_path()), raw);
        assert_eq!(users.user("nan"), None);
        assert_eq!(users.gid("users"), Some(100));
        assert_eq!(users.gid("wheel"), Some(10));
        assert_eq!(users.gid("bad"), None);
    }

    #[test]
    fn an_id_map_fills_in_what_passwd_does_not_know() {
        let passwd = Users::parse(b"a:x:1:1::/:\n", b"");
        let maps = Users::from_id_maps(br#"{"a":9,"b":2}"#, b"not json");
        let both = passwd.or(maps);
        assert_eq!((both.uid("a"), both.uid("b")), (Some(1), Some(2)));
        assert_eq!((both.gid("a"), both.user("b")), (None, None));
    }
}
