//! Where everything is, as paths from the top level.

use state_api::{BadName, PastRootName};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// The directory that holds past roots.
const PAST_ROOTS: &str = "past-roots";
/// The directory inside it that holds a mark for every pinned past root.
const PINNED: &str = ".pinned";
/// The directory at the top level that is reserved for `state`.
pub(crate) const RESERVED: &str = ".state";
/// The longest name a directory can hold, in bytes.
const NAME_MAX: usize = 255;

/// The names an engine works with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The root subvolume; empty if it is the top level itself.
    pub(crate) root: PathBuf,
    /// Its blank.
    pub(crate) blank: PathBuf,
    /// What must not be put away with root: stores, `/nix`, anything the configuration names.
    pub(crate) protected: Vec<PathBuf>,
}

/// A path without a leading slash and without dots, as every path in this crate is.
fn plain(path: &Path) -> Result<PathBuf, BadName> {
    let bad = |why| BadName {
        name: path.to_string_lossy().into_owned(),
        why,
    };
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) if name.len() > NAME_MAX => {
                return Err(bad("a part of it is longer than 255 bytes"));
            }
            Component::Normal(name) => plain.push(name),
            Component::ParentDir | Component::Prefix(_) => {
                return Err(bad("a path from the top level must not contain .."));
            }
        }
    }
    Ok(plain)
}

/// The same path with something added to its last name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

/// Whether `path` is `top` or inside it, by name.
pub(crate) fn is_inside(path: &Path, top: &Path) -> bool {
    !top.as_os_str().is_empty() && path.starts_with(top)
}

impl Layout {
    pub(crate) fn new(root: &Path, blank: Option<&Path>) -> Result<Self, BadName> {
        let root = plain(root)?;
        let blank = match blank {
            Some(blank) => plain(blank)?,
            None => beside(&root, "-blank"),
        };
        for path in [&root, &blank] {
            let longest = path.file_name().unwrap_or_default().len() + "-previous.old".len();
            if longest > NAME_MAX {
                return Err(BadName {
                    name: path.to_string_lossy().into_owned(),
                    why: "it leaves no room for the names beside it",
                });
            }
        }
        Ok(Self {
            root,
            blank,
            protected: Vec::new(),
        })
    }

    pub(crate) fn protect(&mut self, path: &Path) -> Result<(), BadName> {
        self.protected.push(plain(path)?);
        Ok(())
    }

    /// Where the new root is staged, and the outgoing one is between the exchange and its being
    /// put away.
    pub(crate) fn staged(&self) -> PathBuf {
        beside(&self.root, ".new")
    }

    /// Where things are that nobody wants: a copy that is being built, a root that was given up.
    /// Whatever is found there is destroyed.
    pub(crate) fn scratch(&self) -> PathBuf {
        Path::new(RESERVED).join("scratch")
    }

    /// The new blank before, and the old one right after, they are exchanged.
    pub(crate) fn blank_staged(&self) -> PathBuf {
        beside(&self.blank, ".new")
    }

    /// The writable copy of blank that a renewal works in.
    pub(crate) fn draft(&self) -> PathBuf {
        beside(&self.blank, ".draft")
    }

    /// The blank before this one.
    pub(crate) fn previous(&self) -> PathBuf {
        beside(&self.blank, "-previous")
    }

    /// The one before that, while it is being replaced.
    pub(crate) fn superseded(&self) -> PathBuf {
        beside(&self.blank, "-previous.old")
    }

    pub(crate) fn past_roots(&self) -> PathBuf {
        PAST_ROOTS.into()
    }

    pub(crate) fn past(&self, name: &PastRootName) -> PathBuf {
        Path::new(PAST_ROOTS).join(name.as_str())
    }

    pub(crate) fn pins(&self) -> PathBuf {
        Path::new(PAST_ROOTS).join(PINNED)
    }

    pub(crate) fn pin(&self, name: &PastRootName) -> PathBuf {
        self.pins().join(name.as_str())
    }
}

/// A path inside `.state` for something that has a path of its own: one name, never two the same.
///
/// `/` becomes `%2F` and `%` becomes `%25`, so that different paths have different names; the top
/// level is `%2F` alone.
pub(crate) fn key(path: &Path) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut key = Vec::new();
    for (n, part) in path.components().enumerate() {
        if n > 0 {
            key.extend_from_slice(b"%2F");
        }
        for byte in part.as_os_str().as_bytes() {
            match byte {
                b'%' => key.extend_from_slice(b"%25"),
                byte => key.push(*byte),
            }
        }
    }
    if key.is_empty() {
        key.extend_from_slice(b"%2F");
    }
    OsString::from_vec(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beside_root_and_blank() {
        let layout = Layout::new(Path::new("/@/my root"), None).unwrap();
        assert_eq!(layout.root, Path::new("@/my root"));
        assert_eq!(layout.blank, Path::new("@/my root-blank"));
        assert_eq!(layout.staged(), Path::new("@/my root.new"));
        assert_eq!(layout.previous(), Path::new("@/my root-blank-previous"));
        let given = Layout::new(Path::new("root"), Some(Path::new("snaps/clean"))).unwrap();
        assert_eq!(given.blank_staged(), Path::new("snaps/clean.new"));
    }

    #[test]
    fn paths_that_cannot_be_are_refused() {
        for path in ["../x", "a/../b", &"x".repeat(256), &"x".repeat(250)] {
            assert!(Layout::new(Path::new(path), None).is_err(), "{path}");
        }
    }

    #[test]
    fn keys_are_never_the_same() {
        for (path, expected) in [
            ("", "%2F"),
            ("persist", "persist"),
            ("a/b", "a%2Fb"),
            ("a%2Fb", "a%252Fb"),
        ] {
            assert_eq!(key(Path::new(path)), expected);
        }
    }

    #[test]
    fn nothing_is_inside_the_top_level_by_name_alone() {
        assert!(is_inside(Path::new("root/nix"), Path::new("root")));
        assert!(!is_inside(Path::new("root-blank"), Path::new("root")));
        assert!(!is_inside(Path::new("root"), Path::new("")));
    }
}
