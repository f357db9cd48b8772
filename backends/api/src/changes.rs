//! Where two trees may differ, as far as an engine can tell without reading either.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// How much of what is at a place may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// The thing itself; of a directory, not what is in it.
    Alone,
    /// It and everything below it, in either tree.
    Whole,
}

/// The places where two trees may differ: everything that is not named here is the same in both,
/// the time of its last modification included, and has the same path.
///
/// It may name too much, never too little: whoever asks looks at these places in the two trees'
/// [`View`](crate::View)s, and nowhere else. Something that is in one tree only is named as a
/// whole; so are both paths of a directory that was renamed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Relative to the tops; empty for the tops. Whoever keeps a record asks for every path of a
    /// tree: bytes are found far sooner than paths, which are compared by components.
    places: HashMap<OsString, Extent>,
    /// Whether any is named as a whole.
    has_wholes: bool,
}

impl Changes {
    /// Nothing differs.
    pub fn none() -> Self {
        Self::default()
    }

    /// Everything may differ.
    pub fn everything() -> Self {
        let mut all = Self::default();
        all.add(PathBuf::new(), Extent::Whole);
        all
    }

    /// Names a place.
    pub fn add(&mut self, path: PathBuf, extent: Extent) {
        self.has_wholes |= extent == Extent::Whole;
        let known = self.places.entry(spelled(&path)).or_insert(extent);
        *known = extent.max(*known);
    }

    /// Whether a path is named as a whole, or lies in such a place.
    fn is_in_whole(&self, path: &Path) -> bool {
        let is_whole = |at: &Path| self.places.get(at.as_os_str()) == Some(&Extent::Whole);
        self.has_wholes && path.ancestors().any(is_whole)
    }

    /// Names the places of trees that continue these two at `at`.
    pub fn add_below(&mut self, at: &Path, below: Self) {
        for (path, extent) in below.places {
            self.add(at.join(path), extent);
        }
    }

    /// The same, seen from the directory at `top`: what is outside it is left out.
    #[must_use]
    pub fn inside(self, top: &Path) -> Self {
        if self.covers(top) == Some(Extent::Whole) {
            return Self::everything();
        }
        let inside = |(path, extent): (OsString, Extent)| {
            let path = Path::new(&path).strip_prefix(top).ok()?;
            Some((path.to_owned(), extent))
        };
        let mut changes = Self::none();
        for (path, extent) in self.places.into_iter().filter_map(inside) {
            changes.add(path, extent);
        }
        changes
    }

    /// The places in component-wise byte order, none inside another that is named as a whole.
    pub fn places(&self) -> impl Iterator<Item = (&Path, Extent)> {
        let places = self.places.iter();
        let mut places: Vec<_> = places
            .map(|(at, extent)| (Path::new(at), *extent))
            .collect();
        // Paths order by components: what is below a directory follows it at once.
        places.sort_unstable();
        let mut whole: Option<&Path> = None;
        places.into_iter().filter(move |(path, extent)| {
            if whole.is_some_and(|whole| path.starts_with(whole)) {
                return false;
            }
            if *extent == Extent::Whole {
                whole = Some(path);
            }
            true
        })
    }

    /// How much of what is at `path` may differ; `None`: it is the same in both trees. What is
    /// below it is another question, unless the answer is [`Extent::Whole`].
    pub fn covers(&self, path: &Path) -> Option<Extent> {
        match self.is_in_whole(path) {
            true => Some(Extent::Whole),
            false => self.places.get(path.as_os_str()).copied(),
        }
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

/// In walking order: equal changes look alike.
impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = self.places.iter();
        let places: BTreeMap<&Path, _> = places.map(|(at, extent)| (at.as_ref(), extent)).collect();
        f.debug_tuple("Changes").field(&places).finish()
    }
}

/// A path in the one spelling that it is found by: no slash at its end, none twice.
fn spelled(path: &Path) -> OsString {
    path.components().collect::<PathBuf>().into_os_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(places: &[(&str, Extent)]) -> Changes {
        let mut changes = Changes::none();
        for (path, extent) in places {
            changes.add(path.into(), *extent);
        }
        changes
    }

    #[test]
    fn what_lies_in_a_whole_is_named_once_and_in_walking_order() {
        use Extent::{Alone, Whole};
        let changes = changes(&[
            ("a b", Alone),
            ("a/c/d", Whole),
            ("a", Alone),
            ("a/c", Alone),
            ("a/c", Whole),
            ("a/c", Alone),
            ("a/c/b", Whole),
        ]);
        let places: Vec<_> = changes.places().collect();
        let path = Path::new;
        let expected = [
            (path("a"), Alone),
            (path("a/c"), Whole),
            (path("a b"), Alone),
        ];
        assert_eq!(places, expected);
        for (at, covered) in [
            ("", None),
            ("a", Some(Alone)),
            ("a/b", None),
            ("a/c", Some(Whole)),
            ("a/c/d/e", Some(Whole)),
            ("a/c/b", Some(Whole)),
            ("a/cc", None),
            ("a b/c", None),
        ] {
            assert_eq!(changes.covers(Path::new(at)), covered, "{at}");
        }
        assert!(!changes.is_empty() && Changes::none().is_empty());
    }

    #[test]
    fn in_whatever_order_places_are_named() {
        let paths: Vec<String> = ["", "a", "a b", "a/a", "a/b", "b", "b/a"]
            .iter()
            .flat_map(|top| [top.to_string(), format!("{top}/a"), format!("{top}/b/a")])
            .map(|path| path.trim_start_matches('/').to_owned())
            .collect();
        let mut seed = 1_u64;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as usize % below
        };
        for _ in 0..500 {
            let mut named: Vec<(PathBuf, Extent)> = Vec::new();
            let mut changes = Changes::none();
            for _ in 0..random(9) {
                let extent = [Extent::Alone, Extent::Whole][random(2)];
                named.push((paths[random(paths.len())].as_str().into(), extent));
                let (path, extent) = named.last().unwrap().clone();
                changes.add(path, extent);
            }
            for path in paths.iter().map(Path::new) {
                let is_there = |(at, extent): &&(PathBuf, Extent)| match extent {
                    Extent::Whole => path.starts_with(at),
                    Extent::Alone => path == at,
                };
                let extent = named.iter().filter(is_there).map(|(_, extent)| *extent);
                assert_eq!(changes.covers(path), extent.max(), "{path:?} of {named:?}");
            }
        }
    }

    #[test]
    fn a_place_is_found_however_it_was_spelled() {
        let named = changes(&[("a//b/", Extent::Alone), ("c/./d", Extent::Whole)]);
        assert_eq!(named.covers(Path::new("a/b")), Some(Extent::Alone));
        assert_eq!(named.covers(Path::new("c/d/e")), Some(Extent::Whole));
        assert_eq!(named.covers(Path::new("c")), None);
        let told = r#"Changes({"a/b": Alone, "c/d": Whole})"#;
        assert_eq!(format!("{named:?}"), told);
    }

    #[test]
    fn trees_are_put_together_and_seen_from_inside() {
        use Extent::{Alone, Whole};
        let mut all = changes(&[("var", Alone), ("etc", Whole)]);
        all.add_below(Path::new("var/lib"), changes(&[("", Alone), ("x", Whole)]));
        let expected = changes(&[
            ("etc", Whole),
            ("var", Alone),
            ("var/lib", Alone),
            ("var/lib/x", Whole),
        ]);
        assert_eq!(all, expected);
        let inside = |top: &str| all.clone().inside(Path::new(top));
        assert_eq!(inside(""), all);
        assert_eq!(inside("var/lib"), changes(&[("", Alone), ("x", Whole)]));
        assert_eq!(inside("etc/ssh"), Changes::everything());
        assert_eq!(inside("srv"), Changes::none());
    }
}
