//! The root-backend seam: the volume that is erased.

use crate::{Apply, Changes, Error, Outcome, PastRootName, Plan, Refusal, Result, View};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// What a root engine can do. Asked before planning, so that nothing fails half-way for want of
/// an ability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RootCapabilities {
    /// Root lives on a disk and has to be erased (false for tmpfs: a fresh one is blank).
    pub erases: bool,
    /// Retired roots can be kept.
    pub past_roots: bool,
    /// A past root holds all of root (false for tmpfs: what differed from blank).
    pub whole_past_roots: bool,
    /// There is a blank that can be looked at.
    pub blank: bool,
    /// The present root can become the blank.
    pub takes_blank: bool,
    /// The blank can be renewed in a writable copy of it, and the renewal taken back.
    pub renews_blank: bool,
}

/// The identity of a blank or a tree: equal text means unchanged content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity(pub String);

/// The blank snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Blank {
    /// Its name in the engine's own notation: `root-blank`, `rpool/local/root@blank`.
    pub name: String,
    /// What a plan relies on and [`RootBackend::recheck`] compares.
    pub identity: Identity,
    /// When it was taken, as far as the filesystem knows.
    pub taken_at: Option<DateTime<Utc>>,
}

/// A root that a reset retired and that is still kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PastRoot {
    /// Its name.
    pub name: PastRootName,
    /// When it was rotated, by `state`'s own record; `None` for names of other makers.
    pub rotated_at: Option<DateTime<Utc>>,
    /// Grows with every root the filesystem makes; says which is newest when clocks lie.
    pub sequence: u64,
    /// Pinned by the user: never collected.
    pub is_pinned: bool,
    /// What could not be seen any more without it, in words; it is not collected before that is.
    pub needed_by: Vec<String>,
}

/// What an interrupted reset left behind. Confusing the two kinds loses data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Leftover {
    /// A copy of blank that nobody booted: it is destroyed.
    Staged {
        /// Its name in the engine's notation.
        name: String,
    },
    /// A root not yet put away: putting it away is finished; it is never destroyed.
    Outgoing {
        /// Its name in the engine's notation.
        name: String,
    },
}

/// What every engine's survey tells in the same words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RootFacts {
    /// The root volume in the engine's notation, with its device or pool.
    pub root: String,
    /// Whether it exists now.
    pub exists: bool,
    /// Where it is mounted.
    pub mounted_at: Vec<PathBuf>,
    /// The blank, if there is one that can be used.
    pub blank: Option<Blank>,
    /// The blank before that one, if it is still kept.
    pub previous_blank: Option<Blank>,
    /// Past roots, oldest first (by `sequence`).
    pub past_roots: Vec<PastRoot>,
    /// What an interrupted reset left behind.
    pub leftovers: Vec<Leftover>,
    /// Everything that speaks against a reset now, worst first. Empty: a reset can run.
    pub refusals: Vec<Refusal>,
}

/// What becomes of the outgoing root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Retire {
    /// It is kept under this name, which no past root has yet.
    Keep(PastRootName),
    /// It is given up on purpose (`past-roots.last = 0`), as the plan's last, single act.
    GiveUp,
}

/// What the new root is a copy of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The blank snapshot.
    Blank,
    /// A past root, which itself stays as it is.
    Past(PastRootName),
}

/// What is asked of a reset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reset {
    /// What becomes of the outgoing root.
    pub retire: Retire,
    /// What the new root is made from; `None` (the kernel command line said `state.skip`) only
    /// finishes what an earlier run left behind.
    pub source: Option<Source>,
    /// Whether an init must be found inside blank (true outside NixOS, where init lives in root).
    pub needs_init: bool,
}

/// What is done about a renewal of the blank: a command runs in a writable copy of it, the draft,
/// which then becomes the blank or is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Renewal {
    /// The draft is made. One that an earlier run left goes first.
    Begin,
    /// The draft becomes the blank; the one before it is kept as the previous one.
    Adopt,
    /// The draft is deleted.
    GiveUp,
    /// The previous blank becomes the blank, and the other way round: twice is not at all.
    Undo,
}

/// An engine whose root can be put back to blank.
///
/// The rule above all others: after any prefix of a plan's steps, with everything uncommitted
/// lost, the outgoing root still exists under some name; root exists, or the next run, which
/// comes before root is mounted, makes it; and running again finishes the work.
pub trait RootBackend: Apply {
    /// The engine's name, as written in configurations and records; stable for ever.
    const NAME: &'static str;
    /// Everything a plan is made from.
    type Survey: Debug + Clone + PartialEq + Serialize;

    /// What this engine can do.
    fn capabilities(&self) -> RootCapabilities;

    /// Looks at the root, its blank and its past roots. Changes nothing.
    ///
    /// # Errors
    /// The device, pool or filesystem cannot be read. Oddities are findings, not errors.
    fn survey(&self) -> Result<Self::Survey>;

    /// The survey in the words every engine shares.
    fn facts(&self, survey: &Self::Survey) -> RootFacts;

    /// Decides how root goes back to blank. A pure function of its arguments.
    ///
    /// A root that already is an untouched copy of blank is not an exception: a reset always
    /// makes a fresh root, except for what an interrupted run left to finish.
    ///
    /// # Errors
    /// [`crate::Error::Refused`] if it could lose something.
    fn plan_reset(&self, survey: &Self::Survey, reset: &Reset) -> Result<Plan<Self::Step>>;

    /// Decides how one past root is deleted, nested volumes included. Pure.
    ///
    /// # Errors
    /// [`crate::Error::Missing`], or [`crate::Error::Refused`] if it is pinned.
    fn plan_delete(&self, survey: &Self::Survey, past: &PastRootName) -> Result<Plan<Self::Step>>;

    /// Decides how to delete what resets have given up and left for when there is time. Pure.
    ///
    /// # Errors
    /// [`crate::Error::Refused`] if nothing can be deleted now.
    fn plan_tidy(&self, _: &Self::Survey) -> Result<Plan<Self::Step>> {
        Ok(Plan::nothing())
    }

    /// Decides how the present root becomes the blank; the previous blank, if any, is kept under
    /// the blank's name with `-previous` (one is kept, an older previous one goes last). Pure.
    ///
    /// # Errors
    /// [`crate::Error::Refused`] if root is missing or is not what it claims.
    fn plan_take_blank(&self, survey: &Self::Survey) -> Result<Plan<Self::Step>>;

    /// Decides what is done about a renewal of the blank. There is no moment without a whole blank,
    /// and a draft that a cut left is in no reset's way. Pure.
    ///
    /// # Errors
    /// [`crate::Error::Unsupported`] (see `renews_blank`); [`crate::Error::Refused`] if something
    /// could be lost; [`crate::Error::Missing`] where there is no draft or no previous blank.
    fn plan_renewal(&self, _survey: &Self::Survey, _what: Renewal) -> Result<Plan<Self::Step>> {
        Err(unsupported(Self::NAME))
    }

    /// The draft as a mount that nobody else sees, to be written to.
    ///
    /// # Errors
    /// There is no draft, or it cannot be mounted.
    fn mount_draft(&self) -> Result<OwnedFd> {
        Err(unsupported(Self::NAME))
    }

    /// Opens the previous blank for reading.
    ///
    /// # Errors
    /// It is missing or cannot be read.
    fn open_previous_blank(&self) -> Result<View> {
        Err(unsupported(Self::NAME))
    }

    /// Checks, right before the first step, that what the plan relies on is still so.
    ///
    /// # Errors
    /// [`crate::Error::Stale`] if blank, root or the leftovers are not what the survey saw.
    fn recheck(&self, survey: &Self::Survey) -> Result<()>;

    /// Pins or unpins a past root.
    ///
    /// # Errors
    /// [`crate::Error::Missing`] if there is none of that name.
    fn pin(&mut self, past: &PastRootName, pinned: bool) -> Result<Outcome>;

    /// Opens the present root for reading, also when it is mounted.
    ///
    /// # Errors
    /// Root is missing or cannot be read.
    fn open_root(&self) -> Result<View>;

    /// Opens blank or a past root for reading.
    ///
    /// # Errors
    /// It is missing or cannot be read.
    fn open(&self, source: &Source) -> Result<View>;

    /// Opens as much of blank or a past root as is needed to look at `part` (relative to its top)
    /// and what is below it.
    ///
    /// # Errors
    /// As [`RootBackend::open`].
    fn open_part(&self, source: &Source, _part: &Path) -> Result<View> {
        self.open(source)
    }

    /// Where `new` (the present root, if there is no name) may differ from `old`, without reading
    /// either; `None`: this engine cannot tell in this case, and both have to be read. What was
    /// done in the present root before the call is part of the answer.
    ///
    /// # Errors
    /// Either is missing or cannot be looked at.
    fn changes(&self, _old: &Source, _new: Option<&Source>) -> Result<Option<Changes>> {
        Ok(None)
    }
}

fn unsupported(engine: &'static str) -> Error {
    Error::Unsupported {
        engine,
        what: "renewing blank",
    }
}
