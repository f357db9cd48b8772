//! A root in memory: fresh, and so blank, at every boot. Nothing has to be erased and no root is
//! kept; what this engine owns is that the tmpfs is mounted as a root must be, and that the stores
//! are not part of it.
#![forbid(unsafe_code)]

mod survey;

pub use survey::{Advice, Survey};

use rustix::fs::{CWD, Mode, OFlags, openat};
use state_api::{
    Apply, Error, Outcome, PastRootName, Plan, Reset, Result, RootBackend, RootCapabilities,
    RootFacts, Source, View,
};
use state_linux::{mount, mountinfo, stat::Stat};
use std::fmt;
use std::io;
use std::path::PathBuf;

/// The engine.
#[derive(Debug, Clone)]
pub struct Tmpfs {
    root: PathBuf,
    size: Option<String>,
    stores: Vec<PathBuf>,
}

/// There is nothing to do, so there is no step.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub enum Step {}

impl fmt::Display for Step {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl Tmpfs {
    /// The engine of the machine whose root is mounted at `root`. `size` is the declared limit, and
    /// `stores` are where the persist tree is kept, as on the machine.
    pub fn new(root: impl Into<PathBuf>, size: Option<String>, stores: Vec<PathBuf>) -> Self {
        Self {
            root: root.into(),
            size,
            stores,
        }
    }

    fn refused(&self, survey: &Survey) -> Result<()> {
        match survey.refusals().into_iter().next() {
            Some(refusal) => Err(refusal.into()),
            None => Ok(()),
        }
    }

    fn opening(&self, error: io::Error) -> Error {
        Error::os(format!("opening {}", self.root.display()), error)
    }
}

impl Apply for Tmpfs {
    type Step = Step;

    fn apply(&mut self, step: &Step) -> Result<Outcome> {
        match *step {}
    }
}

impl RootBackend for Tmpfs {
    const NAME: &'static str = "tmpfs";
    type Survey = Survey;

    fn capabilities(&self) -> RootCapabilities {
        RootCapabilities {
            erases: false,
            past_roots: false,
            blank: false,
            takes_blank: false,
            renews_blank: false,
        }
    }

    fn survey(&self) -> Result<Survey> {
        let looking = |error| Error::os(format!("looking at {}", self.root.display()), error);
        let mounts = mountinfo::read().map_err(looking)?;
        let stat = Stat::of(CWD, self.root.as_path()).map_err(looking)?;
        let size = self.size.as_deref();
        Ok(Survey::new(
            &self.root,
            size,
            &self.stores,
            &mounts,
            stat.mode,
        ))
    }

    fn facts(&self, survey: &Survey) -> RootFacts {
        RootFacts {
            root: format!("the tmpfs at {}", survey.at.display()),
            exists: survey.is_tmpfs(),
            mounted_at: survey
                .is_tmpfs()
                .then(|| survey.at.clone())
                .into_iter()
                .collect(),
            blank: None,
            previous_blank: None,
            past_roots: Vec::new(),
            leftovers: Vec::new(),
            refusals: survey.refusals(),
        }
    }

    fn plan_reset(&self, survey: &Survey, _: &Reset) -> Result<Plan<Step>> {
        self.refused(survey)?;
        Ok(Plan::nothing())
    }

    fn plan_delete(&self, _: &Survey, past: &PastRootName) -> Result<Plan<Step>> {
        Err(missing(past))
    }

    fn plan_take_blank(&self, _: &Survey) -> Result<Plan<Step>> {
        Err(unsupported("a blank snapshot"))
    }

    fn recheck(&self, survey: &Survey) -> Result<()> {
        if self.survey()? == *survey {
            return Ok(());
        }
        Err(Error::Stale {
            what: self.root.display().to_string(),
        })
    }

    fn pin(&mut self, past: &PastRootName, _: bool) -> Result<Outcome> {
        Err(missing(past))
    }

    /// The tmpfs itself, without what is mounted in it: also what entries and other mounts hide.
    /// Who may not mount sees the directory as it is, mount points and all.
    fn open_root(&self) -> Result<View> {
        match mount::clone_tree(CWD, &self.root, false) {
            Ok(alone) => {
                let top = mount::open_top(&alone).map_err(|error| self.opening(error))?;
                Ok(View::live(top).keeping(alone))
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                openat(CWD, &self.root, flags, Mode::empty())
                    .map(View::live)
                    .map_err(|errno| self.opening(errno.into()))
            }
            Err(error) => Err(self.opening(error)),
        }
    }

    fn open(&self, source: &Source) -> Result<View> {
        match source {
            Source::Blank => Err(unsupported("a blank snapshot")),
            Source::Past(name) => Err(missing(name)),
        }
    }
}

fn missing(past: &PastRootName) -> Error {
    Error::Missing {
        what: format!("past root {past}"),
    }
}

fn unsupported(what: &'static str) -> Error {
    Error::Unsupported {
        engine: Tmpfs::NAME,
        what,
    }
}
