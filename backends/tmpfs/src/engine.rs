//! The engine: looks, plans and acts through a [`Kernel`].

use crate::kernel::Write;
use crate::layout::{self, BLANK, BUILDING, DISCARDED, PAST_ROOTS, PREVIOUS, STAGED};
use crate::survey::{BlankSeen, FoundPast, Moment};
use crate::{Kernel, Node, Origin, Step, Survey, Tree, plan};
use state_api::{
    Error, Outcome, PastRootName, Plan, Reset, Result, RootBackend, RootCapabilities, RootFacts,
    Source, View,
};
use std::path::Path;

/// The engine of one machine's root in memory.
#[derive(Debug)]
pub struct Tmpfs<K> {
    pub(crate) kernel: K,
    moment: Moment,
}

impl<K: Kernel> Tmpfs<K> {
    /// The root of a machine that lives.
    pub fn new(kernel: K) -> Self {
        Self {
            kernel,
            moment: Moment::Living,
        }
    }

    /// The same in an initrd, where root is filled.
    #[must_use]
    pub fn to_be_filled(mut self) -> Self {
        if self.kernel.blank_name().is_some() {
            self.moment = Moment::Filling;
        }
        self
    }

    /// The kernel it acts through.
    pub fn kernel(&self) -> &K {
        &self.kernel
    }

    fn is_directory(&self, at: &Path) -> Result<bool> {
        Ok(self.kernel.node(at)? == Node::Directory)
    }

    /// The captured roots, and the other names in their directory.
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
                Node::Captured(origin) => Some(FoundPast {
                    is_pinned: pinned.iter().any(|pin| *pin == name.as_str()),
                    name,
                    sequence: origin.sequence,
                }),
                _ => None,
            })
        })?;
        past_roots.sort_by_key(|past| past.sequence);
        Ok((past_roots, taken))
    }

    fn find_blank(&self) -> Result<Option<BlankSeen>> {
        let Some(name) = self.kernel.blank_name() else {
            return Ok(None);
        };
        let look = |at: &str| -> Result<(Node, Option<Tree>)> {
            let at = Path::new(at);
            let node = self.kernel.node(at)?;
            let tree = match node {
                Node::Directory | Node::File => self.kernel.tree(at)?,
                _ => None,
            };
            Ok((node, tree))
        };
        let (node, tree) = look(BLANK)?;
        let (staged, staged_tree) = look(STAGED)?;
        Ok(Some(BlankSeen {
            name,
            node,
            tree,
            staged,
            staged_tree,
            previous: self.kernel.node(Path::new(PREVIOUS))?,
            discarded: self.kernel.node(Path::new(DISCARDED))?,
            building: self.kernel.node(Path::new(BUILDING))?,
        }))
    }

    /// Makes a past root of what `write` writes, in the place of an earlier one of the same name:
    /// whenever the power fails, one of the two is there whole, if one was; where names cannot be
    /// exchanged, there is a moment with neither.
    ///
    /// # Errors
    /// Nothing can be written there, or `write` fails; then an earlier one is still there.
    pub fn capture(&mut self, name: &PastRootName, write: Write<'_>) -> Result<()> {
        let survey = self.survey()?;
        if let Some(refusal) = survey.not_what_they_claim() {
            return Err(refusal.into());
        }
        let origin = Origin {
            sequence: survey.next_sequence(),
        };
        self.kernel.make_directory(&layout::scratch_dir())?;
        // What an interrupted run left takes the room of this one.
        for at in &survey.scratch {
            self.kernel.remove(at)?;
        }
        let at = layout::past(name);
        if survey.past(name).is_none() {
            self.kernel.capture(&at, &origin, write)?;
            return self.kernel.commit();
        }
        let (new, old) = (layout::scratch(origin.sequence), layout::scratch(0));
        self.kernel.capture(&new, &origin, write)?;
        let outgoing = if self.kernel.exchange(&new, &at)? {
            new
        } else {
            self.kernel.rename(&at, &old)?;
            self.kernel.rename(&new, &at)?;
            old
        };
        self.kernel.commit()?;
        self.kernel.remove(&outgoing)?;
        Ok(())
    }
}

impl<K: Kernel> RootBackend for Tmpfs<K> {
    const NAME: &'static str = "tmpfs";
    type Survey = Survey;

    fn capabilities(&self) -> RootCapabilities {
        let is_filled = self.kernel.blank_name().is_some();
        RootCapabilities {
            erases: false,
            past_roots: true,
            whole_past_roots: false,
            blank: is_filled,
            takes_blank: is_filled,
            renews_blank: false,
        }
    }

    fn survey(&self) -> Result<Survey> {
        let kernel = &self.kernel;
        let (past_roots, taken) = self.find_past_roots()?;
        let scratch_dir = kernel.node(&layout::scratch_dir())?;
        let scratch = match scratch_dir {
            Node::Directory => kernel.names(&layout::scratch_dir())?,
            _ => Vec::new(),
        };
        let mounted = kernel.mounted()?;
        Ok(Survey {
            moment: self.moment,
            is_empty: self.moment == Moment::Filling && mounted.is_tmpfs() && kernel.is_empty()?,
            mounted,
            blank: self.find_blank()?,
            past_roots_dir: kernel.node(Path::new(PAST_ROOTS))?,
            scratch_dir,
            scratch: scratch
                .iter()
                .map(|name| layout::scratch_dir().join(name))
                .collect(),
            past_roots,
            taken,
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
        Ok(plan::tidy(survey))
    }

    fn plan_take_blank(&self, survey: &Survey) -> Result<Plan<Step>> {
        plan::take_blank(survey)
    }

    fn recheck(&self, survey: &Survey) -> Result<()> {
        let now = self.survey()?;
        let stale = |what: &str| Err(Error::Stale { what: what.into() });
        if now.blank != survey.blank {
            return stale(BLANK);
        }
        if now.past_roots != survey.past_roots || now.taken != survey.taken {
            return stale(PAST_ROOTS);
        }
        match now == *survey {
            true => Ok(()),
            false => stale("root"),
        }
    }

    fn pin(&mut self, past: &PastRootName, pinned: bool) -> Result<Outcome> {
        if !matches!(self.kernel.node(&layout::past(past))?, Node::Captured(_)) {
            return Err(missing(past));
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
        self.kernel.open_root()
    }

    fn open(&self, source: &Source) -> Result<View> {
        self.open_part(source, Path::new(""))
    }

    fn open_part(&self, source: &Source, part: &Path) -> Result<View> {
        match source {
            Source::Blank => self.kernel.open_blank(),
            Source::Past(name) => match self.kernel.node(&layout::past(name))? {
                Node::Captured(_) => self.kernel.open_captured(&layout::past(name), part),
                _ => Err(missing(name)),
            },
        }
    }
}

fn missing(past: &PastRootName) -> Error {
    Error::Missing {
        what: format!("past root {past}"),
    }
}
