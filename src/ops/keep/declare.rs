//! Adding an entry to the configuration, or taking one out.

use super::look::Look;
use crate::config::edit::{self, NewEntry, Written};
use crate::config::{self, Config};
use crate::context::Context;
use crate::failure::Failure;
use crate::paths::Shown;
use crate::persist::Entry;
use crate::settings::Method;
use anyhow::Context as _;
use rustix::fs::{Access, access};
use state_api::Error;
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// What is merged with a configuration that cannot be written.
const KEPT: &str = "kept.toml";

/// A configuration that was edited, but not yet written.
pub(in crate::ops) struct Declaration {
    /// The file that changes.
    pub(in crate::ops) file: PathBuf,
    text: String,
    /// What is declared then.
    pub(in crate::ops) config: Config,
    /// What its user should do about it.
    pub(in crate::ops) note: Option<String>,
}

/// Plans the adding of an entry to `store`. What is merged with the configuration is in `home`.
pub(super) fn plan(
    cx: &Context,
    config: &Config,
    (store, home): (&Path, &Path),
    (looked, method): (&Look, Method),
) -> anyhow::Result<Declaration> {
    let Some(path) = looked.path.to_str() else {
        return Err(Failure::refused("its name is not UTF-8, and TOML is")
            .hint("keep the directory around it")
            .into());
    };
    let entry = NewEntry {
        path: path.to_owned(),
        kind: looked.kind,
        method,
    };
    let main = real(
        config
            .files
            .first()
            .context("the configuration has no file")?,
    );
    let (file, note) = match is_writable(cx, &main) {
        true => (main, None),
        false => {
            let copy = config::store_copy(cx, home);
            let beside = copy.with_file_name(config::DROP_INS).join(KEPT);
            let is_nix = main.starts_with(cx.rooted("/nix/store"));
            let note = is_nix.then(|| {
                let list = match looked.kind {
                    crate::persist::EntryKind::Directory => "directories",
                    crate::persist::EntryKind::File => "files",
                };
                format!(
                    "move it into the Nix configuration when it suits you: \
                     services.state.persistence.\"{}\".{list} = [ {} ];",
                    Shown(store),
                    entry.nix()
                )
            });
            (beside, note)
        }
    };
    let text = edit::add(&text_of(&file)?, store, &entry)?;
    let known = known_as(config, &file);
    let config = config::read_with(config, &known, &text)?;
    Ok(Declaration {
        file,
        text,
        config,
        note,
    })
}

/// Plans the adding of paths to what `state diff` ignores.
pub(in crate::ops) fn plan_ignoring(
    cx: &Context,
    config: &Config,
    paths: &[PathBuf],
) -> anyhow::Result<Declaration> {
    let glob = |path: &PathBuf| match path.to_str() {
        Some(path) => Ok(globset::escape(path)),
        None => Err(
            Failure::refused(format!("{} is not UTF-8, and TOML is", Shown(path)))
                .hint("ignore the directory around it"),
        ),
    };
    let globs: Vec<String> = paths.iter().map(glob).collect::<Result<_, _>>()?;
    let main = config
        .files
        .first()
        .context("the configuration has no file")?;
    let mut file = real(main);
    if !is_writable(cx, &file) {
        let store = config.settings.persist.keys().next();
        let store = store.context("no store can hold what is merged with the configuration")?;
        let copy = config::store_copy(cx, store);
        file = copy.with_file_name(config::DROP_INS).join(KEPT);
    }
    let text = edit::ignore(&text_of(&file)?, &globs)?;
    let config = config::read_with(config, &known_as(config, &file), &text)?;
    Ok(Declaration {
        file,
        text,
        config,
        note: None,
    })
}

/// What a file says; nothing if there is none yet.
fn text_of(file: &Path) -> anyhow::Result<String> {
    match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        text => Ok(text.map_err(|error| Error::os(format!("reading {}", Shown(file)), error))?),
    }
}

/// Plans the taking out of an entry.
pub(in crate::ops) fn plan_removal(
    cx: &Context,
    config: &Config,
    entry: &Entry,
) -> anyhow::Result<Declaration> {
    let written = Written {
        path: &entry.path,
        store: &entry.store,
        home: entry.home.as_ref().map(|home| home.path.as_path()),
    };
    for known in &config.files {
        let file = real(known);
        let old = fs::read_to_string(&file)
            .map_err(|error| Error::os(format!("reading {}", Shown(&file)), error))?;
        let Some(text) = edit::remove(&old, written)? else {
            continue;
        };
        if !is_writable(cx, &file) {
            let fact = format!(
                "it is declared in {}, which cannot be written",
                Shown(&file)
            );
            return Err(Failure::refused(fact)
                .hint("take it out where that file is made: on NixOS, services.state.persistence")
                .into());
        }
        let config = config::read_with(config, known, &text)?;
        return Ok(Declaration {
            file,
            text,
            config,
            note: None,
        });
    }
    Err(Failure::refused("no file of the configuration declares it")
        .hint("`state` adds it by itself: its own configuration is always kept")
        .into())
}

/// The file itself, where a link leads to it.
fn real(file: &Path) -> PathBuf {
    file.canonicalize().unwrap_or_else(|_| file.to_owned())
}

/// How the configuration calls a file.
fn known_as(config: &Config, file: &Path) -> PathBuf {
    let known = config.files.iter().find(|known| real(known) == file);
    known.cloned().unwrap_or_else(|| file.to_owned())
}

/// Whether a file can be replaced: files that Nix makes never are.
fn is_writable(cx: &Context, file: &Path) -> bool {
    let dir = file.parent().unwrap_or(Path::new("/"));
    !file.starts_with(cx.rooted("/nix/store")) && access(dir, Access::WRITE_OK).is_ok()
}

impl Declaration {
    /// Writes it, whole or not at all, with the owner and mode that the file had.
    pub(in crate::ops) fn write(&self) -> Result<(), Error> {
        self.replace()
            .map_err(|error| Error::os(format!("writing {}", Shown(&self.file)), error))
    }

    fn replace(&self) -> io::Result<()> {
        let dir = self.file.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(dir)?;
        let was = fs::metadata(&self.file).ok();
        let mode = was.as_ref().map_or(0o644, |was| was.mode() & 0o7777);
        let mut file = tempfile::Builder::new()
            .prefix(".state.toml.")
            .permissions(Permissions::from_mode(mode))
            .tempfile_in(dir)?;
        file.write_all(self.text.as_bytes())?;
        if let Some(was) = &was {
            let made = file.as_file().metadata()?;
            if (made.uid(), made.gid()) != (was.uid(), was.gid()) {
                std::os::unix::fs::fchown(file.as_file(), Some(was.uid()), Some(was.gid()))?;
            }
            file.as_file()
                .set_permissions(Permissions::from_mode(mode))?;
        }
        file.as_file().sync_all()?;
        file.persist(&self.file)?;
        File::open(dir)?.sync_all()
    }
}
