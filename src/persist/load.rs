//! From the settings to the persist tree of the machine below a root directory.

use super::{PersistTree, Problems, Users};
use crate::anchor::Anchor;
use crate::settings::Settings;
use state_api::{Error, Result};
use std::path::Path;

/// Resolves the persist tree of the machine below `root_dir`, with that machine's own users,
/// whatever machine this program runs on.
///
/// # Errors
/// The root directory cannot be opened. What contradicts itself in the declaration is the inner
/// error.
pub fn load(root_dir: &Path, settings: &Settings) -> Result<Result<PersistTree, Problems>> {
    let users = users(root_dir, settings)?;
    Ok(PersistTree::resolve(settings, &users))
}

/// The users of the machine below `root_dir`, as far as its root and its stores know them.
///
/// # Errors
/// The root directory cannot be opened.
pub fn users(root_dir: &Path, settings: &Settings) -> Result<Users> {
    let root = Anchor::open(root_dir)
        .map_err(|error| Error::os(format!("opening {}", root_dir.display()), error))?;
    let read = |path: &Path| root.read_within(path).unwrap_or_default();
    let mut users = Users::parse(
        &read(Path::new("etc/passwd")),
        &read(Path::new("etc/group")),
    );
    // Early, or on a root that was just made, the store knows what root does not know yet.
    for store in settings.persist.keys() {
        let store = store.strip_prefix("/").unwrap_or(store);
        let stored = |path| read(&store.join(path));
        users = users
            .or(Users::parse(&stored("etc/passwd"), &stored("etc/group")))
            .or(Users::from_id_maps(
                &stored("var/lib/nixos/uid-map"),
                &stored("var/lib/nixos/gid-map"),
            ));
    }
    Ok(users)
}
