//! Root itself.

use super::{DIRECTORY, Live, os};
use crate::Kernel as _;
use rustix::fs::{CWD, Mode, OFlags, openat};
use state_api::{Error, Refusal, Result, View};
use state_linux::mount;
use std::io;
use std::os::fd::AsFd as _;

impl Live {
    /// The tmpfs itself, without what is mounted in it: also what entries and other mounts hide.
    /// Who may not mount sees the directory as it is, mount points and all.
    pub(super) fn root_alone(&self) -> io::Result<View> {
        let at = self.places.at.as_path();
        match mount::clone_tree(CWD, at, false) {
            Ok(alone) => {
                let top = mount::open_top(&alone)?;
                Ok(View::live(top).keeping(alone))
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                Ok(View::live(openat(CWD, at, flags, Mode::empty())?))
            }
            Err(error) => Err(error),
        }
    }

    /// Copies blank into the empty root. Says what memory could not hold of it.
    pub(super) fn fill_root(&self) -> Result<Vec<String>> {
        let at = &self.places.at;
        let blank = self.open_blank()?;
        let root = openat(CWD, at, DIRECTORY, Mode::empty())
            .map_err(|errno| os(format!("opening {}", at.display()))(errno.into()))?;
        let copied = self.craft.copy(&blank, root.as_fd(), &|_| false);
        copied.map_err(|error| match &error {
            Error::Os { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Error::from(Refusal::Unsafe {
                    fact: format!("blank does not fit into the tmpfs at {}", at.display()),
                    cure: "give it more of the memory: `size` in [root], then make the initrd \
                           anew; or take what is not needed out of blank"
                        .into(),
                })
            }
            _ => error,
        })
    }
}
