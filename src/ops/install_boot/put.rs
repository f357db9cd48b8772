//! Files and links of the system: whole or not at all, and left alone where they are so.

use super::Installed;
use crate::boot::files::{Contents, Link};
use crate::boot::maker::File;
use crate::context::Context;
use crate::paths::Shown;
use anyhow::Context as _;
use state_api::Error;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

/// Writes what is not so already, or with a dry run says what that is.
pub(super) fn put_all(
    cx: &Context,
    dir: &Path,
    contents: &Contents,
) -> anyhow::Result<Vec<Installed>> {
    let below = |path: &str| dir.join(path.trim_start_matches('/'));
    let mut installed = Vec::new();
    for file in &contents.files {
        let at = below(&file.path);
        let is_new = !is_so(&at, file);
        if is_new && !cx.dry_run {
            put(&at, file).with_context(|| format!("writing {}", Shown(&at)))?;
        }
        let path = file.path.clone().into();
        installed.push(Installed { path, is_new });
    }
    for link in &contents.links {
        let at = below(&link.path);
        let is_new = fs::read_link(&at).ok().as_deref() != Some(Path::new(&link.target));
        if is_new && !cx.dry_run {
            put_link(&at, link).with_context(|| format!("writing {}", Shown(&at)))?;
        }
        let path = link.path.clone().into();
        installed.push(Installed { path, is_new });
    }
    Ok(installed)
}

fn mode(file: &File) -> u32 {
    if file.is_program { 0o755 } else { 0o644 }
}

fn is_so(at: &Path, file: &File) -> bool {
    fs::symlink_metadata(at).is_ok_and(|found| {
        found.is_file()
            && found.permissions().mode() & 0o7777 == mode(file)
            && fs::read(at).is_ok_and(|text| text == file.text.as_bytes())
    })
}

/// Whole or not at all.
fn put(at: &Path, file: &File) -> Result<(), Error> {
    let wrong = |error: io::Error| Error::os("putting it in place", error);
    let dir = at.parent().expect("it lies in a directory");
    fs::create_dir_all(dir).map_err(wrong)?;
    let mut new = tempfile::Builder::new()
        .prefix(".state.")
        .tempfile_in(dir)
        .map_err(wrong)?;
    new.write_all(file.text.as_bytes())
        .and_then(|()| fs::set_permissions(new.path(), fs::Permissions::from_mode(mode(file))))
        .and_then(|()| new.as_file().sync_all())
        .map_err(wrong)?;
    new.persist(at).map_err(|failed| wrong(failed.error))?;
    flush(dir).map_err(wrong)
}

fn put_link(at: &Path, link: &Link) -> Result<(), Error> {
    let wrong = |error: io::Error| Error::os("putting it in place", error);
    let dir = at.parent().expect("it lies in a directory");
    fs::create_dir_all(dir).map_err(wrong)?;
    let staging = tempfile::Builder::new()
        .prefix(".state.")
        .tempdir_in(dir)
        .map_err(wrong)?;
    let new = staging.path().join("link");
    symlink(&link.target, &new)
        .and_then(|()| fs::rename(&new, at))
        .map_err(wrong)?;
    flush(dir).map_err(wrong)
}

fn flush(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}
