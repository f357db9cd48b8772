//! What of a store goes into an archive: the declared entries and the directories that lead to
//! them.

use crate::persist::PersistTree;
use globset::GlobSet;
use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What becomes of one path of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// It is archived.
    Take,
    /// If it is a directory, it is archived because it leads to something; else it is left.
    Lead,
    /// Nobody declared it.
    Orphan,
    /// It belongs to another store, is excluded, or is ours.
    Leave,
}

/// What of one store is archived. Paths are relative to `/` and so to the store.
#[derive(Debug, Clone)]
pub struct Selection {
    declared: BTreeSet<PathBuf>,
    /// Every declared path as it is spelled, and whether it is declared here: it is looked for
    /// above each path of the tree, and bytes are found sooner than paths.
    holders: HashMap<OsString, bool>,
    exclude: GlobSet,
    /// Whether what is below a declared path has to be declared itself.
    is_exact: bool,
}

/// Where a store has what is merged with the configuration: beside its copy.
const DROP_INS: &str = "etc/state/state.d";

/// Relative to the store, in the spelling of a walk's paths.
fn relative(path: &Path) -> PathBuf {
    let path = path.strip_prefix("/").unwrap_or(path);
    path.components().collect()
}

impl Selection {
    /// The entries of `store`, without what `exclude` matches on the machine.
    pub fn of(tree: &PersistTree, store: &Path, exclude: GlobSet) -> Self {
        let mut selection = Self {
            declared: BTreeSet::new(),
            holders: HashMap::new(),
            exclude,
            is_exact: false,
        };
        for entry in tree.entries() {
            let path = relative(&entry.path);
            let is_here = entry.store == store;
            let holder = selection.holders.entry(path.clone().into_os_string());
            *holder.or_insert(is_here) |= is_here;
            if is_here {
                selection.declared.insert(path);
            }
        }
        selection
    }

    /// A selection of everything.
    pub fn all() -> Self {
        Self {
            declared: [PathBuf::new()].into(),
            holders: [(OsString::new(), true)].into(),
            exclude: GlobSet::empty(),
            is_exact: false,
        }
    }

    /// A selection of these paths and of nothing else: of a directory among them, only what is
    /// among them too.
    pub fn exactly(paths: BTreeSet<PathBuf>) -> Self {
        Self {
            declared: paths,
            is_exact: true,
            ..Self::all()
        }
    }

    /// The declared paths.
    pub fn declared(&self) -> &BTreeSet<PathBuf> {
        &self.declared
    }

    /// What becomes of `path`.
    pub fn choose(&self, path: &Path) -> Choice {
        if path.as_os_str().is_empty() {
            return Choice::Lead;
        }
        // Ours, and what mkfs makes at the top of ext4.
        if path.starts_with(".state") || path == Path::new("lost+found") {
            return Choice::Leave;
        }
        if self.is_exact {
            let mut below = self.declared.range(path.to_owned()..);
            return match below.next() {
                Some(next) if next == path => Choice::Take,
                Some(next) if next.starts_with(path) => Choice::Lead,
                _ => Choice::Leave,
            };
        }
        let mut above = path.ancestors();
        let holder = above.find_map(|above| self.holders.get(above.as_os_str()).copied());
        if holder == Some(true) {
            if self.is_excluded(path) {
                return Choice::Leave;
            }
            return Choice::Take;
        }
        let mut below = self.declared.range(path.to_owned()..);
        let leads = below.next().is_some_and(|next| next.starts_with(path));
        match (leads, holder) {
            (true, _) => Choice::Lead,
            (false, Some(_)) => Choice::Leave,
            // What is merged with the configuration belongs to it.
            (false, None) if path.starts_with(DROP_INS) => Choice::Take,
            (false, None) if Path::new(DROP_INS).starts_with(path) => Choice::Lead,
            (false, None) => Choice::Orphan,
        }
    }

    /// Whether the user excluded `path`.
    pub fn is_excluded(&self, path: &Path) -> bool {
        !self.exclude.is_empty() && self.exclude.is_match(Path::new("/").join(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::Users;

    #[test]
    fn declared_paths_and_what_leads_to_them() {
        let text = r#"
            [persist."/cache"]
            class = "cache"
            directories = ["/var/lib/app/cache"]
            [persist."/persist"]
            directories = ["/var/lib/app", "/var/lib/app/cache/kept", "/home/ann"]
            files = ["/etc/machine-id"]
        "#;
        let settings = text.parse().unwrap();
        let tree = PersistTree::resolve(&settings, &Users::default()).unwrap();
        let mut exclude = globset::GlobSetBuilder::new();
        exclude.add(globset::Glob::new("**/.cache").unwrap());
        let selection = Selection::of(&tree, Path::new("/persist"), exclude.build().unwrap());
        for (path, choice) in [
            ("", Choice::Lead),
            (".state", Choice::Leave),
            ("lost+found", Choice::Leave),
            ("var/lost+found", Choice::Orphan),
            ("var", Choice::Lead),
            ("var/lib/app", Choice::Take),
            ("var/lib/app/x", Choice::Take),
            ("var/lib/app/cache", Choice::Lead),
            ("var/lib/app/cache/x", Choice::Leave),
            ("var/lib/app/cache/kept/x", Choice::Take),
            ("var/lib/other", Choice::Orphan),
            ("etc/machine-id", Choice::Take),
            ("etc/machine-id.bak", Choice::Orphan),
            ("etc/state", Choice::Lead),
            ("etc/state/state.d/kept.toml", Choice::Take),
            ("home/ann/.cache", Choice::Leave),
            ("home/ann/.cached", Choice::Take),
        ] {
            assert_eq!(selection.choose(Path::new(path)), choice, "{path}");
        }
        assert_eq!(Selection::all().choose(Path::new("x")), Choice::Take);
        let exact = Selection::exactly(["a".into(), "b/c".into()].into());
        for (path, choice) in [
            ("a", Choice::Take),
            ("a/x", Choice::Leave),
            ("b", Choice::Lead),
            ("b/c", Choice::Take),
            ("b/d", Choice::Leave),
            ("c", Choice::Leave),
        ] {
            assert_eq!(exact.choose(Path::new(path)), choice, "{path}");
        }
    }
}
