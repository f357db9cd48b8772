//! Paths are bytes; here is how they are written where text is wanted. Pure.

use serde::ser::{Serialize, SerializeSeq, Serializer};
use std::fmt::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A path as a person reads it, on one line whatever it holds: control characters, backslashes
/// and bytes that are no UTF-8 are written `\n`, `\\`, `\xff`.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a>(pub &'a Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.as_os_str().as_bytes().utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\\' => f.write_str("\\\\")?,
                    '\n' => f.write_str("\\n")?,
                    '\t' => f.write_str("\\t")?,
                    '\r' => f.write_str("\\r")?,
                    c if c.is_control() => write!(f, "\\u{{{:x}}}", u32::from(c))?,
                    c => f.write_char(c)?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// A path as a person types it to a shell, within a command that a message proposes.
#[derive(Debug, Clone, Copy)]
pub struct Typed<'a>(pub &'a Path);

impl fmt::Display for Typed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.as_os_str().as_bytes();
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+:@%,".contains(byte);
        match std::str::from_utf8(bytes) {
            Ok(text) if bytes.iter().all(is_plain) => f.write_str(text),
            Ok(text) if !text.chars().any(char::is_control) => {
                write!(f, "'{}'", text.replace('\'', r"'\''"))
            }
            // What cannot be written as it is, bash and zsh read so.
            _ => {
                f.write_str("$'")?;
                for byte in bytes {
                    match byte {
                        b'\'' | b'\\' => write!(f, "\\{}", char::from(*byte))?,
                        b' '..=b'~' => f.write_char(char::from(*byte))?,
                        byte => write!(f, "\\x{byte:02x}")?,
                    }
                }
                f.write_str("'")
            }
        }
    }
}

/// For `#[serde(serialize_with)]`: a string, or the array of its bytes where it is no UTF-8, so
/// that JSON loses nothing and never fails.
///
/// # Errors
/// Those of the serializer alone.
pub fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    match path.to_str() {
        Some(text) => to.serialize_str(text),
        None => path.as_os_str().as_bytes().serialize(to),
    }
}

/// The same for a list of paths.
///
/// # Errors
/// Those of the serializer alone.
pub fn serialize_all<S: Serializer>(paths: &[PathBuf], to: S) -> Result<S::Ok, S::Error> {
    struct One<'a>(&'a Path);
    impl Serialize for One<'_> {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            serialize(self.0, to)
        }
    }
    let mut list = to.serialize_seq(Some(paths.len()))?;
    for path in paths {
        list.serialize_element(&One(path))?;
    }
    list.end()
}

/// A path as the configuration means it: absolute, without `.`, doubled or trailing slashes.
///
/// # Errors
/// What is wrong with it: relative, `/` itself, a `..`, a NUL.
pub fn normal(path: &Path) -> Result<PathBuf, &'static str> {
    if !path.is_absolute() {
        return Err("is not absolute");
    }
    normal_below(path.strip_prefix("/").expect("it begins with a slash"))
        .map(|below| Path::new("/").join(below))
}

/// The same for a path relative to some directory.
///
/// # Errors
/// What is wrong with it: absolute, empty, a `..`, a NUL.
pub fn normal_below(path: &Path) -> Result<PathBuf, &'static str> {
    use std::path::Component;
    if path.as_os_str().as_bytes().contains(&0) {
        return Err("holds a NUL");
    }
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::CurDir => {}
            Component::ParentDir => return Err("holds `..`"),
            Component::RootDir | Component::Prefix(_) => return Err("is not relative"),
        }
    }
    if plain.as_os_str().is_empty() {
        return Err("names the directory itself");
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn every_path_is_shown_on_one_line() {
        let raw = Path::new(OsStr::from_bytes(b"/a b/\xc3\xa9\n\\\x1b[0m\xff"));
        assert_eq!(Shown(raw).to_string(), r"/a b/é\n\\\u{1b}[0m\xff");
    }

    #[test]
    fn a_shell_reads_a_typed_path_as_it_is() {
        for (raw, expected) in [
            (&b"/srv/a-b.c"[..], "/srv/a-b.c"),
            (b"/srv/a b/$(x)`y`", "'/srv/a b/$(x)`y`'"),
            (b"/srv/it's", r"'/srv/it'\''s'"),
            ("/srv/\u{e9}".as_bytes(), "'/srv/\u{e9}'"),
            (b"/a\n'\\\xff0", r"$'/a\x0a\'\\\xff0'"),
        ] {
            let path = Path::new(OsStr::from_bytes(raw));
            assert_eq!(Typed(path).to_string(), expected);
        }
    }

    #[test]
    fn json_holds_every_path() {
        #[derive(serde::Serialize)]
        struct Held(
            #[serde(serialize_with = "serialize")] PathBuf,
            #[serde(serialize_with = "serialize_all")] Vec<PathBuf>,
        );
        let raw = PathBuf::from(OsStr::from_bytes(b"\xff"));
        let json = serde_json::to_string(&Held("a\nb".into(), vec![raw, "c".into()])).unwrap();
        assert_eq!(json, r#"["a\nb",[[255],"c"]]"#);
    }

    #[test]
    fn paths_are_brought_into_one_form_or_refused() {
        for (path, expected) in [
            ("/a//b/./c/", Ok("/a/b/c")),
            ("/a\nb: c", Ok("/a\nb: c")),
            ("a", Err("is not absolute")),
            ("/", Err("names the directory itself")),
            ("/.", Err("names the directory itself")),
            ("/a/../b", Err("holds `..`")),
            ("/a\0", Err("holds a NUL")),
        ] {
            let expected = expected.map(PathBuf::from);
            assert_eq!(normal(Path::new(path)), expected, "{path:?}");
        }
    }
}
