//! The manifest of the archive that another one builds on, gone through beside the newer tree.

use super::Result;
use super::manifest::{Record, What, is_in, order};
use super::member::{name, path_of};
use super::older::{Older, Spots};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

/// The path of the list of what is gone.
pub const DELETED: &[u8] = b".state/deleted";

/// The older manifest beside a newer tree whose paths come in order.
///
/// Says of every path what the older manifest has there, and notes what is gone: each path that
/// is no more, or is a directory no more, or has become one. What lies below a noted path is gone
/// with it and not noted.
pub struct Base<'a> {
    older: Older<'a>,
    /// Where the newer tree may differ: what is elsewhere is passed over, and is not gone.
    spots: Option<Spots>,
    /// The older records of the path that was asked for last.
    here: Vec<Record>,
    /// The last path noted.
    top: Option<Vec<u8>>,
    gone: Vec<u8>,
    /// Whether a record is gone that the newer tree has not come to.
    is_gone: &'a dyn Fn(&Record) -> bool,
}

impl<'a> Base<'a> {
    /// At the beginning of both.
    ///
    /// `is_gone` is asked of what the newer tree does not come to: a walk of a part of it leaves
    /// out what is the same. `spots` says where it need not be asked.
    pub fn new(
        older: Older<'a>,
        spots: Option<Spots>,
        is_gone: &'a dyn Fn(&Record) -> bool,
    ) -> Self {
        Self {
            older,
            spots,
            here: Vec::new(),
            top: None,
            gone: Vec::new(),
            is_gone,
        }
    }

    /// Goes to `path` of the newer tree. Asking for the same path again changes nothing.
    ///
    /// # Errors
    /// The older manifest cannot be read.
    pub fn go(&mut self, path: &[u8], is_directory: bool) -> Result<()> {
        if self.here.first().is_some_and(|here| here.path == path) {
            return Ok(());
        }
        self.here.clear();
        self.pass(Some(path))?;
        while (self.older.peek()?).is_some_and(|(older, _)| *older == *path) {
            self.here.extend(self.older.take()?);
        }
        let first = self.here.first();
        if first.is_some_and(|first| (first.what == What::Directory) != is_directory) {
            self.note(path);
        }
        Ok(())
    }

    /// What has been noted since this was asked last, as `.state/deleted` has it.
    pub fn gone(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.gone)
    }

    /// What the older manifest has at the path that was asked for last, in this store.
    pub fn here(&self, store: usize) -> Option<&Record> {
        self.here.iter().find(|record| record.store == store)
    }

    /// Whether other stores than these had something at `path`, the path that was asked for last,
    /// and have it no longer.
    pub fn has_others(&self, path: &[u8], stores: &[usize]) -> bool {
        let is_other = |r: &&Record| r.path == path && !stores.contains(&r.store);
        self.here.iter().filter(is_other).any(|r| (self.is_gone)(r))
    }

    /// There is nothing more in the newer tree.
    ///
    /// # Errors
    /// The older manifest cannot be read.
    pub fn end(&mut self) -> Result<()> {
        self.pass(None)
    }

    /// Passes by what comes before the path `end`, or all that is left.
    fn pass(&mut self, end: Option<&[u8]>) -> Result<()> {
        loop {
            if let Some(spots) = &mut self.spots {
                while self.older.stretch(spots, end)?.is_some() {}
            }
            let next = self.older.peek()?;
            let is_before = |(path, _): &(Cow<'_, [u8]>, usize)| {
                end.is_none_or(|end| order(path, end) == Ordering::Less)
            };
            if !next.as_ref().is_some_and(is_before) {
                return Ok(());
            }
            if let Some(older) = self.older.take()?
                && (self.is_gone)(&older)
            {
                self.note(&older.path);
            }
        }
    }

    fn note(&mut self, path: &[u8]) {
        if !self.top.as_ref().is_some_and(|top| is_in(path, top)) {
            self.gone.extend(name(path));
            self.gone.push(0);
            self.top = Some(path.to_vec());
        }
    }
}

impl fmt::Debug for Base<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Base")
            .field("here", &self.here)
            .finish_non_exhaustive()
    }
}

/// Whether `line`, with its NUL, may stand in `.state/deleted` behind `last`.
pub fn is_deletable(line: &[u8], last: Option<&[u8]>) -> bool {
    let path = line.strip_suffix(&[0]).map(path_of);
    let Some(Ok(path)) = path else { return false };
    let is_reserved = path == b".state" || path.starts_with(b".state/");
    let is_next = last.is_none_or(|last| {
        let last = last.strip_suffix(&[0]).and_then(|last| path_of(last).ok());
        last.is_some_and(|last| order(last, path).is_lt())
    });
    !path.is_empty() && !is_reserved && is_next
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::member::Extra;
    use crate::archive::pax::Time;

    fn record((path, is_directory): &(&str, bool)) -> Result<Record> {
        Ok(Record {
            path: path.as_bytes().to_vec(),
            store: 0,
            what: if *is_directory {
                What::Directory
            } else {
                What::Fifo
            },
            mode: 0,
            uid: 0,
            gid: 0,
            modified: Time::default(),
            extra: Extra::default(),
            has_links: false,
            archive: 0,
            offset: 0,
            inode: 0,
            changed: Time::default(),
        })
    }

    fn gone(older: &[(&str, bool)], newer: &[(&str, bool)]) -> Vec<String> {
        let mut base = Base::new(Older::records(older.iter().map(record)), None, &|_| true);
        for (path, is_directory) in newer {
            base.go(path.as_bytes(), *is_directory).unwrap();
            base.go(path.as_bytes(), *is_directory).unwrap();
        }
        base.end().unwrap();
        let gone = String::from_utf8(base.gone()).unwrap();
        gone.split_inclusive('\0').map(str::to_owned).collect()
    }

    #[test]
    fn what_is_gone_is_noted_once_at_its_top() {
        let (dir, other) = (true, false);
        let older = [
            ("", dir),
            ("a", dir),
            ("a/b", dir),
            ("a/b/c", other),
            ("a-b", other),
            ("d", dir),
            ("d/e", other),
            ("f", other),
        ];
        assert_eq!(gone(&older, &older), Vec::<String>::new());
        let newer = [
            ("", dir),
            ("a", dir),
            ("d", other),
            ("f", dir),
            ("f/g", dir),
        ];
        assert_eq!(
            gone(&older, &newer),
            ["./a/b\0", "./a-b\0", "./d\0", "./f\0"]
        );
        let renamed = [("", dir), ("a", dir), ("a/bb", dir), ("z", other)];
        assert_eq!(
            gone(&older, &renamed),
            ["./a/b\0", "./a-b\0", "./d\0", "./f\0"]
        );
        assert_eq!(gone(&[], &newer), Vec::<String>::new());
    }

    #[test]
    fn the_list_holds_only_paths_of_the_tree() {
        for (line, is_fine) in [
            (&b"./a\0"[..], true),
            (b"./a/b\0", true),
            (b"./a", false),
            (b"/a\0", false),
            (b"a\0", false),
            (b"./\0", false),
            (b"./..\0", false),
            (b"./a/../../b\0", false),
            (b"./.state\0", false),
            (b"./.state/manifest.json\0", false),
        ] {
            assert_eq!(is_deletable(line, None), is_fine, "{line:?}");
        }
        assert!(is_deletable(b"./b\0", Some(b"./a\0")));
        assert!(!is_deletable(b"./a\0", Some(b"./a\0")));
        assert!(!is_deletable(b"./a\0", Some(b"./b\0")));
    }
}
