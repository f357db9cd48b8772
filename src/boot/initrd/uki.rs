//! Unified kernel images: the initrd is a section of a PE file, and so is the kernel command line.

use super::wrong;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

const INITRD: &[u8; 8] = b".initrd\0";
const COMMAND_LINE: &[u8; 8] = b".cmdline";

/// Goes to where the initrd begins; how long it is. A file that is no PE is one as a whole.
pub(super) fn seek_initrd(file: &mut File) -> io::Result<u64> {
    let head = head(file)?;
    let (start, size) = match head.starts_with(b"MZ") {
        false => (0, u64::MAX),
        true => section(&head, INITRD).ok_or_else(|| wrong("it has no initrd in it"))?,
    };
    file.seek(SeekFrom::Start(start))?;
    Ok(size)
}

/// The kernel command line that an image brings with it; `None` where the boot loader gives one.
///
/// # Errors
/// It cannot be read.
pub fn command_line(file: &mut File) -> io::Result<Option<String>> {
    let head = head(file)?;
    let Some((start, size)) = section(&head, COMMAND_LINE) else {
        return Ok(None);
    };
    file.seek(SeekFrom::Start(start))?;
    let mut text = Vec::new();
    file.take(size.min(1 << 16)).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    Ok(Some(text.trim_end_matches('\0').to_owned()))
}

fn head(file: &mut File) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    file.take(1 << 16).read_to_end(&mut head)?;
    Ok(head)
}

/// Where a section is, and its size without padding.
fn section(head: &[u8], name: &[u8; 8]) -> Option<(u64, u64)> {
    let u16_at = |at: usize| {
        let bytes = head.get(at..at.checked_add(2)?)?;
        Some(u16::from_le_bytes(bytes.try_into().ok()?))
    };
    let u32_at = |at: usize| {
        let bytes = head.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let pe = u32_at(0x3c)? as usize;
    if head.get(pe..pe.checked_add(4)?)? != b"PE\0\0" {
        return None;
    }
    let sections = usize::from(u16_at(pe + 6)?);
    let table = pe + 24 + usize::from(u16_at(pe + 20)?);
    (0..sections).find_map(|n| {
        let at = table + n * 40;
        let is_it = head.get(at..at + 8)? == name;
        let size = u32_at(at + 8)?.min(u32_at(at + 16)?);
        is_it.then_some((u32_at(at + 20)?.into(), size.into()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    /// As `ukify` lays them out: headers, then sections at multiples of 512.
    #[test]
    fn the_section_is_found_and_nothing_else() {
        let mut image = vec![0; 0x200];
        image[..2].copy_from_slice(b"MZ");
        image[0x3c] = 0x80;
        image[0x80..0x84].copy_from_slice(b"PE\0\0");
        image[0x86] = 2; // sections
        image[0x94] = 16; // the optional header
        for (n, name) in [COMMAND_LINE, INITRD].into_iter().enumerate() {
            let at = 0x80 + 24 + 16 + n * 40;
            image[at..at + 8].copy_from_slice(name);
            image[at + 8] = 5; // its size
            image[at + 17] = 2; // as it lies in the file: 0x200
            image[at + 20..at + 22].copy_from_slice(&[0, 2 + 2 * u8::try_from(n).unwrap()]);
        }
        image.resize(0x400, 0);
        image[0x200..0x205].copy_from_slice(b"ro x\0");
        let read = |image: &[u8]| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(image).unwrap();
            file.rewind().unwrap();
            command_line(&mut file).unwrap()
        };
        assert_eq!(section(&image, INITRD), Some((0x400, 5)));
        assert_eq!(read(&image).as_deref(), Some("ro x"));
        assert_eq!(read(b"no image"), None);
        // Up to the end of the second section's header.
        for length in 0..0x80 + 24 + 16 + 40 + 24 {
            assert_eq!(section(&image[..length], INITRD), None, "{length}");
        }
        image[0x82] = 1;
        assert_eq!(section(&image, INITRD), None);
    }
}
