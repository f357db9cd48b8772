//! What a root's own layers hold: where it differs from the installed system. The cost follows
//! what was written, not what is installed.

use super::{Live, UPPER};
use crate::layout;
use crate::survey::origin;
use rustix::fs::fgetxattr;
use rustix::io::Errno;
use state_api::{Changes, Extent, View};
use state_linux::stat::Kind;
use state_linux::tree::{Entry, Walk};
use std::io;
use std::path::Path;

/// A directory that hides the lower one of its name (overlayfs.rst, "whiteouts and opaque
/// directories"): `y`. An `x` only says that whiteouts in it are files.
const OPAQUE: &str = "trusted.overlay.opaque";

impl Live {
    /// Where a root may differ from the lower layer it was begun above.
    pub(super) fn find_written(&self, root: &Path) -> io::Result<Changes> {
        let mut changes = Changes::none();
        let mut next = Some(root.to_owned());
        while let Some(root) = next {
            let view = View::live(self.open_directory(&root.join(UPPER))?);
            for entry in Walk::new(&view) {
                let entry = entry.map_err(|unreadable| unreadable.source)?;
                let extent = extent_of(&entry)?;
                changes.add(entry.path, extent);
            }
            let node = self.find(&root)?;
            let over = origin(&node).and_then(|origin| origin.over.as_ref());
            next = over.map(layout::past);
        }
        Ok(changes)
    }
}

/// A directory that lies above a lower one shows what is in both; anything else takes the place
/// of what is below, a whiteout as well.
fn extent_of(entry: &Entry) -> io::Result<Extent> {
    if entry.stat.kind != Kind::Directory {
        return Ok(Extent::Whole);
    }
    let dir = entry.open().map_err(|unreadable| unreadable.source)?;
    let mut value = [0; 2];
    match fgetxattr(&dir, OPAQUE, &mut value) {
        Ok(length) => Ok(match &value[..length] {
            b"y" => Extent::Whole,
            _ => Extent::Alone,
        }),
        Err(Errno::NODATA) => Ok(Extent::Alone),
        Err(errno) => Err(errno.into()),
    }
}
