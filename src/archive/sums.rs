//! `.state/SHA256SUMS`: what `sha256sum -c` reads.

use super::manifest::Digest;

/// Appends the line of a regular file. A name with a backslash or a line break is escaped, and
/// the line then begins with a backslash, as GNU coreutils has it.
pub fn push_line(sums: &mut Vec<u8>, digest: Digest, path: &[u8]) {
    push_hex_line(sums, &digest.to_string(), path);
}

/// The same, for a digest in hexadecimal.
pub fn push_hex_line(sums: &mut Vec<u8>, digest: &str, path: &[u8]) {
    let is_escaped = path.iter().any(|byte| b"\\\n\r".contains(byte));
    if is_escaped {
        sums.push(b'\\');
    }
    sums.extend_from_slice(digest.as_bytes());
    sums.extend_from_slice(b"  ./");
    match is_escaped {
        false => sums.extend_from_slice(path),
        true => {
            for byte in path {
                match byte {
                    b'\\' => sums.extend(b"\\\\"),
                    b'\n' => sums.extend(b"\\n"),
                    b'\r' => sums.extend(b"\\r"),
                    byte => sums.push(*byte),
                }
            }
        }
    }
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
