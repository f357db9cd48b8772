//! Places in a tree, gone along in order.

use crate::archive::manifest::{is_in, order};
use state_api::{Changes, Extent};
use std::cmp::Ordering;
use std::os::unix::ffi::OsStrExt;

/// The places of one or several [`Changes`], for whoever asks about paths in order.
#[derive(Debug)]
pub struct Spots {
    /// In order.
    all: Vec<(Vec<u8>, Extent)>,
    at: usize,
}

impl Spots {
    /// The places of all of these.
    pub fn of<'c>(changes: impl IntoIterator<Item = &'c Changes>) -> Self {
        let places = changes.into_iter().flat_map(Changes::places);
        let mut all: Vec<_> = places
            .map(|(path, extent)| (path.as_os_str().as_bytes().to_vec(), extent))
            .collect();
        // Of one path the larger extent comes first, and is what is found.
        all.sort_unstable_by(|(a, x), (b, y)| order(a, b).then(y.cmp(x)));
        all.dedup_by(|(next, _), (path, _)| next == path);
        Self { all, at: 0 }
    }

    /// Whether `path` is one of the places, or lies in one that is named as a whole. Paths are
    /// asked for in order.
    pub(super) fn are_about(&mut self, path: &[u8]) -> bool {
        while let Some((spot, extent)) = self.all.get(self.at) {
            let is_inside = *extent == Extent::Whole && is_in(path, spot);
            match order(spot, path) {
                Ordering::Less if is_inside => return true,
                Ordering::Less => self.at += 1,
                Ordering::Equal => return true,
                Ordering::Greater => return false,
            }
        }
        false
    }

    /// The next place behind the path that was asked for last, if that was in none.
    pub(super) fn next(&self) -> Option<&[u8]> {
        self.all.get(self.at).map(|(spot, _)| spot.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn they_say_what_the_changes_say() {
        use Extent::{Alone, Whole};
        let (mut one, mut other) = (Changes::none(), Changes::none());
        for (path, extent) in [("a", Alone), ("a/c", Whole), ("b", Whole), ("z", Alone)] {
            one.add(PathBuf::from(path), extent);
        }
        for (path, extent) in [("a/c", Alone), ("b/c", Alone), ("m", Whole)] {
            other.add(PathBuf::from(path), extent);
        }
        let mut spots = Spots::of([&one, &other]);
        let paths = [
            "", "a", "a/b", "a/c", "a/c/d", "a/c/d/e", "a/d", "a-b", "b", "b/c", "b/d", "b0", "m",
            "m/m", "n", "z", "z/a",
        ];
        assert!(paths.is_sorted_by(|a, b| order(a.as_bytes(), b.as_bytes()).is_lt()));
        for path in paths {
            let covers = |changes: &Changes| changes.covers(path.as_ref()).is_some();
            let wanted = covers(&one) || covers(&other);
            assert_eq!(spots.are_about(path.as_bytes()), wanted, "{path:?}");
        }
        let mut all = Spots::of([&Changes::everything()]);
        assert!(all.are_about(b"") && all.are_about(b"a") && all.are_about(b"a/b"));
    }
}
