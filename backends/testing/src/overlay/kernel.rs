//! The simulated layers behind the engine's own trait.

use super::{Disk, Item, SCRATCH, SimOverlay};
use crate::tree::{self, Tree};
use rustix::io::Errno;
use state_api::{Changes, Error, Identity, Outcome, Result, View};
use state_overlay::{Kernel, Lower, Mounted, Node, Origin};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

type Answer<T> = std::result::Result<T, Errno>;

impl Disk {
    fn add(&mut self, at: &Path, item: Item) -> Answer<()> {
        let parent = at.parent().ok_or(Errno::EXIST)?;
        if self.items.contains_key(at) {
            Err(Errno::EXIST)
        } else if self.items.get(parent) != Some(&Item::Directory) {
            Err(Errno::NOENT)
        } else {
            self.items.insert(at.to_owned(), item);
            Ok(())
        }
    }

    fn make_all(&mut self, at: &Path) -> Answer<Outcome> {
        let mut outcome = Outcome::AlreadySo;
        let mut all: Vec<&Path> = at.ancestors().collect();
        all.reverse();
        for path in all {
            match self.items.get(path) {
                Some(Item::Directory) => {}
                Some(_) => return Err(Errno::NOTDIR),
                None => {
                    self.items.insert(path.to_owned(), Item::Directory);
                    outcome = Outcome::Made;
                }
            }
        }
        Ok(outcome)
    }

    fn root(&self, at: &Path) -> Answer<(&Origin, &Tree)> {
        match self.items.get(at) {
            Some(Item::Root(origin, tree)) => Ok((origin, tree)),
            Some(_) => Err(Errno::NOTDIR),
            None => Err(Errno::NOENT),
        }
    }

    fn lower(&self) -> Answer<&(Tree, u32)> {
        self.lower.as_ref().ok_or(Errno::NOENT)
    }

    /// What is seen of a root that begins with this.
    fn begun(&self, origin: &Origin) -> Answer<Tree> {
        Ok(match &origin.over {
            None => self.lower()?.0.clone(),
            Some(past) => {
                let at = Path::new(super::PAST_ROOTS).join(past.as_str());
                self.root(&at)?.1.clone()
            }
        })
    }
}

impl SimOverlay {
    fn act<T>(&self, doing: String, act: impl FnOnce(&mut Disk) -> Answer<T>) -> Result<T> {
        self.machine.borrow_mut().tape.act(doing, |disk| {
            if disk.is_read_only {
                return Err(Errno::ROFS);
            }
            act(disk)
        })
    }

    /// What overlayfs does then, it does not say.
    fn must_be_unused(&self, at: &Path) {
        let machine = self.machine.borrow();
        let used = machine.mounts.iter().any(|(root, _)| root == at);
        assert!(!used, "{} is moved while it is mounted", at.display());
    }

    fn view(tree: &Tree) -> Result<View> {
        let show = || {
            let dir = tempfile::tempdir()?;
            tree::write(tree, dir.path())?;
            let top = File::open(dir.path())?;
            let files = fs::canonicalize(dir.path())?;
            Ok::<_, std::io::Error>(View::frozen(top.into()).keeping((dir, files)))
        };
        show().map_err(|error| Error::os("showing a simulated root", error))
    }
}

impl Kernel for SimOverlay {
    fn disk(&self) -> Result<state_overlay::Disk> {
        self.look("looking", |disk| {
            Ok(state_overlay::Disk {
                name: "the simulated disk".into(),
                is_read_only: disk.is_read_only,
            })
        })
    }

    fn lower(&self) -> Result<Option<Lower>> {
        self.look("looking", |disk| {
            Ok(disk.lower.as_ref().map(|(tree, upgrades)| Lower {
                name: "the installed system".into(),
                identity: Identity(format!("upgrade {upgrades}")),
                is_writable: false,
                has_init: tree.contains_key(Path::new("sbin/init")),
            }))
        })
    }

    fn node(&self, path: &Path) -> Result<Node> {
        self.look("looking", |disk| {
            Ok(match disk.items.get(path) {
                None => Node::Missing,
                Some(Item::Directory) => Node::Directory,
                Some(Item::Root(origin, _)) => Node::Root(origin.clone()),
                Some(Item::File) => Node::Other,
            })
        })
    }

    fn names(&self, dir: &Path) -> Result<Vec<String>> {
        self.look("listing", |disk| {
            let inside = disk.items.keys().filter(|path| path.parent() == Some(dir));
            let names = inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
            Ok(names.collect())
        })
    }

    fn mounts(&self) -> Result<Vec<Mounted>> {
        let machine = self.machine.borrow();
        let mounts = machine.mounts.iter();
        Ok(mounts
            .map(|(root, at)| Mounted {
                root: root.clone(),
                at: at.clone(),
            })
            .collect())
    }

    fn make_directory(&mut self, at: &Path) -> Result<Outcome> {
        self.act(format!("making {}", at.display()), |disk| disk.make_all(at))
    }

    fn make_root(&mut self, at: &Path, origin: &Origin) -> Result<()> {
        self.act(format!("making {}", at.display()), |disk| {
            let tree = disk.begun(origin)?;
            disk.make_all(Path::new(SCRATCH))?;
            disk.add(at, Item::Root(origin.clone(), tree))
        })
    }

    fn rename(&mut self, from: &Path, to: &Path) -> Result<()> {
        self.must_be_unused(from);
        self.act(format!("renaming {}", from.display()), |disk| {
            let item = disk.items.get(from).cloned().ok_or(Errno::NOENT)?;
            disk.add(to, item)?;
            disk.items.remove(from);
            Ok(())
        })
    }

    fn exchange(&mut self, a: &Path, b: &Path) -> Result<()> {
        self.must_be_unused(a);
        self.must_be_unused(b);
        self.act(format!("exchanging {}", a.display()), |disk| {
            let first = disk.items.get(a).cloned().ok_or(Errno::NOENT)?;
            let second = disk.items.insert(b.to_owned(), first);
            let second = second.ok_or(Errno::NOENT)?;
            disk.items.insert(a.to_owned(), second);
            Ok(())
        })
    }

    fn commit(&mut self) -> Result<()> {
        self.act("committing".into(), |_| Ok(()))?;
        self.machine.borrow_mut().tape.commit();
        Ok(())
    }

    fn remove(&mut self, at: &Path) -> Result<Outcome> {
        assert!(
            at.starts_with(SCRATCH) && at != Path::new(SCRATCH),
            "{} is not scratch",
            at.display()
        );
        self.act(format!("deleting {}", at.display()), |disk| {
            let inside: Vec<PathBuf> = disk.items.keys().cloned().collect();
            let mut outcome = Outcome::AlreadySo;
            for path in inside.iter().filter(|path| path.starts_with(at)) {
                disk.items.remove(path);
                outcome = Outcome::Made;
            }
            Ok(outcome)
        })
    }

    fn mark(&mut self, at: &Path, present: bool) -> Result<Outcome> {
        self.act(format!("marking {}", at.display()), |disk| {
            let is = disk.items.contains_key(at);
            match present {
                true if !is => disk.add(at, Item::File)?,
                false if is => drop(disk.items.remove(at)),
                _ => return Ok(Outcome::AlreadySo),
            }
            Ok(Outcome::Made)
        })
    }

    fn open(&self, root: &Path) -> Result<View> {
        let tree = self.look("opening", |disk| Ok(disk.root(root)?.1.clone()))?;
        Self::view(&tree)
    }

    fn written(&self, root: &Path) -> Result<Changes> {
        // Layers are not simulated: any place may have been written to.
        self.look("looking", |disk| {
            disk.root(root).map(|_| Changes::everything())
        })
    }

    fn open_lower(&self) -> Result<View> {
        let tree = self.look("opening", |disk| Ok(disk.lower()?.0.clone()))?;
        Self::view(&tree)
    }
}
