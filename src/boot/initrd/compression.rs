//! What initrds are compressed with. zstd is ours; the others are left to the programs that made
//! them: who has such an initrd has its program, and ours needs not carry four decoders into it.

use super::wrong;
use crate::program::Program;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Take};

/// By the first bytes, as the kernel's `lib/decompress.c` knows them.
const KINDS: [(&[u8], Program, &[&str]); 5] = [
    (&[0x1f, 0x8b], Program::Gzip, &["-dc"]),
    (&[0xfd, b'7', b'z', b'X', b'Z'], Program::Xz, &["-dc"]),
    (&[0x5d, 0, 0], Program::Xz, &["-dc", "--format=lzma"]),
    (&[0x02, 0x21, 0x4c, 0x18], Program::Lz4, &["-dc"]),
    (b"BZh", Program::Bzip2, &["-dc"]),
];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// What the rest of a file unpacks to.
pub(super) fn unpack(mut source: BufReader<Take<File>>) -> io::Result<Box<dyn BufRead>> {
    let head = source.fill_buf()?;
    if head.starts_with(ZSTD) {
        let decoder = zstd::stream::read::Decoder::with_buffer(source)?;
        return Ok(Box::new(BufReader::new(decoder)));
    }
    let (_, program, args) = KINDS
        .iter()
        .find(|(magic, ..)| head.starts_with(magic))
        .ok_or_else(|| wrong("it is compressed by nothing that is known"))?;
    let mut piped = program
        .pipe("unpacking an initrd", *args)
        .map_err(io::Error::other)?;
    let mut stdin = piped.stdin.take().expect("it is piped");
    // A reader that stops early ends the program, and that this; what it wrote is judged.
    std::thread::spawn(move || io::copy(&mut source, &mut stdin).is_ok());
    Ok(Box::new(BufReader::new(Unpacked(piped))))
}

/// What a program writes, which is ended with it.
struct Unpacked(crate::program::Piped);

impl Read for Unpacked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0.stdout {
            Some(stdout) => stdout.read(buffer),
            None => Ok(0),
        }
    }
}
