//! Cuts the power, breaks the disk and runs again, at every moment of every plan.
//!
//! A sweep takes a machine in some starting situation, carries out one plan, and then looks at
//! the machine as it comes back from a cut at every moment of that run; lets the next run finish;
//! cuts that run too, and lets a third one finish. It does the same with a failing disk, and with
//! somebody booting and using the half-done root in between. Everything found wrong is collected
//! in [`Sweep::failures`] in words that say how to get there.

mod blank;
mod check;
mod delete;
mod renew;
mod reset;

use crate::rig::{Rig, World};
use crate::tape::Fault;
use crate::tree::{Tree, is_part_of};
use chrono::DateTime;
use rustix::io::Errno;
use state_api::{
    Error, Kind, Never, PastRootName, Plan, Reset, Retire, RootBackend, Source, execute,
};
use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

/// What a run of reset is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ask {
    /// Back to blank, the outgoing root kept.
    Keep,
    /// Back to blank, the outgoing root given up.
    GiveUp,
    /// A copy of the newest past root, the outgoing root kept.
    Past,
    /// Only what an earlier run left (`state.skip`).
    Skip,
}

impl Ask {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Keep, Self::GiveUp, Self::Past, Self::Skip];
}

/// A machine in a starting situation.
#[derive(Debug)]
pub struct Start<R> {
    /// The situation, in words.
    pub name: String,
    /// The machine.
    pub rig: R,
    /// Roots that were lived in and are not root now (outgoing leftovers): they must survive.
    pub outgoing: Vec<Tree>,
    /// What must be so when a reset has finished.
    pub standing: BTreeMap<String, String>,
    /// Root is several volumes, which no engine can put back in one act: between two acts root
    /// may be a part of a fresh one, and finishing may add what is missing to a root in use.
    pub is_piecemeal: bool,
}

impl<R: Rig> Start<R> {
    /// A situation with nothing left behind.
    pub fn new(name: impl Into<String>, mut rig: R) -> Self {
        rig.rewind();
        Self {
            name: name.into(),
            standing: rig.world().standing,
            outgoing: Vec::new(),
            is_piecemeal: false,
            rig,
        }
    }

    /// Root is several volumes.
    #[must_use]
    pub fn piecemeal(mut self) -> Self {
        self.is_piecemeal = true;
        self
    }

    /// The same with an outgoing root that was left behind and must survive.
    #[must_use]
    pub fn with_outgoing(mut self, tree: Tree) -> Self {
        self.outgoing.push(tree);
        self
    }

    /// The same, but what must stand at the end is this, not what stands now.
    #[must_use]
    pub fn standing(mut self, standing: BTreeMap<String, String>) -> Self {
        self.standing = standing;
        self
    }
}

/// What came of one run.
#[derive(Debug)]
struct Ran {
    /// The plan as a dry run shows it; empty if it was refused.
    plan: Vec<String>,
    /// Why it did not finish.
    error: Option<Error>,
}

impl Ran {
    fn finished(&self) -> bool {
        self.error.is_none()
    }
}

/// A sweep over one kind of machine and engine.
pub struct Sweep<'a, R, B> {
    open: &'a dyn Fn(&R) -> B,
    /// What was found wrong, and how to get there.
    pub failures: Vec<String>,
    /// How many runs were made.
    pub runs: usize,
    /// Resumed states, with what was asked and at stake: many ways lead to the same one.
    seen: HashSet<u64>,
}

impl<R, B> std::fmt::Debug for Sweep<'_, R, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sweep")
            .field("failures", &self.failures)
            .field("runs", &self.runs)
            .finish_non_exhaustive()
    }
}

/// Machines without a clock boot at its beginning, and some boot twice under one id.
const NOW: i64 = 7;
const BOOT_ID: &str = "6d3f20c1-96c1-4b53-a1de-3f6f8f7e0a11";

/// The request that the program makes of an engine; `None` if there is no past root to ask for.
pub fn request(facts: &state_api::RootFacts, ask: Ask) -> Option<Reset> {
    let now = DateTime::from_timestamp(NOW, 0).expect("a time");
    let taken = |name: &PastRootName| facts.past_roots.iter().any(|past| past.name == *name);
    let keep = Retire::Keep(PastRootName::new(now, BOOT_ID, taken));
    let newest = facts.past_roots.last().map(|past| past.name.clone());
    Some(Reset {
        source: match ask {
            Ask::Keep | Ask::GiveUp => Some(Source::Blank),
            Ask::Past => Some(Source::Past(newest?)),
            Ask::Skip => None,
        },
        retire: if ask == Ask::GiveUp {
            Retire::GiveUp
        } else {
            keep
        },
        needs_init: false,
    })
}

/// The machine once for every moment at which its disk can be full, for one act or for good.
fn broken<R: Rig>(from: &R, acts: usize) -> impl Iterator<Item = (Fault, R)> {
    let faults = (0..acts).flat_map(|after| {
        [false, true].map(|lasts| Fault {
            after,
            errno: Errno::NOSPC,
            lasts,
        })
    });
    faults.map(|fault| {
        let mut broken = from.fork();
        broken.rewind();
        broken.fail(Some(fault));
        (fault, broken)
    })
}

impl<'a, R: Rig, B: RootBackend> Sweep<'a, R, B> {
    /// A sweep of the engine that `open` makes on a machine.
    pub fn new(open: &'a dyn Fn(&R) -> B) -> Self {
        Self {
            open,
            failures: Vec::new(),
            runs: 0,
            seen: HashSet::new(),
        }
    }

    /// Sweeps resets from all these situations, whatever is asked for first and after a cut.
    ///
    /// # Panics
    /// If anything was found.
    pub fn assert_resets_survive(
        open: &'a dyn Fn(&R) -> B,
        starts: impl IntoIterator<Item = Start<R>>,
    ) {
        let mut sweep = Self::new(open);
        for start in starts {
            for first in Ask::ALL {
                sweep.reset(&start, first, &Ask::ALL);
            }
        }
        sweep.assert_nothing_found();
    }

    /// Fails the test if anything was found, showing the first findings of each kind.
    ///
    /// # Panics
    /// If there are findings.
    pub fn assert_nothing_found(&self) {
        // One of each kind, the shortest way to it: the easiest to follow.
        let mut kinds: BTreeMap<(&str, String), &str> = BTreeMap::new();
        for finding in &self.failures {
            let (way, what) = finding.split_once("\n=> ").unwrap_or((finding, ""));
            let start = way.split(',').next().unwrap_or(way);
            let kind = (start, what.chars().take(60).collect());
            let shortest = kinds.entry(kind).or_insert(finding);
            if finding.len() < shortest.len() {
                *shortest = finding;
            }
        }
        let shown: Vec<&str> = kinds.into_values().collect();
        assert!(
            self.failures.is_empty(),
            "{} findings in {} runs:\n\n{}",
            self.failures.len(),
            self.runs,
            shown.join("\n\n")
        );
        assert!(self.runs > 0, "nothing was swept");
    }

    fn found(&mut self, way: &str, what: impl Into<String>) {
        self.failures.push(format!("{way}:\n=> {}", what.into()));
    }

    /// Looks, decides and acts once, as the program does. Looking and deciding must change
    /// nothing and give the same answer twice.
    fn carry_out(
        &mut self,
        way: &str,
        rig: &R,
        decide: impl Fn(&B, &B::Survey) -> Option<state_api::Result<Plan<B::Step>>>,
    ) -> Option<Ran> {
        let mut backend = (self.open)(rig);
        let frames = rig.frames();
        let failed = |error| {
            Some(Ran {
                plan: Vec::new(),
                error: Some(error),
            })
        };
        let survey = match backend.survey() {
            Ok(survey) => survey,
            Err(error) => return failed(error),
        };
        let plan = match decide(&backend, &survey)? {
            Ok(plan) => plan,
            Err(error) => return failed(error),
        };
        self.runs += 1;
        match decide(&backend, &survey) {
            Some(Ok(again)) if again == plan => (),
            other => self.found(way, format!("planning twice gave {other:?}")),
        }
        if let Err(error) = backend.recheck(&survey) {
            self.found(way, format!("recheck right after the survey: {error}"));
        }
        if rig.frames() != frames {
            self.found(way, "looking and planning changed the disk");
        }
        let done = execute(&mut backend, &plan, &Never, |_| ());
        Some(Ran {
            plan: plan.steps.iter().map(ToString::to_string).collect(),
            error: done.err().map(|failed| failed.error),
        })
    }

    /// Whether this run was made before, from the same state with the same at stake.
    fn is_known(&mut self, rig: &R, ask: Ask, stakes: &Stakes, again: bool) -> bool {
        let mut hasher = DefaultHasher::new();
        (rig.digest(), ask, stakes, again).hash(&mut hasher);
        !self.seen.insert(hasher.finish())
    }

    fn run_reset(&mut self, way: &str, rig: &R, ask: Ask) -> Option<Ran> {
        self.carry_out(way, rig, |backend, survey| {
            let reset = request(&backend.facts(survey), ask)?;
            Some(backend.plan_reset(survey, &reset))
        })
    }

    /// The refusals of the suite's own tables: nothing may have been tried.
    ///
    /// # Panics
    /// If the run was not refused with exactly these words, or anything changed.
    pub fn assert_refused(&mut self, start: &Start<R>, ask: Ask, message: &str) {
        let rig = start.rig.fork();
        let before = rig.world();
        let ran = self
            .run_reset(&start.name, &rig, ask)
            .expect("the request can be made");
        let error = ran.error.unwrap_or_else(|| {
            panic!("{}: not refused, but done: {:#?}", start.name, ran.plan);
        });
        assert_eq!(error.to_string(), message, "{}", start.name);
        assert_eq!(error.kind(), Kind::Refused, "{}", start.name);
        assert_eq!(rig.world(), before, "{}", start.name);
        assert_eq!(rig.acts(), 0, "{}: an act was tried", start.name);
    }
}

/// Trees that have to be there after a run that began in `before`.
#[derive(Debug, Clone, Hash)]
struct Stakes {
    /// Roots that people lived in, wherever they are now.
    precious: Vec<Tree>,
    standing: BTreeMap<String, String>,
    is_piecemeal: bool,
}

impl Stakes {
    fn of<R: Rig>(start: &Start<R>) -> Self {
        let mut precious = start.outgoing.clone();
        precious.extend(start.rig.world().root);
        Self {
            precious,
            standing: start.standing.clone(),
            is_piecemeal: start.is_piecemeal,
        }
    }

    /// Whether `found` is the lived-in root `tree`.
    fn is(&self, tree: &Tree, found: &Tree) -> bool {
        tree == found || self.is_piecemeal && is_part_of(tree, found)
    }

    /// Whether this tree exists in full, under any name that can be found again.
    fn held(&self, tree: &Tree, world: &World) -> bool {
        self.kept(tree, world) || world.strays.values().any(|found| self.is(tree, found))
    }

    /// Whether this tree is root or a past root.
    fn kept(&self, tree: &Tree, world: &World) -> bool {
        let mut places = world.root.iter().chain(world.past.values());
        places.any(|found| self.is(tree, found))
    }

    /// What is at stake in the next run, when `first` was cut and left `now`.
    fn after(&self, first: Ask, before: &World, now: &World) -> Self {
        let mut stakes = self.clone();
        if first == Ask::GiveUp
            && let Some(outgoing) = &before.root
            && now.root.as_ref() != Some(outgoing)
        {
            stakes.precious.retain(|tree| tree != outgoing);
        }
        stakes
    }

    /// Somebody booted `old` as root and turned it into `new`.
    fn lived(&self, old: Option<&Tree>, new: Tree) -> Self {
        let mut stakes = self.clone();
        stakes.precious.retain(|tree| Some(tree) != old);
        stakes.precious.push(new);
        stakes
    }
}
