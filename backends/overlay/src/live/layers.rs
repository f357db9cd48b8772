//! Putting layers on top of each other: for the machine to run on, and for looking at a past root.

use super::{DIRECTORY, Live, UPPER, WORK};
use crate::layout::{self, ROOT};
use crate::survey::origin;
use rustix::fs::{CWD, Mode, RenameFlags, mkdirat, openat};
use rustix::io::Errno;
use state_api::{Error, Outcome, Result, View};
use state_linux::mount::{self, Attributes};
use state_linux::{mountinfo, namespace, tree};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Where the overlay and its layers are when the machine runs on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// Whether anything was mounted.
    pub outcome: Outcome,
    /// The overlay.
    pub at: PathBuf,
    /// The lower layer, read-only.
    pub lower: PathBuf,
    /// The filesystem with the upper layers.
    pub upper: PathBuf,
}

impl Live {
    /// Mounts the overlay of the present root over the lower layer, where that is mounted.
    ///
    /// # Errors
    /// There is no root yet (a reset makes one), or the kernel refuses the layers. Then what is
    /// mounted is as it was.
    pub fn stack(&self) -> Result<Stack> {
        let doing = || format!("mounting the overlay at {}", self.at.display());
        self.put_on_top().map_err(|error| Error::os(doing(), error))
    }

    fn put_on_top(&self) -> io::Result<Stack> {
        let mut stack = Stack {
            outcome: Outcome::AlreadySo,
            at: self.at.clone(),
            lower: self.run.join("lower"),
            upper: self.run.join("upper"),
        };
        if self.stacked()?.iter().any(|(found, _)| found.at == self.at) {
            return Ok(stack);
        }
        self.renew_work()?;
        let is_mounted = |at: &Path| -> io::Result<bool> {
            Ok(mountinfo::read()?.iter().any(|mount| mount.at == at))
        };
        fs::create_dir_all(&stack.lower)?;
        fs::create_dir_all(&stack.upper)?;
        if !is_mounted(&stack.lower)? {
            let lower = mount::clone_tree(CWD, &self.at, false)?;
            let read_only = Attributes::MOUNT_ATTR_RDONLY;
            mount::set_attributes(&lower, read_only, Attributes::empty(), false)?;
            // It would be a peer of the one below the overlay, and get the overlay as well.
            mount::make_private(&lower)?;
            mount::attach(lower, CWD, &stack.lower)?;
        }
        if !is_mounted(&stack.upper)? {
            let upper = mount::of_device(&self.device, &super::FILESYSTEMS, false)?;
            mount::attach(upper, CWD, &stack.upper)?;
        }
        let layers = self.layers(Path::new(ROOT), &stack.upper, &stack.lower)?;
        let Some((upper, below)) = layers.split_first() else {
            return Err(Errno::NOENT.into());
        };
        let below: Vec<&Path> = below.iter().map(PathBuf::as_path).collect();
        let work = upper.with_file_name(WORK);
        let overlay = mount::overlay(&below, Some((upper, &work)))?;
        mount::attach(overlay, CWD, &self.at)?;
        stack.outcome = Outcome::Made;
        Ok(stack)
    }

    /// Overlayfs wants an empty directory to work in: what an earlier boot left there (this one
    /// skipped its reset) goes among the scratch.
    fn renew_work(&self) -> io::Result<()> {
        let root = self.open_directory(Path::new(ROOT))?;
        let work = openat(&root, WORK, DIRECTORY, Mode::empty())?;
        if tree::names(&work)?.is_empty() {
            return Ok(());
        }
        self.make_all(Path::new(layout::SCRATCH))?;
        let old = |n: u32| Path::new(layout::SCRATCH).join(format!("work-{n}"));
        for n in 0.. {
            let from = Path::new(ROOT).join(WORK);
            match self.rename_with(&from, &old(n), RenameFlags::NOREPLACE) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => {
                    other?;
                    break;
                }
            }
        }
        Ok(mkdirat(&root, WORK, Mode::RWXU)?)
    }

    /// The layers of a root, topmost first, as paths: its own, those of the past roots it was
    /// begun above, the lower one.
    fn layers(&self, root: &Path, upper: &Path, lower: &Path) -> io::Result<Vec<PathBuf>> {
        let mut layers = Vec::new();
        let mut next = Some(root.to_owned());
        while let Some(root) = next {
            let node = self.find(&root)?;
            let found = origin(&node).ok_or(Errno::NOENT)?;
            layers.push(upper.join(&self.directory).join(&root).join(UPPER));
            next = found.over.as_ref().map(layout::past);
            if layers.len() > 64 {
                return Err(Errno::LOOP.into()); // somebody edited an origin
            }
        }
        layers.push(lower.to_owned());
        Ok(layers)
    }

    /// A root as it is seen: the running one through its own mount, any other one through a
    /// read-only overlay that nobody else sees.
    pub(super) fn view(&self, root: &Path) -> io::Result<View> {
        if root == Path::new(ROOT)
            && let Some((found, _)) = self.stacked()?.first()
        {
            let alone = mount::clone_tree(CWD, &found.at, false)?;
            return Ok(View::live(mount::open_top(&alone)?).keeping(alone));
        }
        let (lower, _) = self.lower_path()?.ok_or(Errno::NOENT)?;
        let overlay = self.overlay_of(root, &lower)?;
        Ok(View::frozen(mount::open_top(&overlay)?).keeping(overlay))
    }

    /// Overlayfs takes its layers by path, and only from mounts in the namespace of the caller; so
    /// a thread makes the mount in a namespace of its own.
    fn overlay_of(&self, root: &Path, lower: &Path) -> io::Result<OwnedFd> {
        // A directory that every system has and no layer is below.
        let aside = Path::new("/proc");
        let layers = self.layers(root, aside, lower)?;
        std::thread::scope(|scope| {
            let made = scope.spawn(|| {
                namespace::own_mounts()?;
                let upper = mount::of_device(&self.device, &super::FILESYSTEMS, false)?;
                mount::attach(upper, CWD, aside)?;
                let layers: Vec<&Path> = layers.iter().map(PathBuf::as_path).collect();
                mount::overlay(&layers, None)
            });
            made.join()
                .map_err(|_| io::Error::other("the thread that mounts ended"))?
        })
    }
}
