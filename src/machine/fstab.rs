//! fstab(5). Pure.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FstabLine {
    /// What is mounted: `UUID=…`, `/dev/…`, a dataset.
    pub source: OsString,
    /// Where.
    pub at: PathBuf,
    /// The filesystem's type.
    pub filesystem: String,
    /// The options, comma-separated.
    pub options: String,
}

impl FstabLine {
    /// The lines of a text. What is not of the form is passed over, as mount(8) does.
    pub fn parse(text: &[u8]) -> Vec<Self> {
        parse(text)
    }

    /// The text with a comment in the place of what mounts root; `None` where nothing does.
    pub fn without_root(text: &[u8]) -> Option<Vec<u8>> {
        let mounts_root = |line: &&[u8]| parse(line).iter().any(|line| line.at == Path::new("/"));
        text.split(|byte| *byte == b'\n').find(mounts_root)?;
        let lines = text.split_inclusive(|byte| *byte == b'\n');
        let new = lines.flat_map(|line| [if mounts_root(&line) { TAKEN_OUT } else { b"" }, line]);
        Some(new.collect::<Vec<_>>().concat())
    }

    /// Whether it mounts root by the id of its subvolume.
    pub fn is_root_by_id(&self) -> bool {
        self.at == Path::new("/") && is_by_id(&self.options)
    }
}

/// Whether mount options name a subvolume by its id.
pub(super) fn is_by_id(options: &str) -> bool {
    (options.split(',')).any(|option| option.starts_with("subvolid="))
}

/// What a line that mounted root is a comment by.
const TAKEN_OUT: &[u8] = b"# root is mounted by the initrd, below an overlay (state): ";

fn parse(text: &[u8]) -> Vec<FstabLine> {
    text.split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let mut fields = line
                .split(|byte| *byte == b' ' || *byte == b'\t')
                .filter(|field| !field.is_empty());
            let source = fields.next().filter(|field| !field.starts_with(b"#"))?;
            let text = |field: &[u8]| String::from_utf8_lossy(&unescape(field)).into_owned();
            Some(FstabLine {
                source: OsString::from_vec(unescape(source)),
                at: OsString::from_vec(unescape(fields.next()?)).into(),
                filesystem: text(fields.next()?),
                options: fields.next().map(text).unwrap_or_default(),
            })
        })
        .collect()
}

/// `\040` is a space.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let octal = tail
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match octal {
            Some(byte) => {
                plain.push(byte);
                rest = &tail[3..];
            }
            None => {
                plain.push(*first);
                rest = tail;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_mounts_root_becomes_a_comment() {
        let text = b"# / of old\nUUID=1 / ext4 errors=remount-ro 0 1\n\n /dev/sda1\t/\text4\nUUID=2 /persist ext4 x-initrd.mount 0 0";
        let told = String::from_utf8(FstabLine::without_root(text).unwrap()).unwrap();
        assert_eq!(
            told,
            "# / of old\n\
             # root is mounted by the initrd, below an overlay (state): UUID=1 / ext4 errors=remount-ro 0 1\n\n\
             # root is mounted by the initrd, below an overlay (state):  /dev/sda1\t/\text4\n\
             UUID=2 /persist ext4 x-initrd.mount 0 0"
        );
        assert_eq!(FstabLine::without_root(told.as_bytes()), None);
    }

    #[test]
    fn lines_are_read_as_mount_reads_them() {
        let text = b"# made by a person\n\n/dev/vda2\t/  btrfs subvolid=256,noatime 0 0\n\
                     UUID=1b2c /mnt/a\\040b ext4\nodd\n";
        let line = |source: &str, at: &str, filesystem: &str, options: &str| FstabLine {
            source: source.into(),
            at: at.into(),
            filesystem: filesystem.into(),
            options: options.into(),
        };
        assert_eq!(
            parse(text),
            [
                line("/dev/vda2", "/", "btrfs", "subvolid=256,noatime"),
                line("UUID=1b2c", "/mnt/a b", "ext4", ""),
            ]
        );
    }
}
