//! Setting the scene on a simulated machine, and looking at it.

use super::disk::{Disk, Entry};
use super::{Layout, Machine, Mount, PAST_ROOTS, SimBtrfs, kernel};
use crate::rig::Rig;
use crate::tape::Tape;
use crate::tree::{Leaf, Tree};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Setting a scene, and looking at it. None of these counts as an act; errors panic.
impl SimBtrfs {
    /// An empty filesystem.
    pub fn new(layout: Layout) -> Self {
        Self::of(Machine {
            layout,
            tape: Tape::new(Disk::new()),
            mounts: Vec::new(),
            commits_by_itself: false,
        })
    }

    /// Where root and blank are.
    pub fn layout(&self) -> Layout {
        self.machine.borrow().layout.clone()
    }

    /// From now on every act is on the disk at once (the kernel may commit at any time).
    #[must_use]
    pub fn committing_by_itself(self) -> Self {
        self.machine.borrow_mut().commits_by_itself = true;
        self
    }

    fn scene<T>(&self, change: impl FnOnce(&mut Disk) -> Result<T, Errno>) -> T {
        let mut machine = self.machine.borrow_mut();
        machine
            .tape
            .meanwhile(|disk| {
                let answer = change(disk)?;
                disk.commit();
                Ok::<T, Errno>(answer)
            })
            .expect("the scene can be set")
    }

    /// Makes directories, parents included.
    pub fn directory(&self, at: impl AsRef<Path>) {
        self.scene(|disk| {
            let at = at.as_ref();
            let mut all: Vec<&Path> = at.ancestors().collect();
            all.retain(|path| !path.as_os_str().is_empty());
            for path in all.into_iter().rev() {
                if disk.look(path)?.is_none() {
                    disk.add(path, Entry::Directory)?;
                }
            }
            Ok(())
        });
    }

    /// Makes a writable subvolume.
    pub fn volume(&self, at: impl AsRef<Path>) {
        self.scene(|disk| disk.create(at.as_ref()).map(drop));
    }

    /// Takes a snapshot.
    pub fn snapshot_of(&self, from: impl AsRef<Path>, to: impl AsRef<Path>, read_only: bool) {
        self.scene(|disk| {
            disk.snapshot(from.as_ref(), to.as_ref(), read_only)
                .map(drop)
        });
    }

    /// Writes a file.
    pub fn put(&self, at: impl AsRef<Path>, text: &str) {
        self.scene(|disk| disk.put(at.as_ref(), text.as_bytes()));
    }

    /// Makes a symlink.
    pub fn link(&self, at: impl AsRef<Path>, to: &str) {
        self.scene(|disk| disk.add(at.as_ref(), Entry::Symlink(to.into())));
    }

    /// Moves something, mounted or not.
    pub fn move_to(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) {
        self.scene(|disk| disk.rename(from.as_ref(), to.as_ref()));
    }

    /// Deletes a subvolume with all in it, or a file.
    pub fn remove(&self, at: impl AsRef<Path>) {
        self.scene(|disk| match disk.look(at.as_ref())? {
            Some(Entry::Volume(id)) => {
                for child in disk.children(id)?.into_iter().rev() {
                    disk.delete(child.id)?;
                }
                disk.delete(id)
            }
            _ => disk.unlink(at.as_ref()),
        });
    }

    /// Sets or clears the read-only flag of a subvolume.
    pub fn set_flag(&self, at: impl AsRef<Path>, read_only: bool) {
        self.scene(|disk| {
            let id = disk.id_at(at.as_ref())?;
            disk.volume_mut(id)?.info.is_read_only = read_only;
            Ok(())
        });
    }

    /// Puts an active swapfile into a subvolume, or takes it out.
    pub fn swapfile(&self, at: impl AsRef<Path>, active: bool) {
        self.scene(|disk| {
            let id = disk.id_at(at.as_ref())?;
            disk.volume_mut(id)?.swapfile = active;
            Ok(())
        });
    }

    /// Begins or ends a `btrfs send` of a subvolume.
    pub fn sending(&self, at: impl AsRef<Path>, active: bool) {
        self.scene(|disk| {
            let id = disk.id_at(at.as_ref())?;
            disk.volume_mut(id)?.sending = active;
            Ok(())
        });
    }

    /// Makes a subvolume the default one; the empty path is the top level.
    pub fn make_default(&self, at: impl AsRef<Path>) {
        self.scene(|disk| {
            disk.default = disk.id_at(at.as_ref())?;
            Ok(())
        });
    }

    /// Forces the whole filesystem read-only, or back.
    pub fn force_read_only(&self, read_only: bool) {
        self.scene(|disk| {
            disk.is_read_only = read_only;
            Ok(())
        });
    }

    /// Sets the clock, in seconds since 1970.
    pub fn set_clock(&self, seconds: i64) {
        self.scene(|disk| {
            disk.clock = seconds;
            Ok(())
        });
    }

    /// Mounts a subvolume, or a directory in one.
    pub fn mount(&self, volume: impl AsRef<Path>, inside: &str, at: &str) {
        let volume = self
            .seen(|disk| disk.id_at(volume.as_ref()))
            .expect("a subvolume");
        self.machine.borrow_mut().mounts.push(Mount {
            volume,
            inside: inside.into(),
            at: at.into(),
        });
    }

    /// The tree of a directory or subvolume.
    pub fn tree(&self, at: impl AsRef<Path>) -> Option<Tree> {
        self.seen(|disk| kernel::tree_at(disk, at.as_ref()))
    }

    /// Every subvolume's path, in no promised order, with its read-only flag.
    pub fn volumes(&self) -> BTreeMap<PathBuf, bool> {
        self.seen(|disk| {
            let one = |id| {
                let path = disk.path_of(id).expect("it has a name");
                (path, disk.volume(id).expect("listed").info.is_read_only)
            };
            disk.ids().map(one).collect()
        })
    }
}

/// The usual machine: blank, a root that was lived in, a store with a nested subvolume, and
/// bystanders with hostile names.
impl SimBtrfs {
    /// Root has been booted and holds nested subvolumes, one of them read-only and two deep.
    pub fn machine(layout: Layout) -> Self {
        use std::os::unix::ffi::OsStrExt;
        let sim = Self::new(layout);
        let Layout { root, blank } = sim.layout();
        sim.set_clock(1);
        for path in [&root, &blank] {
            sim.directory(path.parent().expect("not the top level"));
        }
        sim.directory(PAST_ROOTS);
        sim.volume(&root);
        sim.directory(root.join("usr/sbin"));
        sim.put(root.join("usr/sbin/init"), "init");
        sim.link(root.join("sbin"), "usr/sbin");
        sim.directory(root.join("var/lib"));
        sim.snapshot_of(&root, &blank, true);
        sim.volume("persist");
        sim.put("persist/key", "key");
        sim.volume("persist/nested in store");
        sim.put("persist/nested in store/deep", "deep");
        sim.volume("nix");
        sim.put("nix/store", "store");
        sim.volume("with space\nand newline");
        sim.put("with space\nand newline/x", "x");
        sim.volume(std::ffi::OsStr::from_bytes(b"not utf-8 \xff"));
        sim.volume("swap");
        sim.swapfile("swap", true);
        sim.put("plain file", "plain");
        sim.put(root.join("lived in"), "outgoing");
        sim.volume(root.join("var/lib/machines"));
        sim.volume(root.join("var/lib/machines/two deep"));
        sim.put(root.join("var/lib/machines/two deep/file"), "nested");
        sim.set_flag(root.join("var/lib/machines/two deep"), true);
        sim.volume(root.join("a name with space"));
        sim.rewound()
    }

    /// The same machine, its history forgotten.
    #[must_use]
    pub fn rewound(mut self) -> Self {
        self.rewind();
        self
    }

    /// Whether any [`Leaf::Volume`] is in root.
    pub fn has_nested(&self) -> bool {
        let tree = self.world().root.unwrap_or_default();
        tree.values().any(|leaf| *leaf == Leaf::Volume)
    }
}
