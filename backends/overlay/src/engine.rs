//! The engine: looks, plans and acts through a [`Kernel`].

use crate::layout::{self, PAST_ROOTS, ROOT, SCRATCH, STAGED};
use crate::survey::FoundPast;
use crate::{Kernel, Node, Step, Survey, plan};
use state_api::{
    Changes, Error, Outcome, PastRootName, Plan, Reset, Result, RootBackend, RootCapabilities,
    RootFacts, Source, View,
};
use std::path::Path;

/// One machine's root under an overlay.
#[derive(Debug)]
pub struct Overlay<K> {
    pub(crate) kernel: K,
    /// Whether anything may not be on the disk yet; another run may have left it so.
    pub(crate) is_uncommitted: bool,
}

impl<K: Kernel> Overlay<K> {
    /// The root whose layers the kernel reaches.
    pub fn new(kernel: K) -> Self {
        Self {
            kernel,
            is_uncommitted: true,
        }
    }

    /// The kernel it acts through.
    pub fn kernel(&self) -> &K {
        &self.kernel
    }

    fn is_directory(&self, at: &Path) -> Result<bool> {
        Ok(self.kernel.node(at)? == Node::Directory)
    }

    /// The roots in the directory of past roots, and the other names there.
    fn find_past_roots(&self) -> Result<(Vec<FoundPast>, Vec<String>)> {
        if !self.is_directory(Path::new(PAST_ROOTS))? {
            return Ok((Vec::new(), Vec::new()));
        }
        let pinned = match self.is_directory(&layout::pins())? {
            true => self.kernel.names(&layout::pins())?,
            false => Vec::new(),
        };
        let names = self.kernel.names(Path::new(PAST_ROOTS))?;
        let (mut past_roots, taken) = PastRootName::among(names, |name| {
            Ok(match self.kernel.node(&layout::past(&name))? {
                Node::Root(origin) => Some(FoundPast {
                    is_pinned: pinned.iter().any(|pin| *pin == name.as_str()),
                    name,
                    origin,
                }),
                _ => None,
            })
        })?;
        past_roots.sort_by_key(|past| past.origin.sequence);
        Ok((past_roots, taken))
    }
}

impl<K: Kernel> RootBackend for Overlay<K> {
    const NAME: &'static str = "overlay";
    type Survey = Survey;

    fn capabilities(&self) -> RootCapabilities {
        RootCapabilities {
            erases: true,
            past_roots: true,
            whole_past_roots: true,
            blank: true,
            takes_blank: false,
            renews_blank: false,
        }
    }

    fn survey(&self) -> Result<Survey> {
        let kernel = &self.kernel;
        let (past_roots, taken) = self.find_past_roots()?;
        let scratch_dir = kernel.node(Path::new(SCRATCH))?;
        let scratch = match scratch_dir {
            Node::Directory => kernel.names(Path::new(SCRATCH))?,
            _ => Vec::new(),
        };
        Ok(Survey {
            disk: kernel.disk()?,
            lower: kernel.lower()?,
            top: kernel.node(Path::new(""))?,
            root: kernel.node(Path::new(ROOT))?,
            staged: kernel.node(Path::new(STAGED))?,
            past_roots_dir: kernel.node(Path::new(PAST_ROOTS))?,
            scratch_dir,
            scratch: scratch
                .iter()
                .map(|name| Path::new(SCRATCH).join(name))
                .collect(),
            past_roots,
            taken,
            mounts: kernel.mounts()?,
        })
    }

    fn facts(&self, survey: &Survey) -> RootFacts {
        survey.facts()
    }

    fn plan_reset(&self, survey: &Survey, reset: &Reset) -> Result<Plan<Step>> {
        plan::reset(survey, reset)
    }

    fn plan_delete(&self, survey: &Survey, past: &PastRootName) -> Result<Plan<Step>> {
        plan::past_root(survey, past)
    }

    fn plan_tidy(&self, survey: &Survey) -> Result<Plan<Step>> {
        plan::tidy(survey)
    }

    /// The lower layer is the blank, and a layer in use must not change below the one above it.
    fn plan_take_blank(&self, _: &Survey) -> Result<Plan<Step>> {
        Err(Error::Unsupported {
            engine: Self::NAME,
            what: "taking a blank: what is installed below the overlay is the blank",
        })
    }

    fn recheck(&self, survey: &Survey) -> Result<()> {
        let now = self.survey()?;
        let stale = |what: &str| Err(Error::Stale { what: what.into() });
        if now.lower != survey.lower {
            return stale("the lower layer");
        }
        if now.root != survey.root || now.staged != survey.staged {
            return stale(ROOT);
        }
        if now.mounts.len() > survey.mounts.len() {
            return stale("the mounts of root");
        }
        if now.past_roots != survey.past_roots || now.taken != survey.taken {
            return stale(PAST_ROOTS);
        }
        Ok(())
    }

    fn pin(&mut self, past: &PastRootName, pinned: bool) -> Result<Outcome> {
        if !matches!(self.kernel.node(&layout::past(past))?, Node::Root(_)) {
            return Err(Error::Missing {
                what: format!("past root {past}"),
            });
        }
        if !pinned && !self.is_directory(&layout::pins())? {
            return Ok(Outcome::AlreadySo);
        }
        self.kernel.make_directory(&layout::pins())?;
        let outcome = self.kernel.mark(&layout::pin(past), pinned)?;
        self.kernel.commit()?;
        Ok(outcome)
    }

    fn open_root(&self) -> Result<View> {
        self.kernel.open(Path::new(ROOT))
    }

    fn open(&self, source: &Source) -> Result<View> {
        match source {
            Source::Blank => self.kernel.open_lower(),
            Source::Past(name) => match self.kernel.node(&layout::past(name))? {
                Node::Root(_) => self.kernel.open(&layout::past(name)),
                _ => Err(Error::Missing {
                    what: format!("past root {name}"),
                }),
            },
        }
    }

    /// A layer is the difference between a root and what it was begun above; what the system was
    /// before an upgrade nobody knows any more.
    fn changes(&self, old: &Source, new: Option<&Source>) -> Result<Option<Changes>> {
        let root = match new {
            None => Path::new(ROOT).into(),
            Some(Source::Past(name)) => layout::past(name),
            Some(Source::Blank) => return Ok(None),
        };
        let (Source::Blank, Node::Root(origin)) = (old, self.kernel.node(&root)?) else {
            return Ok(None);
        };
        match self.kernel.lower()? {
            Some(lower) if lower.identity.0 == origin.lower => self.kernel.written(&root).map(Some),
            _ => Ok(None),
        }
    }
}
