//! The path of the layers' directory, as overlayfs can take it.

use state_api::BadName;
use std::path::{Component, Path, PathBuf};

/// A path without a leading slash and without dots. Overlayfs takes the paths of its layers apart
/// at colons, commas and backslashes.
pub(super) fn plain(path: &Path) -> std::result::Result<PathBuf, BadName> {
    let bad = |why| BadName {
        name: path.to_string_lossy().into_owned(),
        why,
    };
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => plain.push(name),
            Component::ParentDir | Component::Prefix(_) => {
                return Err(bad("a path from the filesystem's top must not contain .."));
            }
        }
    }
    let is_fine = |b: u8| b.is_ascii_alphanumeric() || b"-_.+@/".contains(&b);
    if plain.as_os_str().is_empty() {
        Err(bad(
            "it is the filesystem's top, which holds other things as well",
        ))
    } else if !plain
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .all(|b| is_fine(*b))
    {
        Err(bad("only letters, digits and - _ . + @ are allowed"))
    } else {
        Ok(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_that_overlayfs_would_take_apart_are_refused() {
        for (given, expected) in [
            ("/state/layers", Ok("state/layers")),
            ("a.b/c", Ok("a.b/c")),
            (
                "/",
                Err("it is the filesystem's top, which holds other things as well"),
            ),
            (
                "a/../b",
                Err("a path from the filesystem's top must not contain .."),
            ),
            ("a:b", Err("only letters, digits and - _ . + @ are allowed")),
            ("a,b", Err("only letters, digits and - _ . + @ are allowed")),
            ("a b", Err("only letters, digits and - _ . + @ are allowed")),
        ] {
            let found = plain(Path::new(given));
            let expected = expected.map(PathBuf::from);
            assert_eq!(found.map_err(|bad| bad.why), expected, "{given}");
        }
    }
}
