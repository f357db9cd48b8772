//! What fstab(5) says of root's filesystem or pool: what it mounts beside root must outlive every
//! reset. An initrd has no fstab, or an empty one; the one that counts is in the root that will be
//! started, so it is read there.

use crate::context::Context;
use crate::machine::{FstabLine, Machine};
use crate::settings;
use state_api::{Error, Result, View};
use state_linux::system;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// The lines of the machine's own, and of those in `trees`. A tree that cannot be opened has none:
/// a survey says so better.
///
/// # Errors
/// One is there and cannot be read.
pub(super) fn lines(cx: &Context, trees: &[Result<View>]) -> Result<Vec<FstabLine>> {
    let machine = Machine::look(cx).map_err(|error| Error::os("looking at the machine", error))?;
    let mut lines = machine.fstab;
    for view in trees.iter().flatten() {
        lines.extend(within(view)?);
    }
    Ok(lines)
}

/// The lines of the one in a tree, which has none where it is no system's.
///
/// # Errors
/// It is there and cannot be read.
pub fn within(view: &View) -> Result<Vec<FstabLine>> {
    let text = system::read(&view.dir, Path::new("etc/fstab"))
        .map_err(|error| Error::os("reading etc/fstab of root or its blank", error))?;
    Ok(FstabLine::parse(&text.unwrap_or_default()))
}

/// The subvolumes, from the top level, that are mounted beside root from the same device, or from
/// one that cannot be told: whoever mounts them needs them after the reset.
pub(super) fn subvolumes(lines: &[FstabLine], device: &Path) -> Vec<PathBuf> {
    let device = fs::canonicalize(device).ok();
    let is_ours = |source: &OsStr| match (fs::canonicalize(device_of(source)).ok(), &device) {
        (Some(source), Some(device)) => source == *device,
        _ => true,
    };
    let lines = lines.iter().filter(|line| {
        line.filesystem == "btrfs" && line.at != Path::new("/") && is_ours(&line.source)
    });
    let subvolumes = lines.filter_map(|line| {
        let mut options = line.options.split(',');
        let subvolume = options.find_map(|option| option.strip_prefix("subvol="))?;
        let path = subvolume.trim_matches('/');
        (!path.is_empty()).then(|| PathBuf::from(path))
    });
    subvolumes.collect()
}

/// The datasets that are mounted as stores.
pub(super) fn datasets(
    lines: Vec<FstabLine>,
    stores: &BTreeMap<PathBuf, settings::Store>,
) -> Vec<String> {
    let lines = lines.into_iter();
    let stores = lines.filter(|line| line.filesystem == "zfs" && stores.contains_key(&line.at));
    stores
        .filter_map(|line| line.source.into_string().ok())
        .collect()
}

/// The path of a device as fstab(5) names it.
fn device_of(source: &OsStr) -> PathBuf {
    let source = source.to_string_lossy();
    let kinds = [
        ("UUID=", "by-uuid"),
        ("LABEL=", "by-label"),
        ("PARTUUID=", "by-partuuid"),
        ("PARTLABEL=", "by-partlabel"),
    ];
    let named = kinds.iter().find_map(|(word, dir)| {
        let name = source.strip_prefix(word)?.trim_matches('"');
        Some(Path::new("/dev/disk").join(dir).join(name))
    });
    named.unwrap_or_else(|| PathBuf::from(&*source))
}
