//! As much of ELF as tells whether a program can start somewhere, and whether two files are one
//! program. Pure.

use sha2::{Digest as _, Sha256};

/// What a program says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The names of what must be there for it to start: its interpreter and its libraries.
    pub needs: Vec<String>,
    /// What of it is loaded. Two programs that differ by this do different things; the files also
    /// differ when a maker of initrds strips what is not loaded, as dracut does.
    pub loaded: [u8; 32],
}

const LOAD: u32 = 1;
const DYNAMIC: u32 = 2;
const INTERPRETER: u32 = 3;
const NEEDED: u64 = 1;
const STRINGS: u64 = 5;

struct Segment {
    kind: u32,
    at: usize,
    address: u64,
    size: usize,
}

/// Reads a program of 64 bits, little-endian; `None` for anything else.
pub fn read(file: &[u8]) -> Option<Program> {
    let (headers, segments) = segments(file)?;
    let mut loaded = Sha256::new();
    let mut needs = Vec::new();
    for segment in &segments {
        let end = segment.at + segment.size;
        let bytes = &file[segment.at..end];
        match segment.kind {
            LOAD => {
                loaded.update(segment.address.to_le_bytes());
                loaded.update(&file[segment.at.max(headers).min(end)..end]);
            }
            INTERPRETER => needs.push(text(bytes)?),
            DYNAMIC => needs.extend(libraries(file, bytes, &segments)?),
            _ => {}
        }
    }
    for need in &mut needs {
        *need = need.rsplit('/').next()?.to_owned();
    }
    Some(Program {
        needs,
        loaded: loaded.finalize().into(),
    })
}

/// Where the headers of the segments end, and the segments. The headers also say where sections
/// are, which are not loaded.
fn segments(file: &[u8]) -> Option<(usize, Vec<Segment>)> {
    if file.get(..6)? != [0x7f, b'E', b'L', b'F', 2, 1] {
        return None;
    }
    let table = usize::try_from(u64_at(file, 0x20)?).ok()?;
    let (entry, count) = (u16_at(file, 0x36)?, u16_at(file, 0x38)?);
    let mut segments = Vec::new();
    for n in 0..usize::from(count) {
        let at = table.checked_add(n * usize::from(entry))?;
        let segment = Segment {
            kind: u32::from_le_bytes(file.get(at..at.checked_add(4)?)?.try_into().ok()?),
            at: usize::try_from(u64_at(file, at + 8)?).ok()?,
            address: u64_at(file, at + 16)?,
            size: usize::try_from(u64_at(file, at + 32)?).ok()?,
        };
        file.get(segment.at..segment.at.checked_add(segment.size)?)?;
        segments.push(segment);
    }
    let headers = table.checked_add(usize::from(entry) * usize::from(count))?;
    Some((headers, segments))
}

/// The middle of the biggest part that is loaded: what is behind it may be no more than what a
/// debugger reads.
#[cfg(test)]
pub fn middle(file: &[u8]) -> usize {
    let (_, segments) = segments(file).unwrap();
    let loaded = segments.iter().filter(|segment| segment.kind == LOAD);
    let biggest = loaded.max_by_key(|segment| segment.size).unwrap();
    biggest.at + biggest.size / 2
}

fn libraries(file: &[u8], dynamic: &[u8], segments: &[Segment]) -> Option<Vec<String>> {
    let pairs: Vec<(u64, u64)> = dynamic
        .chunks_exact(16)
        .map_while(|pair| Some((u64_at(pair, 0)?, u64_at(pair, 8)?)))
        .take_while(|(tag, _)| *tag != 0)
        .collect();
    let strings = pairs.iter().find(|(tag, _)| *tag == STRINGS)?.1;
    let holder = segments.iter().find(|segment| {
        let within = strings.checked_sub(segment.address);
        segment.kind == LOAD && within.is_some_and(|within| within < segment.size as u64)
    })?;
    let strings = holder.at + usize::try_from(strings - holder.address).ok()?;
    let needed = pairs.iter().filter(|(tag, _)| *tag == NEEDED);
    needed
        .map(|(_, at)| text(file.get(strings.checked_add(usize::try_from(*at).ok()?)?..)?))
        .collect()
}

fn text(bytes: &[u8]) -> Option<String> {
    let text = bytes.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(text).into_owned())
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_le_bytes(bytes.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This very test is a program, linked as `state` is.
    #[test]
    fn a_program_tells_what_it_needs_and_which_it_is() {
        let bytes = std::fs::read("/proc/self/exe").unwrap();
        let program = read(&bytes).unwrap();
        let is_there = |name: &str| program.needs.iter().any(|need| need.starts_with(name));
        assert!(is_there("libc.so") && is_there("ld-linux"), "{program:?}");

        // What strip(1) touches is not loaded: section headers, and where the first header says they are.
        let mut stripped = bytes.clone();
        stripped.push(0);
        stripped[0x28] ^= 1;
        assert_eq!(read(&stripped), Some(program.clone()));
        let middle = middle(&bytes);
        let mut other = bytes.clone();
        other[middle] ^= 1;
        assert_ne!(read(&other).map(|other| other.loaded), Some(program.loaded));
        for length in [0, 6, 63, 64, 300, middle] {
            assert_eq!(read(&bytes[..length]), None, "{length}");
        }
    }
}
