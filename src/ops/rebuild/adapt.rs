//! `[root]` of the restored configuration: it names the disk that is gone.

use crate::archive::machine::Machine;
use crate::config::{self, edit};
use crate::ops::provision;
use crate::paths::Shown;
use crate::settings::Root;
use crate::whole;
use anyhow::Context as _;
use serde::Serialize;
use state_api::Error;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// What became of the configuration's `[root]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Adapted {
    /// Nothing was laid out here: it is as it was restored.
    Untouched,
    /// It names the new disk now; all else in the file is as it was.
    Fitted {
        /// The file.
        #[serde(serialize_with = "crate::paths::serialize")]
        file: PathBuf,
    },
    /// The archive holds no configuration that could be changed: the first one was written.
    Written {
        /// The file.
        #[serde(serialize_with = "crate::paths::serialize")]
        file: PathBuf,
    },
    /// It comes from somewhere else, as on NixOS, and has to be changed there.
    Elsewhere {
        /// What `[root]` has to say.
        root: String,
    },
}

/// Where a store is in the new machine.
pub(super) fn place(into: &Path, at: &[u8]) -> PathBuf {
    let at = Path::new(OsStr::from_bytes(at));
    into.join(at.strip_prefix("/").unwrap_or(at))
}

/// Makes `[root]` name what was laid out.
pub(super) fn fit(
    into: &Path,
    archived: &Machine,
    root: &Root,
    first: &str,
) -> anyhow::Result<Adapted> {
    let files: Vec<PathBuf> = (archived.stores.iter())
        .map(|store| place(into, &store.path.0).join("etc/state/state.toml"))
        .collect();
    // A link, as NixOS makes it, leads into what is not there yet.
    let file = files
        .iter()
        .find(|file| fs::symlink_metadata(file).is_ok_and(|found| found.is_file()));
    let Some(file) = file else {
        if archived.nixos.is_some() {
            return Ok(Adapted::Elsewhere {
                root: edit::root_table(root),
            });
        }
        let file = files
            .into_iter()
            .next()
            .context("the archive holds no store")?;
        replace(&file, first)?;
        return Ok(Adapted::Written { file });
    };
    let doing = || format!("changing [root] in {}", Shown(file));
    let text = fs::read_to_string(file).map_err(|error| Error::os(doing(), error))?;
    let fitted = edit::set_root(&text, root).with_context(doing)?;
    config::parse_text(file, &fitted).with_context(doing)?;
    replace(file, &fitted)?;
    Ok(Adapted::Fitted { file: file.clone() })
}

/// Leaves the lines for fstab(5) and crypttab(5) where laying out had left them: the store that was
/// restored has those of the old disk, if any.
pub(super) fn leave_lines(laid_out: &provision::Report) -> anyhow::Result<()> {
    let lines = |lines: &[String]| lines.iter().map(|line| format!("{line}\n")).collect();
    let crypttab = laid_out.crypttab.as_slice();
    for (name, text) in [("fstab", &laid_out.fstab[..]), ("crypttab", crypttab)] {
        let text: String = lines(text);
        if !text.is_empty() {
            replace(&laid_out.file.with_file_name(name), &text)?;
        }
    }
    Ok(())
}

/// Whole or not at all; who may read it stays as it is.
fn replace(file: &Path, text: &str) -> Result<(), Error> {
    let failed = |error| Error::os(format!("writing {}", Shown(file)), error);
    let dir = file.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(dir).map_err(failed)?;
    let mode = fs::metadata(file).map_or(0o644, |found| found.permissions().mode());
    whole::replace(file, mode, text.as_bytes()).map_err(failed)
}
