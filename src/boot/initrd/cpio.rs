//! The archives that the kernel unpacks: cpio in its form `newc`
//! (`Documentation/driver-api/early-userspace/buffer-format.rst`).

use super::{Entry, Tree, wrong};
use std::collections::HashMap;
use std::io::{self, BufRead, Read as _};

const HEADER: usize = 110;
/// The end of an archive is an entry of this name.
const TRAILER: &str = "TRAILER!!!";
/// What any initrd stays below, so that a file that is none costs neither memory nor time without end.
const MOST_ENTRIES: usize = 1 << 18;
const LONGEST_NAME: u32 = 4096;
const LARGEST_WANTED: u32 = 256 << 20;

/// Reads archives into a tree.
pub(super) struct Reader<'a> {
    tree: &'a mut Tree,
    is_wanted: &'a dyn Fn(&str) -> bool,
}

struct Header {
    inode: (u32, u32, u32),
    mode: u32,
    links: u32,
    size: u32,
    name_size: u32,
}

impl<'a> Reader<'a> {
    pub(super) fn new(tree: &'a mut Tree, is_wanted: &'a dyn Fn(&str) -> bool) -> Self {
        Self { tree, is_wanted }
    }

    /// Reads one archive to its trailer.
    pub(super) fn archive(&mut self, source: &mut dyn BufRead) -> io::Result<()> {
        // Names of a file whose content comes with the last of them.
        let mut names_of: HashMap<(u32, u32, u32), Vec<String>> = HashMap::new();
        loop {
            let mut bytes = [0; HEADER];
            source.read_exact(&mut bytes).map_err(truncated)?;
            let header = Header::parse(&bytes).ok_or_else(|| wrong("it is no cpio archive"))?;
            if !(1..=LONGEST_NAME).contains(&header.name_size) {
                return Err(wrong("a name in it is too long"));
            }
            let mut name = take(source, header.name_size)?;
            skip(source, padding(HEADER as u64 + u64::from(header.name_size)))?;
            name.pop();
            let name = String::from_utf8_lossy(&name).into_owned();
            if name == TRAILER {
                return skip(source, padding(header.size.into()));
            }
            let path = name.trim_start_matches("./").trim_matches('/').to_owned();
            let mut entry = Entry::Other;
            let mut left = header.size;
            match header.mode & 0o170_000 {
                0o100_000 => {
                    let mut names = vec![path];
                    if header.links > 1 {
                        let known = names_of.entry(header.inode).or_default();
                        known.append(&mut names);
                        names.clone_from(known);
                    }
                    let mut content = None;
                    if names.iter().any(|name| (self.is_wanted)(name)) {
                        if left > LARGEST_WANTED {
                            return Err(wrong("a file in it is too large"));
                        }
                        content = Some(take(source, left)?);
                        left = 0;
                    }
                    for name in names {
                        self.add(name, Entry::File(content.clone()))?;
                    }
                }
                kind => {
                    if kind == 0o120_000 && left <= LONGEST_NAME {
                        let target = take(source, left)?;
                        entry = Entry::Link(String::from_utf8_lossy(&target).into_owned());
                        left = 0;
                    }
                    self.add(path, entry)?;
                }
            }
            skip(source, left.into())?;
            skip(source, padding(header.size.into()))?;
        }
    }

    fn add(&mut self, path: String, entry: Entry) -> io::Result<()> {
        self.tree.entries.insert(path, entry);
        match self.tree.entries.len() {
            0..=MOST_ENTRIES => Ok(()),
            _ => Err(wrong("it has too many entries")),
        }
    }
}

impl Header {
    fn parse(bytes: &[u8; HEADER]) -> Option<Self> {
        if !matches!(&bytes[..6], b"070701" | b"070702") {
            return None;
        }
        let mut fields = [0; 13];
        for (field, digits) in fields.iter_mut().zip(bytes[6..].chunks_exact(8)) {
            let digits = std::str::from_utf8(digits).ok()?;
            *field = u32::from_str_radix(digits, 16).ok()?;
        }
        let [
            inode,
            mode,
            _,
            _,
            links,
            _,
            size,
            major,
            minor,
            _,
            _,
            name_size,
            _,
        ] = fields;
        Some(Self {
            inode: (major, minor, inode),
            mode,
            links,
            size,
            name_size,
        })
    }
}

/// How much follows something until the next multiple of four.
fn padding(size: u64) -> u64 {
    size.next_multiple_of(4) - size
}

fn take(source: &mut dyn BufRead, size: u32) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(size.into()).read_to_end(&mut bytes)?;
    match bytes.len() == size as usize {
        true => Ok(bytes),
        false => Err(wrong("it is cut short")),
    }
}

fn skip(source: &mut dyn BufRead, size: u64) -> io::Result<()> {
    match io::copy(&mut source.take(size), &mut io::sink())? == size {
        true => Ok(()),
        false => Err(wrong("it is cut short")),
    }
}

fn truncated(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => wrong("it is cut short"),
        _ => error,
    }
}
