//! What a boot loader's tools make of a draft. GRUB's name a file by the path of the volume that it
//! lies in, and the draft's is none that a boot finds.

use crate::anchor::{Anchor, Found};
use crate::paths::Shown;
use crate::settings::Root;
use crate::whole;
use anyhow::Context as _;
use state_linux::mountinfo;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Where GRUB's menus are, and the entries of one that are files of their own.
const MENUS: [&str; 3] = ["boot/grub", "boot/grub2", "boot/loader/entries"];

/// Has the menus that were made in the draft at `at` name root where they name the draft.
///
/// # Errors
/// One cannot be read or written.
pub(super) fn name_root(draft: &Anchor, at: &Path, root: Option<&Root>) -> anyhow::Result<()> {
    let Some(Root::Btrfs { subvolume, .. }) = root else {
        return Ok(()); // the others have no drafts
    };
    let mounts = mountinfo::read().context("reading the mounts of the draft")?;
    let Some(mounted) = mounts.iter().rev().find(|mount| mount.at == at) else {
        return Ok(());
    };
    let name = mounted.root.strip_prefix("/").unwrap_or(&mounted.root);
    let (from, to) = (
        name.as_os_str().as_bytes(),
        subvolume.as_os_str().as_bytes(),
    );
    for dir in MENUS.map(Path::new) {
        for file in menus(draft, dir).with_context(|| format!("reading /{}", Shown(dir)))? {
            correct(draft, &file, from, to)
                .with_context(|| format!("naming root in /{}", Shown(&file)))?;
        }
    }
    Ok(())
}

/// The menus in a directory.
fn menus(draft: &Anchor, dir: &Path) -> io::Result<Vec<PathBuf>> {
    if !matches!(draft.find(dir)?, Found::Here(..)) {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(of_fd(&draft.directory(dir)?))? {
        let name = PathBuf::from(entry?.file_name());
        if name.as_os_str() == "grub.cfg" || name.extension() == Some(OsStr::new("conf")) {
            found.push(dir.join(name));
        }
    }
    Ok(found)
}

/// A directory by a name that leads nowhere else, whatever lies on the way to it.
fn of_fd(dir: &Anchor) -> PathBuf {
    format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd()).into()
}

fn correct(draft: &Anchor, file: &Path, from: &[u8], to: &[u8]) -> io::Result<()> {
    let Found::Here(_, stat) = draft.find(file)? else {
        return Ok(());
    };
    let Some(text) = renamed(&draft.read_within(file)?, from, to) else {
        return Ok(());
    };
    let (dir, name) = draft.parent(file)?;
    whole::replace(&of_fd(&dir).join(name), stat.mode, &text)
}

/// The text with another name wherever one stands as a whole; `None` where it stands nowhere.
fn renamed(text: &[u8], from: &[u8], to: &[u8]) -> Option<Vec<u8>> {
    let is_of_name = |byte: Option<&u8>| {
        byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"._-@+".contains(byte))
    };
    let mut new = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let end = at + from.len();
        let is_here = !from.is_empty() && text[at..].starts_with(from);
        if is_here && !is_of_name(text[..at].last()) && !is_of_name(text.get(end)) {
            new.extend(to);
            at = end;
        } else {
            new.push(text[at]);
            at += 1;
        }
    }
    (new != text).then_some(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_changed_where_it_stands_as_a_whole() {
        for (text, wanted) in [
            (
                "linux\t/root-blank.draft/boot/vmlinuz root=UUID=1 ro rootflags=subvol=root-blank.draft quiet\n",
                Some("linux\t/@/boot/vmlinuz root=UUID=1 ro rootflags=subvol=@ quiet\n"),
            ),
            (
                "font=\"/root-blank.draft/usr/share/grub/unicode.pf2\"",
                Some("font=\"/@/usr/share/grub/unicode.pf2\""),
            ),
            ("subvol=root-blank.draft", Some("subvol=@")),
            ("linux /root-blank/boot/vmlinuz", None),
            ("linux /root-blank.draft.old/vmlinuz", None),
            ("linux /my-root-blank.draft/vmlinuz", None),
            ("", None),
        ] {
            let new = renamed(text.as_bytes(), b"root-blank.draft", b"@");
            assert_eq!(new.as_deref(), wanted.map(str::as_bytes), "{text}");
        }
    }
}
