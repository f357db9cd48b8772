//! What `state keep` left where it was: the originals below the mounts of this boot, of which the
//! store holds copies. Nothing can change them there, and nobody loses them with the next reset.

use crate::context::Context;
use crate::whole;
use serde::{Deserialize, Serialize};
use state_api::Error;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// The file in the run directory.
const FILE: &str = "kept.json";

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    boot_id: String,
    /// As on the machine. A path that is not UTF-8 is never kept: it could not be declared.
    paths: BTreeSet<PathBuf>,
}

/// The paths that were kept at this boot. What cannot be read is not believed.
pub fn read(cx: &Context) -> BTreeSet<PathBuf> {
    let text = std::fs::read(cx.run_dir().join(FILE)).unwrap_or_default();
    match serde_json::from_slice::<Note>(&text) {
        Ok(note) if note.boot_id == cx.boot_id => note.paths,
        _ => BTreeSet::new(),
    }
}

/// Notes that one was.
///
/// # Errors
/// The run directory cannot be written.
pub fn note(cx: &Context, path: &Path) -> Result<(), Error> {
    let mut paths = read(cx);
    paths.insert(path.to_owned());
    let note = Note {
        boot_id: cx.boot_id.clone(),
        paths,
    };
    let file = cx.run_dir().join(FILE);
    let write = || {
        let text = serde_json::to_vec(&note).map_err(io::Error::other)?;
        whole::replace(&file, 0o644, &text)
    };
    write().map_err(|error| Error::os(format!("writing {}", file.display()), error))
}
