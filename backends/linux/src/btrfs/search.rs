//! Searching the filesystem's trees.

use linux_raw_sys::btrfs as b;
use linux_raw_sys::ioctl as ops;
use rustix::io::Errno;
use rustix::ioctl::{self, Ioctl, IoctlOutput, Opcode};
use std::ffi::c_void;
use std::fmt;
use std::io;
use std::mem::zeroed;
use std::os::fd::AsFd;

/// Where an item is in its tree: object, type, offset. Trees are in this order.
pub(super) type Key = (u64, u8, u64);

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    /// The tree.
    pub tree: u64,
    /// The first key.
    pub from: Key,
    /// The last key.
    pub to: Key,
    /// Only items in tree blocks that this transaction or a later one wrote.
    pub since: u64,
}

/// The room for what one search call answers. No item is as big as that: the biggest fills a
/// tree block, which has 64 KiB at most.
const BUFFER: usize = 128 << 10;

#[repr(C, align(8))]
struct SearchArgs {
    key: b::btrfs_ioctl_search_key,
    buf_size: u64,
    buffer: [u8; BUFFER],
}

/// `BTRFS_IOC_TREE_SEARCH_V2`, whose argument is longer than its declared type.
struct Search<'a>(&'a mut SearchArgs);

// SAFETY: the kernel reads the key and `buf_size` and writes at most `buf_size` bytes behind
// them, which is the length of `buffer`.
unsafe impl Ioctl for Search<'_> {
    type Output = ();
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        ops::BTRFS_IOC_TREE_SEARCH_V2
    }

    fn as_ptr(&mut self) -> *mut c_void {
        (&raw mut *self.0).cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}

/// Searches with room of its own, which several searches can share.
pub struct Searcher<Fd> {
    file: Fd,
    args: Box<SearchArgs>,
}

impl<Fd: AsFd> Searcher<Fd> {
    /// For the filesystem that `file` is on.
    pub fn new(file: Fd) -> Self {
        let args = SearchArgs {
            // SAFETY: the structure is plain integers, for which all zeros are a value.
            key: unsafe { zeroed() },
            buf_size: 0,
            buffer: [0; BUFFER],
        };
        Self {
            file,
            args: Box::new(args),
        }
    }

    /// Calls `found` with the key and the data of every item in `range`, in their order.
    pub(super) fn search(
        &mut self,
        range: Range,
        mut found: impl FnMut(Key, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut next = Some(range.from);
        while let Some(from) = next {
            self.ask(range, from)?;
            next = None;
            let mut rest = self.args.buffer.as_slice();
            for _ in 0..self.args.key.nr_items {
                let (key, data, after) = item(rest).ok_or(Errno::IO)?;
                rest = after;
                next = behind(key).filter(|next| *next <= range.to);
                found(key, data)?;
            }
        }
        Ok(())
    }

    fn ask(&mut self, range: Range, from: Key) -> io::Result<()> {
        let key = &mut self.args.key;
        key.tree_id = range.tree;
        (key.min_objectid, key.max_objectid) = (from.0, range.to.0);
        (key.min_type, key.max_type) = (from.1.into(), range.to.1.into());
        (key.min_offset, key.max_offset) = (from.2, range.to.2);
        (key.min_transid, key.max_transid) = (range.since, u64::MAX);
        key.nr_items = u32::MAX;
        self.args.buf_size = BUFFER as u64;
        // SAFETY: see `Search`.
        Ok(unsafe { ioctl::ioctl(self.file.as_fd(), Search(&mut self.args)) }?)
    }
}

impl<Fd: fmt::Debug> fmt::Debug for Searcher<Fd> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Searcher")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// The first item of an answer, and what follows it.
fn item(answer: &[u8]) -> Option<(Key, &[u8], &[u8])> {
    const HEADER: usize = size_of::<b::btrfs_ioctl_search_header>();
    let (header, after) = answer.split_at_checked(HEADER)?;
    // SAFETY: the slice has the header's length, and any bytes are a value of it.
    let header: b::btrfs_ioctl_search_header = unsafe {
        header
            .as_ptr()
            .cast::<b::btrfs_ioctl_search_header>()
            .read_unaligned()
    };
    let (data, after) = after.split_at_checked(header.len as usize)?;
    let kind = u8::try_from(header.type_).ok()?;
    Some(((header.objectid, kind, header.offset), data, after))
}

/// The key right behind another.
fn behind((object, kind, offset): Key) -> Option<Key> {
    if let Some(offset) = offset.checked_add(1) {
        return Some((object, kind, offset));
    }
    match kind.checked_add(1) {
        Some(kind) => Some((object, kind, 0)),
        None => Some((object.checked_add(1)?, 0, 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    #[test]
    fn our_search_arguments_have_the_kernels_layout() {
        assert_eq!(
            offset_of!(SearchArgs, buf_size),
            offset_of!(b::btrfs_ioctl_search_args_v2, buf_size)
        );
        assert_eq!(
            offset_of!(SearchArgs, buffer),
            offset_of!(b::btrfs_ioctl_search_args_v2, buf)
        );
    }

    #[test]
    fn every_key_has_one_right_behind_it_but_the_last() {
        const LAST: u64 = u64::MAX;
        for (key, next) in [
            ((7, 1, 0), Some((7, 1, 1))),
            ((7, 1, LAST), Some((7, 2, 0))),
            ((7, 255, LAST), Some((8, 0, 0))),
            ((LAST, 255, LAST), None),
        ] {
            assert_eq!(behind(key), next);
        }
    }

    #[test]
    fn an_answer_that_was_cut_holds_no_item() {
        let mut answer = Vec::new();
        answer.extend_from_slice(&9_u64.to_ne_bytes()); // transid
        answer.extend_from_slice(&257_u64.to_ne_bytes());
        answer.extend_from_slice(&4_u64.to_ne_bytes());
        answer.extend_from_slice(&12_u32.to_ne_bytes());
        answer.extend_from_slice(&3_u32.to_ne_bytes());
        answer.extend_from_slice(b"abcrest");
        let expected = ((257, 12, 4), &b"abc"[..], &b"rest"[..]);
        assert_eq!(item(&answer), Some(expected));
        for length in 0..35 {
            assert_eq!(item(&answer[..length]), None, "{length}");
        }
    }
}
