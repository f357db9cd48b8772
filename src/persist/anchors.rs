//! The machine on which entries are put in place: its root and its stores, as open directories.

use super::PersistTree;
use crate::anchor::{Anchor, mount_id};
use state_api::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A machine's directories. Paths are as on the machine, wherever it is mounted.
#[derive(Debug)]
pub struct Anchors {
    root: Anchor,
    stores: BTreeMap<PathBuf, Anchor>,
    /// Why a store cannot be used.
    missing: BTreeMap<PathBuf, String>,
}

impl Anchors {
    /// Opens the root directory and the stores of `tree`. A store that is not there, or (with
    /// `must_be_mounted`) is no mount of its own but a directory of the root that will be erased,
    /// is remembered as missing, as the `unfit` ones are: its entries fail by name, the others do
    /// not.
    ///
    /// # Errors
    /// The root directory cannot be opened.
    pub fn open(
        root_dir: &Path,
        tree: &PersistTree,
        must_be_mounted: bool,
        unfit: BTreeMap<PathBuf, String>,
    ) -> Result<Self> {
        let opening = |path: &Path| format!("opening {}", path.display());
        let root = Anchor::open(root_dir).map_err(|e| Error::os(opening(root_dir), e))?;
        let mut anchors = Self {
            root,
            stores: BTreeMap::new(),
            missing: unfit,
        };
        for (store, _) in tree.stores() {
            if anchors.missing.contains_key(store) {
                continue;
            }
            match anchors.open_store(store, must_be_mounted) {
                Ok(anchor) => drop(anchors.stores.insert(store.to_owned(), anchor)),
                Err(why) => drop(anchors.missing.insert(store.to_owned(), why)),
            }
        }
        Ok(anchors)
    }

    fn open_store(&self, store: &Path, must_be_mounted: bool) -> Result<Anchor, String> {
        let below = store.strip_prefix("/").unwrap_or(store);
        let anchor = self
            .root
            .open_within(below)
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => "it does not exist".to_owned(),
                _ => error.to_string(),
            })?;
        let mount = |of: &Anchor| mount_id(of).map_err(|error| error.to_string());
        if must_be_mounted && mount(&anchor)? == mount(&self.root)? {
            return Err("it is not mounted: it is a directory of the root that is erased".into());
        }
        Ok(anchor)
    }

    /// Why this store cannot be used, if it cannot.
    pub fn why_missing(&self, store: &Path) -> Option<&str> {
        self.missing.get(store).map(String::as_str)
    }

    /// The open directory that a path on the machine lies in, the store's if it lies in one, and
    /// the rest of the path below it.
    ///
    /// # Errors
    /// The path lies in a store that cannot be used.
    pub fn locate<'p>(&self, path: &'p Path) -> Result<(&Anchor, &'p Path)> {
        for above in path.ancestors() {
            if let Some(anchor) = self.stores.get(above) {
                let rest = path.strip_prefix(above).expect("it is above");
                return Ok((anchor, rest));
            }
            if self.missing.contains_key(above) {
                let what = format!("the store {}", above.display());
                return Err(Error::Missing { what });
            }
        }
        Ok((&self.root, path.strip_prefix("/").unwrap_or(path)))
    }

    /// Whether a path on the machine lies in a store.
    pub fn is_in_store(&self, path: &Path) -> bool {
        (self.stores.keys().chain(self.missing.keys())).any(|store| path.starts_with(store))
    }

    /// The stores, opened.
    pub fn stores(&self) -> impl Iterator<Item = (&Path, &Anchor)> {
        self.stores
            .iter()
            .map(|(path, anchor)| (path.as_path(), anchor))
    }
}
