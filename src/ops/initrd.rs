//! The initrds that this machine boots, read back: what is in them, against what must be.

use super::install_boot;
use crate::anchor::Anchor;
use crate::boot::files;
use crate::boot::initrd::judge::{self, Wanted};
use crate::boot::initrd::{Tree, find};
use crate::boot::unit;
use crate::context::Context;
use crate::machine::Machine;
use crate::paths::Shown;
use anyhow::Context as _;
use state_api::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Each initrd, the one that starts next first.
    pub images: Vec<Image>,
    /// The newest kernel, if it has no initrd while others do.
    pub bare: Option<String>,
}

/// One initrd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Where it is on the machine.
    pub path: PathBuf,
    /// Whether it starts next unless somebody says otherwise.
    pub is_next: bool,
    /// What it came to.
    pub verdict: Verdict,
}

impl Image {
    /// What speaks against booting it.
    pub fn faults(&self) -> Vec<String> {
        match &self.verdict {
            Verdict::Read(faults) => faults.clone(),
            Verdict::Denied => vec!["it cannot be read: permission denied".to_owned()],
            Verdict::Unreadable(why) => vec![format!("it cannot be read: {why}")],
        }
    }
}

/// What reading an initrd came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// What speaks against booting it; nothing: a boot with it is reset.
    Read(Vec<String>),
    /// Not everybody may read it.
    Denied,
    /// It cannot be read.
    Unreadable(String),
}

/// Reads them; `None` where no root is declared.
///
/// # Errors
/// What must be in them cannot be told, or `/boot` cannot be read.
pub fn look(cx: &Context) -> anyhow::Result<Option<Seen>> {
    let (settings, tree, text) = install_boot::declared(cx)?;
    let contents = files::initrd(&settings, &tree, &text);
    let Some(declared) = settings.root else {
        return Ok(None);
    };
    let program = install_boot::find_program(cx)?;
    let reading = || format!("reading {}", Shown(&program));
    let bytes = fs::read(cx.rooted(&program))
        .map_err(|error| Error::os(reading(), error))
        .with_context(reading)?;
    let machine = Machine::look(cx).context("looking at the machine")?;
    let dirs = find::dirs(&machine, Some(&declared));
    let wanted = Wanted {
        contents,
        program,
        bytes,
        stores: (unit::early_stores(&tree).into_iter())
            .filter_map(|store| Some(machine.line_of(store)?.filesystem.clone()))
            .collect(),
        root: declared,
    };
    let looking = || "looking for initrds".to_owned();
    let (root, found) = Anchor::open(&cx.root_dir)
        .and_then(|root| find::find(&root, &dirs).map(|found| (root, found)))
        .map_err(|error| Error::os(looking(), error))
        .with_context(looking)?;
    let images = found.images.into_iter().enumerate();
    let images = images.map(|(n, image)| Image {
        verdict: verdict(read(&root, &image.path, &wanted), &wanted),
        path: image.path,
        is_next: n < found.next,
    });
    Ok(Some(Seen {
        images: images.collect(),
        bare: found.bare,
    }))
}

fn read(root: &Anchor, path: &Path, wanted: &Wanted) -> io::Result<Tree> {
    let dir = path.parent().expect("it is in a directory");
    let name = path.file_name().expect("it has a name");
    let file = root.open_within(dir)?.read(Path::new(name))?;
    Tree::read(file.into(), &|path| wanted.reads(path))
}

fn verdict(tree: io::Result<Tree>, wanted: &Wanted) -> Verdict {
    match tree {
        Ok(tree) => Verdict::Read(judge::faults(&tree, wanted)),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Verdict::Denied,
        Err(error) => Verdict::Unreadable(crate::failure::plain_errnos(&error.to_string())),
    }
}
