//! Modes as the other tools write them. Pure.

use crate::persist;

const ALL: u32 = 0o777;

/// A mode as chmod(1) takes it, octal or symbolic, for a directory that is being made: symbols
/// change the mode that allows everything. `None` if it is none.
pub(super) fn of_chmod(text: &str) -> Option<u32> {
    persist::parse_mode(text).or_else(|| text.split(',').try_fold(ALL, apply))
}

/// One clause: `u=rwx`, `go-w`.
fn apply(mode: u32, clause: &str) -> Option<u32> {
    let at = clause.find(['=', '+', '-'])?;
    let (who, what) = clause.split_at(at);
    if who.is_empty() {
        return None; // the umask has a say, and nobody knows it here
    }
    let mut classes = 0;
    for class in who.chars() {
        classes |= match class {
            'u' => 0o4700,
            'g' => 0o2070,
            'o' => 0o1007,
            'a' => 0o7777,
            _ => return None,
        };
    }
    let mut bits = 0;
    for bit in what.chars().skip(1) {
        bits |= match bit {
            'r' => 0o444,
            'w' => 0o222,
            'x' | 'X' => 0o111,
            's' => 0o6000,
            't' => 0o1000,
            _ => return None,
        };
    }
    let bits = bits & classes;
    match what.as_bytes()[0] {
        b'+' => Some(mode | bits),
        b'-' => Some(mode & !bits),
        _ => Some(mode & !classes | bits),
    }
}

/// A mode as tmpfiles.d(5) takes it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tmpfiles {
    /// None is said.
    Default,
    /// This one.
    Mode(u32),
    /// One that depends on what is there, or no mode at all.
    Strange,
}

/// Reads a mode as tmpfiles.d(5) takes it. `:0750` is for what is made, as all modes are here.
pub(super) fn of_tmpfiles(text: &str) -> Tmpfiles {
    match text {
        "" | "-" => Tmpfiles::Default,
        text => match persist::parse_mode(text.strip_prefix(':').unwrap_or(text)) {
            Some(mode) => Tmpfiles::Mode(mode),
            None => Tmpfiles::Strange,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_of_chmod() {
        for (text, expected) in [
            ("0755", Some(0o755)),
            ("700", Some(0o700)),
            ("u=rwx,g=rx,o=", Some(0o750)),
            ("u=rwx,g=,o=", Some(0o700)),
            ("u=rwx", Some(0o777)),
            ("go-w", Some(0o755)),
            ("a=rX,u+w", Some(0o755)),
            ("u=rwxs,go=rx,o+t", Some(0o5755)),
            ("ug=rws,o=", Some(0o6660)),
            ("=rwx", None),
            ("u=z", None),
            ("u", None),
            ("", None),
            ("0799", None),
        ] {
            assert_eq!(of_chmod(text), expected, "{text}");
        }
    }

    #[test]
    fn modes_of_tmpfiles() {
        for (text, expected) in [
            ("0750", Tmpfiles::Mode(0o750)),
            (":0700", Tmpfiles::Mode(0o700)),
            ("-", Tmpfiles::Default),
            ("", Tmpfiles::Default),
            ("~0755", Tmpfiles::Strange),
            ("u=rwx", Tmpfiles::Strange),
        ] {
            assert_eq!(of_tmpfiles(text), expected, "{text}");
        }
    }
}
