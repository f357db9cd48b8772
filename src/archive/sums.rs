//! `.state/SHA256SUMS`: what `sha256sum -c` reads.

use super::manifest::Digest;
use super::member::name;

/// Appends the line of a regular file. A name with a backslash or a line break is escaped, and
/// the line then begins with a backslash, as GNU coreutils has it.
pub fn push_line(sums: &mut Vec<u8>, digest: Digest, path: &[u8]) {
    let mut escaped = Vec::with_capacity(path.len() + 2);
    for byte in name(path) {
        match byte {
            b'\\' => escaped.extend(b"\\\\"),
            b'\n' => escaped.extend(b"\\n"),
            b'\r' => escaped.extend(b"\\r"),
            byte => escaped.push(byte),
        }
    }
    if escaped.len() > path.len() + 2 {
        sums.push(b'\\');
    }
    sums.extend_from_slice(digest.to_string().as_bytes());
    sums.extend_from_slice(b"  ");
    sums.extend(escaped);
    sums.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_coreutils_does() {
        let mut sums = Vec::new();
        for path in [&b"a b"[..], b"a\nb", b"a\\b", b"\xff\r"] {
            push_line(&mut sums, Digest([0xab; 32]), path);
        }
        let digest = "ab".repeat(32);
        let wanted = [
            format!("{digest}  ./a b\n").into_bytes(),
            format!("\\{digest}  ./a\\nb\n").into_bytes(),
            format!("\\{digest}  ./a\\\\b\n").into_bytes(),
            [format!("\\{digest}  ./").as_bytes(), b"\xff\\r\n"].concat(),
        ];
        assert_eq!(sums, wanted.concat());
    }
}
