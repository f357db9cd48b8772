//! The order of a manifest's records, and what it proves.

use super::{Digest, Record, What};
use crate::archive::Bad;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Component-wise byte order: every directory right before what lies in it.
pub fn order(a: &[u8], b: &[u8]) -> Ordering {
    // No name holds a NUL: a slash in its place sorts before every byte of a longer name.
    let key = |b: &u8| if *b == b'/' { 0 } else { *b };
    // Neighbours share most of their paths.
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    a.get(same).map(key).cmp(&b.get(same).map(key))
}

/// Whether `path` is `top` or lies below it. Everything lies below the empty path.
pub fn is_in(path: &[u8], top: &[u8]) -> bool {
    let rest = path.strip_prefix(top);
    top.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// The directories above `path` but for the top, the outermost first.
pub fn above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = (0..path.len()).filter(|n| path[*n] == b'/');
    slashes.map(|n| &path[..n])
}

/// Watches the records of a manifest pass in order.
///
/// After it has seen them all, every path came once per store, below directories of its store
/// that came before; only directories are in several stores; and every further name is one of a
/// file, pipe or symlink of the same store that came before. Nothing can be reached through a
/// symlink.
#[derive(Debug, Default)]
pub struct Order {
    last: Option<Last>,
    /// Per store, the directories that lead to the last record.
    open: Vec<Vec<Vec<u8>>>,
    /// Per store, the paths that have further names, and the digests of those with content.
    linked: Vec<BTreeMap<Vec<u8>, Option<Digest>>>,
}

/// What a record says of its place.
#[derive(Debug)]
struct Last {
    path: Vec<u8>,
    store: usize,
    is_directory: bool,
    /// Where its member is.
    at: (usize, u64),
}

impl Order {
    /// For a manifest with so many stores.
    pub fn new(stores: usize) -> Self {
        Self {
            last: None,
            open: vec![Vec::new(); stores],
            linked: vec![BTreeMap::new(); stores],
        }
    }

    /// Takes the next record in. Says whether it has a member of its own in the tar: a directory
    /// that another store has too came with that one.
    ///
    /// # Errors
    /// It may not stand here.
    pub fn next(&mut self, record: &Record) -> Result<bool, Bad> {
        let is_directory = record.what == What::Directory;
        let path = &record.path;
        let open = (self.open.get_mut(record.store)).ok_or("a store that is none")?;
        let at = (record.archive, record.offset);
        let is_new = match &self.last {
            None => true,
            Some(last) => match order(&last.path, path) {
                Ordering::Less => true,
                Ordering::Equal if last.store >= record.store => {
                    return Err("a path that comes twice".into());
                }
                Ordering::Equal if !(is_directory && last.is_directory) => {
                    return Err("a path of two stores that is no directory".into());
                }
                Ordering::Equal if last.at != at => {
                    return Err("a directory of two stores in two places".into());
                }
                Ordering::Equal => false,
                Ordering::Greater => return Err("paths that are out of order".into()),
            },
        };
        if path.is_empty() {
            if !is_directory {
                return Err("a store whose top is no directory".into());
            }
        } else {
            if path.starts_with(b".state/") || path == b".state" {
                return Err("a path that is reserved".into());
            }
            let parent = path.rsplitn(2, |b| *b == b'/').nth(1).unwrap_or_default();
            while open.last().is_some_and(|dir| dir != parent) {
                open.pop();
            }
            if open.is_empty() {
                return Err("a path that does not lie in a directory before it".into());
            }
        }
        if is_directory {
            open.push(path.clone());
        }
        let linked = &mut self.linked[record.store];
        match &record.what {
            What::Link { target } if !linked.contains_key(target) => {
                return Err("a further name of nothing that came before".into());
            }
            What::Directory | What::Link { .. } => {}
            What::File { sha256, .. } if record.has_links => {
                linked.insert(path.clone(), Some(*sha256));
            }
            What::Symlink { .. } | What::Fifo if record.has_links => {
                linked.insert(path.clone(), None);
            }
            _ => {}
        }
        self.last = Some(Last {
            path: path.clone(),
            store: record.store,
            is_directory,
            at,
        });
        Ok(is_new)
    }

    /// The digest of the content of a record that [`Order::next`] took in, if it has content.
    pub fn digest(&self, record: &Record) -> Option<Digest> {
        match &record.what {
            What::File { sha256, .. } => Some(*sha256),
            What::Link { target } => *self.linked.get(record.store)?.get(target)?,
            _ => None,
        }
    }
}
