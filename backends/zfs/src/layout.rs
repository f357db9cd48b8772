//! The names one machine's root goes by.

use crate::name::{check_dataset, check_short};
use serde::Serialize;
use state_api::{BadName, PastRootName};
use std::path::PathBuf;

/// The user property that says a past root is pinned.
pub(crate) const PINNED: &str = "org.state:pinned";
/// Prefix of the user properties that hold a value a new root gets when its reset is complete.
pub(crate) const PENDING: &str = "org.state:pending-";
/// Short name of the snapshot of a past root that a root was made from.
pub(crate) const SOURCE: &str = "state-source";

/// Root, its blank and its past roots, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Layout {
    /// The root dataset.
    pub root: String,
    /// The blank snapshot's short name.
    pub blank: String,
    /// The dataset that past roots are children of: a sibling of root.
    pub past_roots: String,
    /// Where stores are mounted, and datasets that hold them: none of them may go with root.
    pub protected_paths: Vec<PathBuf>,
    pub protected: Vec<String>,
}

impl Layout {
    pub(crate) fn new(root: &str, blank: &str) -> Result<Self, BadName> {
        check_dataset(root)?;
        check_short(blank)?;
        let parent = root.rsplit_once('/').map_or(root, |(parent, _)| parent);
        let past_roots = format!("{parent}/past-roots");
        if past_roots == root {
            return Err(BadName {
                name: root.to_owned(),
                why: "past roots are kept under that name",
            });
        }
        Ok(Self {
            root: root.to_owned(),
            blank: blank.to_owned(),
            past_roots,
            protected_paths: Vec::new(),
            protected: Vec::new(),
        })
    }

    pub(crate) fn pool(&self) -> &str {
        self.root.split('/').next().unwrap_or(&self.root)
    }

    /// Whether root is the pool's own dataset, which cannot be renamed.
    pub(crate) fn is_top_level(&self) -> bool {
        self.pool() == self.root
    }

    /// Where a root of several datasets is made before it gets root's name. Nobody else has a
    /// reason to call anything that.
    pub(crate) fn staging(&self) -> String {
        format!("{}.state-new", self.root)
    }

    pub(crate) fn past(&self, name: &PastRootName) -> String {
        format!("{}/{name}", self.past_roots)
    }

    /// The name of a past root, if `dataset` is one (and not something below one).
    pub(crate) fn past_name(&self, dataset: &str) -> Option<PastRootName> {
        below(&self.past_roots, dataset)?
            .strip_prefix('/')?
            .parse()
            .ok()
    }

    /// The blank that is being taken, before it gets its name.
    pub(crate) fn next(&self) -> String {
        format!("{}-next", self.blank)
    }

    /// The blank that was replaced.
    pub(crate) fn previous(&self) -> String {
        format!("{}-previous", self.blank)
    }
}

/// What `name` adds to `top`: empty for `top` itself, `/a/b` for what is below, else `None`.
pub(crate) fn below<'a>(top: &str, name: &'a str) -> Option<&'a str> {
    let rest = name.strip_prefix(top)?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

/// The dataset of a snapshot's or bookmark's full name, and its short name.
pub(crate) fn split(snapshot: &str) -> (&str, &str) {
    snapshot.split_once(['@', '#']).unwrap_or((snapshot, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_roots_are_siblings_of_root() {
        let layout = Layout::new("rpool/local/my root", "blank").unwrap();
        assert_eq!(layout.pool(), "rpool");
        assert_eq!(layout.past_roots, "rpool/local/past-roots");
        let name: PastRootName = "19700101T000007Z-6d3f20c1".parse().unwrap();
        let past = layout.past(&name);
        assert_eq!(past, "rpool/local/past-roots/19700101T000007Z-6d3f20c1");
        assert_eq!(layout.past_name(&past), Some(name));
    }

    #[test]
    fn only_direct_children_with_our_letters_are_past_roots() {
        let layout = Layout::new("rpool/root", "blank").unwrap();
        for dataset in [
            "rpool/past-roots",
            "rpool/past-roots/a/b",
            "rpool/past-roots/a b",
            "rpool/past-roots-a",
            "rpool/root",
        ] {
            assert_eq!(layout.past_name(dataset), None, "{dataset}");
        }
    }

    #[test]
    fn names_that_cannot_work_are_refused() {
        for (root, blank) in [
            ("rpool/past-roots", "blank"),
            ("rpool/root@blank", "blank"),
            ("rpool/root", "a/b"),
            ("rpool/root", ""),
        ] {
            assert!(Layout::new(root, blank).is_err(), "{root} {blank}");
        }
        assert!(Layout::new("rpool", "blank").unwrap().is_top_level());
    }

    #[test]
    fn below_stops_at_slashes() {
        assert_eq!(below("p/a", "p/a"), Some(""));
        assert_eq!(below("p/a", "p/a/b"), Some("/b"));
        assert_eq!(below("p/a", "p/ab"), None);
        assert_eq!(split("p/a@s"), ("p/a", "s"));
        assert_eq!(split("p/a#b"), ("p/a", "b"));
    }
}
