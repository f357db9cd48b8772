//! The real kernel: system calls on root, on a private mount of the filesystem with its blank, and
//! on the directory of its past roots.

use crate::kernel::Write;
use crate::layout::{self, BLANK, BUILDING, PAST_ROOTS};
use crate::{Kernel, Mounted, Node, Origin, Tree};
use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, RenameFlags, ResolveFlags, fsync, mkdirat, openat, openat2,
    renameat_with, syncfs, unlinkat,
};
use rustix::io::Errno;
use state_api::{Error, Outcome, Refusal, Result, View};
use state_linux::mount;
use state_linux::mountinfo;
use state_linux::stat::{Kind, Stat};
use state_linux::tree::{self, DIRECTORY};
use state_linux::{note, swap};
use std::cell::OnceCell;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

mod blank;
mod root;

use blank::Yard;

/// What a captured root was captured with.
const ORIGIN: &str = "origin.json";

/// What the engine leaves to those above it: they know how trees are copied and archived.
pub trait Craft: fmt::Debug {
    /// Copies what is in `from`, and what belongs to its top, into the empty directory `to`; but
    /// not what `leave_out` says of a path and everything below it. Says what `to` could not hold.
    ///
    /// # Errors
    /// The first thing that could not be read or written.
    fn copy(
        &self,
        from: &View,
        to: BorrowedFd<'_>,
        leave_out: &dyn Fn(&Path) -> bool,
    ) -> Result<Vec<String>>;

    /// Unpacks as much of the root captured in the directory `from` as is needed to look at `part`
    /// and what is below it, into the empty directory `to`.
    ///
    /// # Errors
    /// It is damaged, or does not fit.
    fn unpack(&self, from: BorrowedFd<'_>, part: &Path, to: BorrowedFd<'_>) -> Result<()>;
}

/// Where everything is.
#[derive(Debug, Clone)]
pub struct Places {
    /// Where root is mounted.
    pub at: PathBuf,
    /// The limit of its size that was declared, as tmpfs(5) writes it.
    pub size: Option<String>,
    /// The stores of the persist tree, as on the machine.
    pub stores: Vec<PathBuf>,
    /// The directory of past roots, as it can be reached now.
    pub past_roots: Option<PathBuf>,
    /// What root is filled from: a device, and the path from the top of the filesystem on it.
    pub blank: Option<(PathBuf, PathBuf)>,
}

/// Root in memory, and what it is filled from and captured to.
#[derive(Debug)]
pub struct Live {
    places: Places,
    craft: Box<dyn Craft>,
    /// Opened when something on it is asked for.
    yard: OnceCell<Yard>,
    /// What root could not hold of its blank.
    lost: Vec<String>,
}

impl Live {
    /// The root, blank and past roots at these places.
    pub fn new(places: Places, craft: Box<dyn Craft>) -> Self {
        Self {
            places,
            craft,
            yard: OnceCell::new(),
            lost: Vec::new(),
        }
    }

    /// What root could not hold of what it was filled with, a line for each path.
    pub fn lost(&self) -> &[String] {
        &self.lost
    }

    /// The directory of past roots.
    fn past_roots(&self) -> io::Result<OwnedFd> {
        let path = self.places.past_roots.as_ref().ok_or(Errno::NOENT)?;
        Ok(openat(CWD, path, DIRECTORY, Mode::empty())?)
    }

    fn open_at(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let (base, rest) = match path.strip_prefix(PAST_ROOTS) {
            Ok(rest) => (self.past_roots()?, rest.as_os_str().to_owned()),
            Err(_) => {
                let yard = self.yard()?;
                (yard.directory()?, yard.name(path))
            }
        };
        let rest = match rest.is_empty() {
            true => OsStr::new("."),
            false => &rest,
        };
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        Ok(openat2(&base, rest, flags, Mode::empty(), resolve)?)
    }

    /// The directory that a name is in, and the name.
    fn parent(&self, path: &Path) -> io::Result<(OwnedFd, OsString)> {
        match path.parent() {
            Some(above) if above.starts_with(PAST_ROOTS) => {
                let name = path.file_name().ok_or(Errno::INVAL)?;
                Ok((self.open_at(above, DIRECTORY)?, name.to_owned()))
            }
            _ => {
                let yard = self.yard()?;
                Ok((yard.directory()?, yard.name(path)))
            }
        }
    }

    fn find(&self, path: &Path) -> io::Result<Node> {
        let stat = match path == Path::new(PAST_ROOTS) {
            true => self.past_roots().and_then(Stat::of_open),
            false => {
                let place = self.parent(path);
                place.and_then(|(dir, name)| Stat::of(&dir, name))
            }
        };
        let stat = match stat {
            Ok(stat) => stat,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Node::Missing),
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::NOTDIR | Errno::LOOP) => return Ok(Node::Other),
                _ => return Err(error),
            },
        };
        Ok(match stat.kind {
            Kind::Directory if path.starts_with(PAST_ROOTS) => {
                match read_origin(self.open_at(path, DIRECTORY)?)? {
                    Some(origin) => Node::Captured(origin),
                    None => Node::Directory,
                }
            }
            Kind::Directory => Node::Directory,
            Kind::File => Node::File,
            _ => Node::Other,
        })
    }

    fn make_all(&self, path: &Path) -> io::Result<Outcome> {
        let below = path.strip_prefix(PAST_ROOTS).map_err(|_| Errno::INVAL)?;
        let top = self.places.past_roots.as_ref().ok_or(Errno::NOENT)?;
        // The store itself must be there: what is not mounted is not written to.
        let ours = top.parent().ok_or(Errno::INVAL)?;
        let store = ours.parent().ok_or(Errno::INVAL)?;
        let mut dir = openat(CWD, store, DIRECTORY, Mode::empty())?;
        let mut outcome = Outcome::AlreadySo;
        let names = [ours, top].into_iter().filter_map(Path::file_name);
        for name in names.chain(below.iter()) {
            outcome = match mkdirat(&dir, name, Mode::RWXU) {
                Ok(()) => {
                    fsync(&dir)?;
                    Outcome::Made
                }
                Err(Errno::EXIST) => Outcome::AlreadySo,
                Err(errno) => return Err(errno.into()),
            };
            dir = openat(&dir, name, DIRECTORY, Mode::empty())?;
        }
        Ok(outcome)
    }

    fn rename_with(&self, from: &Path, to: &Path, flags: RenameFlags) -> io::Result<()> {
        let (old_dir, old) = self.parent(from)?;
        let (new_dir, new) = self.parent(to)?;
        Ok(renameat_with(&old_dir, old, &new_dir, new, flags)?)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.rename_with(from, to, RenameFlags::NOREPLACE)
    }

    /// An empty directory to build something in.
    fn build_in(&self, at: &Path) -> Result<OwnedFd> {
        let failed = |error: io::Error| Error::os(format!("making {}", at.display()), error);
        let (dir, name) = self.parent(at).map_err(failed)?;
        swap::remove_tree(&dir, &name)?;
        mkdirat(&dir, &name, Mode::RWXU).map_err(|errno| failed(errno.into()))?;
        openat(&dir, &name, DIRECTORY, Mode::empty()).map_err(|errno| failed(errno.into()))
    }
}

fn read_origin(dir: impl AsFd) -> io::Result<Option<Origin>> {
    let text = note::read(dir, ORIGIN)?;
    // What cannot be read is no root of ours, and no plan touches it.
    Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
}

/// An error that says what was being done.
fn os(doing: String) -> impl FnOnce(io::Error) -> Error {
    move |error| Error::os(doing, error)
}

impl Kernel for Live {
    fn mounted(&self) -> Result<Mounted> {
        let looking = || os(format!("looking at {}", self.places.at.display()));
        let mounts = mountinfo::read().map_err(looking())?;
        let stat = Stat::of(CWD, self.places.at.as_path()).map_err(looking())?;
        Ok(Mounted::new(
            &self.places.at,
            self.places.size.as_deref(),
            &self.places.stores,
            &mounts,
            stat.mode,
        ))
    }

    fn is_empty(&self) -> Result<bool> {
        let at = &self.places.at;
        let look = || -> io::Result<bool> {
            let top = openat(CWD, at, DIRECTORY, Mode::empty())?;
            Ok(tree::names(top)?.is_empty())
        };
        look().map_err(os(format!("listing {}", at.display())))
    }

    fn blank_name(&self) -> Option<String> {
        let (device, path) = self.places.blank.as_ref()?;
        Some(format!("{}:/{}", device.display(), path.display()))
    }

    fn tree(&self, at: &Path) -> Result<Option<Tree>> {
        self.find_tree(at)
            .map_err(os(format!("looking at {}", at.display())))
    }

    fn node(&self, path: &Path) -> Result<Node> {
        self.find(path)
            .map_err(os(format!("looking at {}", path.display())))
    }

    fn names(&self, dir: &Path) -> Result<Vec<String>> {
        let list = || -> io::Result<Vec<String>> {
            let names = tree::names(self.open_at(dir, DIRECTORY)?)?.into_iter();
            let mut names: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
            names.sort();
            Ok(names)
        };
        list().map_err(os(format!("listing {}", dir.display())))
    }

    fn make_directory(&mut self, at: &Path) -> Result<Outcome> {
        self.make_all(at)
            .map_err(os(format!("making {}", at.display())))
    }

    fn fill(&mut self) -> Result<()> {
        self.lost = self.fill_root()?;
        Ok(())
    }

    fn copy_root(&mut self, to: &Path) -> Result<()> {
        let yard = self.yard().map_err(os("looking for blank".into()))?;
        yard.make().map_err(os("making blank's directory".into()))?;
        let made = self.build_in(Path::new(BUILDING))?;
        let root = self.open_root()?;
        let ours = yard.inside(&root);
        let leave_out = |path: &Path| {
            path == Path::new("lost+found") || ours.as_ref().is_some_and(|ours| path == ours)
        };
        let lost = self.craft.copy(&root, made.as_fd(), &leave_out)?;
        if let Some(what) = lost.first() {
            return Err(Refusal::Unsafe {
                fact: format!("the filesystem of blank cannot hold all of root: {what}"),
                cure: "choose one that can: one like root's own".into(),
            }
            .into());
        }
        let finish = || {
            syncfs(&made)?;
            self.rename_new(Path::new(BUILDING), to)
        };
        finish().map_err(os(format!("making {}", to.display())))
    }

    fn capture(&mut self, at: &Path, origin: &Origin, write: Write<'_>) -> Result<()> {
        let building = layout::scratch_dir().join("building");
        let dir = self.build_in(&building)?;
        write(dir.as_fd())?;
        let finish = || {
            note::write(&dir, ORIGIN, &serde_json::to_vec(origin)?)?;
            fsync(&dir)?;
            self.rename_new(&building, at)
        };
        finish().map_err(os(format!("making {}", at.display())))
    }

    fn rename(&mut self, from: &Path, to: &Path) -> Result<()> {
        let doing = format!("renaming {} to {}", from.display(), to.display());
        self.rename_new(from, to).map_err(os(doing))
    }

    fn exchange(&mut self, a: &Path, b: &Path) -> Result<bool> {
        let doing = format!("exchanging {} and {}", a.display(), b.display());
        match self.rename_with(a, b, RenameFlags::EXCHANGE) {
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Ok(false),
            exchanged => exchanged.map(|()| true).map_err(os(doing)),
        }
    }

    fn remove(&mut self, at: &Path) -> Result<Outcome> {
        let (dir, name) = self
            .parent(at)
            .map_err(os(format!("deleting {}", at.display())))?;
        swap::remove_tree(dir, &name)
    }

    fn mark(&mut self, at: &Path, present: bool) -> Result<Outcome> {
        let mark = || -> io::Result<Outcome> {
            let (dir, name) = self.parent(at)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let done = match present {
                true => openat(&dir, &name, flags, Mode::RUSR).map(drop),
                false => unlinkat(&dir, &name, AtFlags::empty()),
            };
            match done {
                Ok(()) => Ok(Outcome::Made),
                Err(Errno::EXIST | Errno::NOENT) => Ok(Outcome::AlreadySo),
                Err(errno) => Err(errno.into()),
            }
        };
        mark().map_err(os(format!("marking {}", at.display())))
    }

    fn commit(&mut self) -> Result<()> {
        let commit = || -> io::Result<()> {
            match self.past_roots() {
                Ok(dir) => syncfs(&dir)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            if let Some(yard) = self.yard.get() {
                yard.commit()?;
            }
            Ok(())
        };
        commit().map_err(os("writing everything to the disk".into()))
    }

    fn open_root(&self) -> Result<View> {
        self.root_alone()
            .map_err(os(format!("opening {}", self.places.at.display())))
    }

    fn open_blank(&self) -> Result<View> {
        let at = match self.node(Path::new(BLANK))? {
            Node::Missing => layout::STAGED,
            _ => BLANK,
        };
        if self.node(Path::new(at))? == Node::Missing {
            return Err(Error::Missing {
                what: self.blank_name().unwrap_or_else(|| BLANK.into()),
            });
        }
        self.open_tree(Path::new(at))
            .map_err(os("opening blank".into()))
    }

    fn open_captured(&self, at: &Path, part: &Path) -> Result<View> {
        let opening = || os(format!("opening {}", at.display()));
        let dir = self.open_at(at, DIRECTORY).map_err(opening())?;
        // In memory, where nothing of it stays behind; no more than half of it, as always.
        let mode = ("mode", Some(OsStr::new("0700")));
        let mount = mount::tmpfs(&[mode], mount::DATA_ONLY).map_err(opening())?;
        let top = mount::open_top(&mount).map_err(opening())?;
        self.craft.unpack(dir.as_fd(), part, top.as_fd())?;
        Ok(View::frozen(top).keeping(mount))
    }
}
