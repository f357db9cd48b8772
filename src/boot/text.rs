//! The language of units: blanks, words, names of paths. Pure.

use std::fmt::Write as _;
use std::path::Path;

/// The links that enable a unit, as directories beside it: `initrd.target.wants`.
pub fn enabled_by(text: &str) -> Vec<String> {
    let mut install = text.lines().skip_while(|line| *line != "[Install]");
    let mut found = Vec::new();
    for line in install.by_ref() {
        for (key, kind) in [("WantedBy=", "wants"), ("RequiredBy=", "requires")] {
            if let Some(units) = line.strip_prefix(key) {
                found.extend(units.split(' ').map(|unit| format!("{unit}.{kind}")));
            }
        }
    }
    found
}

/// Fills the blanks of a text. A line whose blank has nothing goes, and so does the comment that
/// stands right before it.
pub(super) fn fill(text: &str, blanks: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut comment = String::new();
    for line in text.lines() {
        if line.starts_with('#') {
            writeln!(comment, "{line}").expect("a string takes everything");
            continue;
        }
        let mut new = line.to_owned();
        let mut is_wanted = true;
        for (blank, value) in blanks {
            if line.contains(blank) {
                is_wanted &= !value.is_empty();
                new = new.replace(blank, value);
            }
        }
        if is_wanted {
            filled += &comment;
            writeln!(filled, "{new}").expect("a string takes everything");
        }
        comment.clear();
    }
    filled
}

/// Paths as a unit's list has them, each below `prefix`.
pub(super) fn words<'a>(paths: impl Iterator<Item = &'a Path>, prefix: &str) -> String {
    let words: Vec<String> = paths
        .map(|path| word(Path::new(&format!("{prefix}{}", path.display()))))
        .collect();
    words.join(" ")
}

/// A path as one word of a unit: in quotes where it must be, and with no `%` that means something.
pub(super) fn word(path: &Path) -> String {
    let text = path.to_string_lossy().replace('%', "%%");
    let is_plain = !text.contains(|c: char| c.is_whitespace() || "\"'\\;$".contains(c));
    if is_plain {
        return text;
    }
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted += "\\n",
            '\t' => quoted += "\\t",
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A path as a unit's name has it: what `systemd-escape --path` prints.
pub fn escape_path(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let parts: Vec<&[u8]> = path
        .as_os_str()
        .as_bytes()
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    if parts.is_empty() {
        return "-".to_owned();
    }
    let mut escaped = String::new();
    for (n, byte) in parts.join(&b'/').into_iter().enumerate() {
        match byte {
            b'/' => escaped.push('-'),
            b'.' if n == 0 => escaped += "\\x2e",
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b':' | b'_' | b'.' => {
                escaped.push(char::from(byte));
            }
            byte => write!(escaped, "\\x{byte:02x}").expect("a string takes everything"),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What follows is what `systemd-escape --path` printed.
    #[test]
    fn paths_are_escaped_as_systemd_does() {
        for (path, expected) in [
            ("/", "-"),
            ("/dev/vda2", "dev-vda2"),
            (
                "/dev/disk/by-uuid/1b2c-4d",
                r"dev-disk-by\x2duuid-1b2c\x2d4d",
            ),
            ("//dev//mapper/a b/", r"dev-mapper-a\x20b"),
            ("/.a/.b", r"\x2ea-.b"),
            (
                "/dev/disk/by-label/é:_\\",
                r"dev-disk-by\x2dlabel-\xc3\xa9:_\x5c",
            ),
        ] {
            assert_eq!(escape_path(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn paths_are_words_of_units() {
        for (path, expected) in [
            ("/persist", "/persist"),
            ("/a b", "\"/a b\""),
            ("/100%", "/100%%"),
            ("/a\"b\\c\nd", r#""/a\"b\\c\nd""#),
        ] {
            assert_eq!(word(Path::new(path)), expected);
        }
    }
}
