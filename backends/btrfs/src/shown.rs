//! Paths for people and for JSON: names on disk are bytes, and some are hostile.

use serde::Serializer;
use std::fmt;
use std::path::Path;

/// A path from the top level, quoted when it would not read as one word.
pub(crate) struct Shown<'a>(pub(crate) &'a Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |c: char| !c.is_control() && !c.is_whitespace();
        match self.0.to_str() {
            Some("") => f.write_str("the top level"),
            Some(text) if text.chars().all(plain) => f.write_str(text),
            _ => write!(f, "{:?}", self.0),
        }
    }
}

/// Serialises a path also when it is no UTF-8.
pub(crate) fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn hostile_names_are_quoted() {
        for (name, shown) in [
            (&b""[..], "the top level"),
            (b"@/root", "@/root"),
            (b"a b", "\"a b\""),
            (b"a\nb", "\"a\\nb\""),
            (b"a\xff", "\"a\\xFF\""),
        ] {
            let path = Path::new(OsStr::from_bytes(name));
            assert_eq!(Shown(path).to_string(), shown);
        }
    }
}
