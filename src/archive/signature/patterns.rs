//! Patterns as OpenSSH has them.

/// A list of patterns as in ssh_config(5), PATTERNS: `*`, `?`, and `!` before what is excluded.
#[derive(Debug, Clone)]
pub(super) struct Patterns(Vec<String>);

impl Patterns {
    pub(super) fn parse(list: &str) -> Self {
        Self(
            list.trim_matches('"')
                .split(',')
                .map(|p| p.trim().to_owned())
                .collect(),
        )
    }

    pub(super) fn match_text(&self, text: &str) -> bool {
        let mut found = false;
        for pattern in &self.0 {
            match pattern.strip_prefix('!') {
                Some(excluded) if matches(excluded.as_bytes(), text.as_bytes()) => return false,
                Some(_) => {}
                None => found |= matches(pattern.as_bytes(), text.as_bytes()),
            }
        }
        found
    }
}

/// Whether the pattern matches the whole text, in linear space and without recursion.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == b'?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                p = at + 1;
                t = from + 1;
            }
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_ssh_does() {
        for (pattern, text, wanted) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abcd", false),
            ("*a*b", "xaxxab", true),
            ("?", "", false),
            ("h?st", "host", true),
            ("", "a", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                wanted,
                "{pattern} {text}"
            );
        }
    }
}
