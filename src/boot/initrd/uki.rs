//! Unified kernel images: the initrd is a section of a PE file.

use super::wrong;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

/// Goes to where the initrd begins; how long it is. A file that is no PE is one as a whole.
pub(super) fn seek_initrd(file: &mut File) -> io::Result<u64> {
    let mut head = Vec::new();
    file.by_ref().take(1 << 16).read_to_end(&mut head)?;
    let (start, size) = match head.starts_with(b"MZ") {
        false => (0, u64::MAX),
        true => section(&head).ok_or_else(|| wrong("it has no initrd in it"))?,
    };
    file.seek(SeekFrom::Start(start))?;
    Ok(size)
}

/// Where the section `.initrd` is, and its size without padding.
fn section(head: &[u8]) -> Option<(u64, u64)> {
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
        let is_initrd = head.get(at..at + 8)? == b".initrd\0";
        let size = u32_at(at + 8)?.min(u32_at(at + 16)?);
        is_initrd.then_some((u32_at(at + 20)?.into(), size.into()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `ukify` lays them out: headers, then sections at multiples of 512.
    #[test]
    fn the_section_is_found_and_nothing_else() {
        let mut image = vec![0; 0x200];
        image[..2].copy_from_slice(b"MZ");
        image[0x3c] = 0x80;
        image[0x80..0x84].copy_from_slice(b"PE\0\0");
        image[0x86] = 2; // sections
        image[0x94] = 16; // the optional header
        for (n, name) in [b".linux\0\0", b".initrd\0"].into_iter().enumerate() {
            let at = 0x80 + 24 + 16 + n * 40;
            image[at..at + 8].copy_from_slice(name);
            image[at + 8] = 5; // its size
            image[at + 17] = 2; // as it lies in the file: 0x200
            image[at + 20..at + 22].copy_from_slice(&[0, 2 + 2 * u8::try_from(n).unwrap()]);
        }
        assert_eq!(section(&image), Some((0x400, 5)));
        // Up to the end of the second section's header.
        for length in 0..0x80 + 24 + 16 + 40 + 24 {
            assert_eq!(section(&image[..length]), None, "{length}");
        }
        image[0x82] = 1;
        assert_eq!(section(&image), None);
    }
}
