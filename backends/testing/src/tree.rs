//! The content of a tree as a value that tests can compare whole.

use state_api::{Graft, View};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

/// One thing in a tree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Leaf {
    /// A directory.
    Directory,
    /// A regular file and its bytes.
    File(Vec<u8>),
    /// A symlink and where it points.
    Symlink(PathBuf),
    /// The top of a nested volume; what it holds follows under its path.
    Volume,
}

impl Leaf {
    /// A regular file.
    pub fn file(text: &str) -> Self {
        Self::File(text.into())
    }
}

/// A whole tree by relative path, nested volumes included. The top itself is not in it.
pub type Tree = BTreeMap<PathBuf, Leaf>;

/// A tree of regular files with the directories they need.
pub fn tree(files: &[(&str, &str)]) -> Tree {
    let mut tree = Tree::new();
    for (path, text) in files {
        let path = Path::new(path);
        for parent in path.ancestors().skip(1) {
            if !parent.as_os_str().is_empty() {
                tree.entry(parent.into()).or_insert(Leaf::Directory);
            }
        }
        tree.insert(path.into(), Leaf::file(text));
    }
    tree
}

/// Whether all of `part` is in `whole`, unchanged.
pub fn is_part_of(part: &Tree, whole: &Tree) -> bool {
    part.iter()
        .all(|(path, leaf)| whole.get(path) == Some(leaf))
}

/// Reads a tree through its view. Grafted volumes become [`Leaf::Volume`] with their content.
///
/// # Errors
/// Something in it cannot be read.
pub fn read(view: &View) -> io::Result<Tree> {
    use std::os::fd::AsFd;
    let mut tree = Tree::new();
    walk(view.dir.as_fd(), Path::new(""), Path::new(""), &mut tree)?;
    for graft in &view.grafts {
        tree.insert(graft.at.clone(), Leaf::Volume);
        walk(graft.dir.as_fd(), Path::new(""), &graft.at, &mut tree)?;
    }
    Ok(tree)
}

/// Shows a tree through a view, written to a temporary directory that lives as long as the view,
/// with its volumes grafted. Where a volume is, some filesystems have a directory in the tree
/// around it.
///
/// # Errors
/// It cannot be written.
pub fn show(mut tree: Tree, has_directories_there: bool) -> io::Result<View> {
    let keep = tempfile::tempdir()?;
    let written = |name: &str, part: &Tree| -> io::Result<fs::File> {
        let dir = keep.path().join(name);
        fs::create_dir(&dir)?;
        write(part, &dir)?;
        fs::File::open(&dir)
    };
    let is_volume = |(path, leaf): (&PathBuf, &Leaf)| (*leaf == Leaf::Volume).then(|| path.clone());
    let volumes: Vec<PathBuf> = tree.iter().filter_map(is_volume).collect();
    let mut grafts = Vec::new();
    // Deepest first: each takes what lies below it out of the tree around it.
    for (n, at) in volumes.into_iter().enumerate().rev() {
        let is_in = |path: &Path| path.starts_with(&at) && path != at;
        let (inside, mut rest): (Tree, Tree) = tree.into_iter().partition(|(path, _)| is_in(path));
        if !has_directories_there {
            rest.remove(&at);
        }
        tree = rest;
        let below = |(path, leaf): (PathBuf, Leaf)| {
            let path = path.strip_prefix(&at).expect("it lies inside");
            (path.to_owned(), leaf)
        };
        let nested = inside.into_iter().map(below).collect();
        let dir = written(&format!("nested-{n}"), &nested)?.into();
        grafts.push(Graft { at, dir });
    }
    grafts.reverse();
    let mut view = View::live(written("top", &tree)?.into());
    view.grafts = grafts;
    Ok(view.keeping(keep))
}

fn walk(dir: BorrowedFd<'_>, at: &Path, prefix: &Path, tree: &mut Tree) -> io::Result<()> {
    // Through /proc, so that std can read relative to a descriptor.
    let top = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    for entry in fs::read_dir(top.join(at))? {
        let entry = entry?;
        let path = at.join(entry.file_name());
        let kind = entry.file_type()?;
        let leaf = if kind.is_dir() {
            Leaf::Directory
        } else if kind.is_symlink() {
            Leaf::Symlink(fs::read_link(top.join(&path))?)
        } else {
            Leaf::File(fs::read(top.join(&path))?)
        };
        // A volume's top may already stand where the view around it shows an empty directory.
        tree.entry(prefix.join(&path)).or_insert(leaf);
        if kind.is_dir() {
            walk(dir, &path, prefix, tree)?;
        }
    }
    Ok(())
}

/// Writes a tree below an existing directory; nested volumes become directories.
///
/// # Errors
/// Something cannot be made.
pub fn write(tree: &Tree, dir: &Path) -> io::Result<()> {
    for (path, leaf) in tree {
        let at = dir.join(path);
        match leaf {
            Leaf::Directory | Leaf::Volume => fs::DirBuilder::new().mode(0o755).create(at)?,
            Leaf::File(bytes) => fs::write(at, bytes)?,
            Leaf::Symlink(to) => symlink(to, at)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut expected = tree(&[("etc/host name", "a"), ("new\nline", ""), ("x/y/z", "zz")]);
        expected.insert("link".into(), Leaf::Symlink("x/y".into()));
        let dir = tempfile::tempdir().unwrap();
        write(&expected, dir.path()).unwrap();
        let view = View::live(fs::File::open(dir.path()).unwrap().into());
        assert_eq!(read(&view).unwrap(), expected);
    }
}
