//! The engine: looks, plans and acts through a [`Kernel`].

use crate::changes::{self, Tree};
use crate::layout::{Layout, RESERVED};
use crate::shown::Shown;
use crate::survey::{Found, FoundPast, Nested, Reading, identity};
use crate::{Kernel, Node, Step, Subvolume, Survey, blank, delete, plan, renew};
use state_api::{
    BadName, Changes, Error, Outcome, PastRootName, Plan, Renewal, Reset, Result, RootBackend,
    RootCapabilities, RootFacts, Source, View,
};
use state_linux::system::INITS;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Where every Nix store keeps its database, relative to root.
const NIX_DATABASE: &str = "nix/var/nix/db";

/// One machine's root on btrfs.
#[derive(Debug)]
pub struct Btrfs<K> {
    pub(crate) kernel: K,
    layout: Layout,
    /// Whether anything may not be on the disk yet; another run may have left it so.
    pub(crate) is_uncommitted: bool,
}

impl<K: Kernel> Btrfs<K> {
    /// The root `subvolume` and its `blank` (by default beside it, with `-blank`), both as paths
    /// from the filesystem's top level. Past roots are kept in `past-roots` there.
    ///
    /// # Errors
    /// A path that cannot be one.
    pub fn new(kernel: K, subvolume: &Path, blank: Option<&Path>) -> Result<Self, BadName> {
        Ok(Self {
            kernel,
            layout: Layout::new(subvolume, blank)?,
            is_uncommitted: true,
        })
    }

    /// Names a path from the top level that must outlive every reset (a store, whatever `fstab`
    /// mounts from this filesystem): a plan that would put it away with root is refused.
    ///
    /// # Errors
    /// A path that cannot be one.
    pub fn protecting(mut self, path: &Path) -> Result<Self, BadName> {
        self.layout.protect(path)?;
        Ok(self)
    }

    /// The kernel it acts through.
    pub fn kernel(&self) -> &K {
        &self.kernel
    }

    /// The same, to act on directly.
    pub fn kernel_mut(&mut self) -> &mut K {
        &mut self.kernel
    }

    fn reading<'a>(&'a self, survey: &'a Survey) -> Reading<'a> {
        Reading {
            layout: &self.layout,
            survey,
        }
    }

    fn find(&self, at: &Path) -> Result<Found> {
        let node = self.kernel.node(at)?;
        let mut nested = Vec::new();
        if let Node::Subvolume(top) = &node {
            for child in self.kernel.children(top.id)? {
                let path = at.join(&child.path);
                nested.push(Nested {
                    id: child.id,
                    is_read_only: match self.kernel.node(&path)? {
                        Node::Subvolume(found) => found.is_read_only,
                        _ => continue, // deleted in this moment
                    },
                    at: path,
                });
            }
        }
        Ok(Found {
            at: at.to_owned(),
            node,
            nested,
        })
    }

    /// The subvolumes in the directory of past roots, and the other names there.
    fn find_past_roots(&self, dir: &Node, pins: &Node) -> Result<(Vec<FoundPast>, Vec<String>)> {
        let is_directory = |node: &Node| matches!(node, Node::Directory | Node::Subvolume(_));
        if !is_directory(dir) {
            return Ok((Vec::new(), Vec::new()));
        }
        let pinned = match is_directory(pins) {
            true => self.kernel.names(&self.layout.pins())?,
            false => Vec::new(),
        };
        let names = self.kernel.names(&self.layout.past_roots())?;
        // What is no text is no name of ours.
        let names = names.into_iter().filter_map(|name| name.into_string().ok());
        let (mut past_roots, taken) = PastRootName::among(names, |name| {
            let found = self.find(&self.layout.past(&name))?;
            Ok(found.subvolume().is_some().then(|| FoundPast {
                is_pinned: pinned.iter().any(|pin| *pin == *name.as_str()),
                name,
                found,
            }))
        })?;
        past_roots.sort_by_key(|past| past.found.subvolume().map(|top| top.id));
        Ok((past_roots, taken))
    }

    fn has_init(&self, found: &Found) -> Result<bool> {
        if found.subvolume().is_none() {
            return Ok(false);
        }
        for path in INITS {
            if self.kernel.resolves(&found.at, Path::new(path))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether root holds a Nix store that would not come back with blank.
    fn has_nix(&self) -> Result<bool> {
        let at = |top: &Path, rest: &str| self.kernel.node(&top.join(rest));
        let (root, blank) = (&self.layout.root, &self.layout.blank);
        Ok(matches!(at(root, "nix")?, Node::Subvolume(_))
            || at(root, NIX_DATABASE)? == Node::Directory
                && at(blank, NIX_DATABASE)? != Node::Directory)
    }

    fn look(&self) -> Result<Survey> {
        let layout = &self.layout;
        let blank = self.find(&layout.blank)?;
        let past_roots_dir = self.kernel.node(&layout.past_roots())?;
        let pins_dir = self.kernel.node(&layout.pins())?;
        let (past_roots, taken) = self.find_past_roots(&past_roots_dir, &pins_dir)?;
        Ok(Survey {
            filesystem: self.kernel.filesystem()?,
            root: self.find(&layout.root)?,
            staged: self.find(&layout.staged())?,
            scratch: self.find(&layout.scratch())?,
            previous: self.find(&layout.previous())?,
            blank_staged: self.find(&layout.blank_staged())?,
            superseded: self.find(&layout.superseded())?,
            draft: self.find(&layout.draft())?,
            past_roots_dir,
            pins_dir,
            reserved_dir: self.kernel.node(Path::new(RESERVED))?,
            past_roots,
            taken,
            mounts: self.kernel.mounts()?,
            blank_has_init: self.has_init(&blank)?,
            nix_in_root: self.has_nix()?,
            blank,
        })
    }
}

impl<K: Kernel> RootBackend for Btrfs<K> {
    const NAME: &'static str = "btrfs";
    type Survey = Survey;

    fn capabilities(&self) -> RootCapabilities {
        RootCapabilities {
            erases: true,
            past_roots: true,
            whole_past_roots: true,
            blank: true,
            takes_blank: true,
            renews_blank: true,
        }
    }

    fn survey(&self) -> Result<Survey> {
        self.look()
    }

    fn facts(&self, survey: &Survey) -> RootFacts {
        self.reading(survey).facts()
    }

    fn plan_reset(&self, survey: &Survey, reset: &Reset) -> Result<Plan<Step>> {
        plan::reset(&self.layout, survey, reset)
    }

    fn plan_delete(&self, survey: &Survey, past: &PastRootName) -> Result<Plan<Step>> {
        delete::past_root(&self.layout, survey, past)
    }

    fn plan_take_blank(&self, survey: &Survey) -> Result<Plan<Step>> {
        blank::take(&self.layout, survey)
    }

    fn plan_renewal(&self, survey: &Survey, what: Renewal) -> Result<Plan<Step>> {
        renew::plan(&self.layout, survey, what)
    }

    fn plan_tidy(&self, survey: &Survey) -> Result<Plan<Step>> {
        renew::tidy(&self.layout, survey)
    }

    fn mount_draft(&self) -> Result<OwnedFd> {
        self.kernel.mount(&self.layout.draft())
    }

    fn open_previous_blank(&self) -> Result<View> {
        self.kernel.open(&self.layout.previous())
    }

    fn recheck(&self, survey: &Survey) -> Result<()> {
        let now = self.look()?;
        let stale = |what: String| Err(Error::Stale { what });
        if now.filesystem != survey.filesystem {
            return stale(format!("the filesystem {}", survey.filesystem.uuid));
        }
        // A plan to delete or to take blank is carried out while root is in use.
        let which = |found: &Found| found.subvolume().map(|top| (top.id, top.uuid));
        if which(&now.root) != which(&survey.root) {
            return stale(Shown(&survey.root.at).to_string());
        }
        let (was_mounted, is_mounted) = (self.is_mounted(survey), self.is_mounted(&now));
        if is_mounted && !was_mounted {
            return stale(format!("the mounts of {}", Shown(&survey.root.at)));
        }
        let state = |found: &Found| found.subvolume().map(identity);
        for (was, is) in [
            (&survey.blank, &now.blank),
            (&survey.staged, &now.staged),
            (&survey.scratch, &now.scratch),
            (&survey.previous, &now.previous),
            (&survey.blank_staged, &now.blank_staged),
            (&survey.superseded, &now.superseded),
            (&survey.draft, &now.draft),
        ] {
            let flag = |found: &Found| found.subvolume().map(|top| top.is_read_only);
            if state(was) != state(is) || flag(was) != flag(is) || was.nested != is.nested {
                return stale(Shown(&was.at).to_string());
            }
        }
        if now.past_roots != survey.past_roots || now.taken != survey.taken {
            return stale(Shown(&self.layout.past_roots()).to_string());
        }
        Ok(())
    }

    fn pin(&mut self, past: &PastRootName, pinned: bool) -> Result<Outcome> {
        let at = self.layout.past(past);
        if !matches!(self.kernel.node(&at)?, Node::Subvolume(_)) {
            return Err(Error::Missing {
                what: format!("past root {past}"),
            });
        }
        let is_dir = self.kernel.node(&self.layout.pins())? != Node::Missing;
        if !is_dir && !pinned {
            return Ok(Outcome::AlreadySo);
        }
        self.kernel.make_directory(&self.layout.pins())?;
        let outcome = self.kernel.mark(&self.layout.pin(past), pinned)?;
        self.kernel.commit()?;
        Ok(outcome)
    }

    fn open_root(&self) -> Result<View> {
        self.kernel.open(&self.layout.root)
    }

    fn open(&self, source: &Source) -> Result<View> {
        let (at, _) = self.source(source)?;
        self.kernel.open(&at)
    }

    fn changes(&self, old: &Source, new: Option<&Source>) -> Result<Option<Changes>> {
        let tree = |source: Option<&Source>| {
            let (at, top) = match source {
                Some(source) => self.source(source)?,
                None => self.subvolume(self.layout.root.clone(), "root")?,
            };
            Tree::of(&self.kernel, &at, top.id)
        };
        changes::between(&self.kernel, &tree(Some(old))?, &tree(new)?, usize::MAX)
    }
}

impl<K: Kernel> Btrfs<K> {
    /// Where blank or a past root is, and its subvolume.
    fn source(&self, source: &Source) -> Result<(PathBuf, Subvolume)> {
        match source {
            Source::Blank => {
                let at = self.layout.blank.clone();
                let what = Shown(&at).to_string();
                self.subvolume(at, &what)
            }
            Source::Past(past) => {
                self.subvolume(self.layout.past(past), &format!("past root {past}"))
            }
        }
    }

    fn subvolume(&self, at: PathBuf, what: &str) -> Result<(PathBuf, Subvolume)> {
        match self.kernel.node(&at)? {
            Node::Subvolume(top) => Ok((at, top)),
            _ => Err(Error::Missing { what: what.into() }),
        }
    }

    fn is_mounted(&self, survey: &Survey) -> bool {
        let reading = self.reading(survey);
        [&survey.root, &survey.staged, &survey.scratch]
            .into_iter()
            .any(|found| reading.mounted_below(&found.at).next().is_some())
    }
}
